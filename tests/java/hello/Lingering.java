/** Returns from main while other threads run on: the VM waits for all but the daemons. */
public class Lingering {
    public static void main(String[] args) {
        Thread main = Thread.currentThread();
        new Thread(() -> {
            try {
                main.join();
                System.out.println("main is over, alive: " + main.isAlive());
                Thread.sleep(50);
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
            System.out.println("the last thread ends");
        }).start();
        Thread daemon = new Thread(() -> {
            while (true) {
                try {
                    Thread.sleep(3_600_000);
                } catch (InterruptedException e) {
                    // Nobody waits for a daemon.
                }
            }
        });
        daemon.setDaemon(true);
        daemon.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook ran")));
        Thread.setDefaultUncaughtExceptionHandler(
            (thread, e) -> System.out.println("handler: " + thread.getName() + ": " + e.getMessage()));
        System.out.println("main returns");
        if (System.getenv("TEST_THROW") != null) {
            throw new RuntimeException("caught by the handler");
        }
    }
}
