import sun.misc.Signal;

/** Ends by a signal, in a way named by the argument; shutdown hooks must run first. */
public class Hooks {
    public static void main(String[] args) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println("hook ran in a thread of its own: " + (Thread.currentThread().getId() > 1));
            System.out.flush();
        }));
        switch (args[0]) {
            // The harness sends the signal when it sees the line.
            case "wait" -> {
                System.out.println("ready");
                Thread.sleep(3_600_000);
            }
            case "raise" -> {
                Signal.raise(new Signal(args[1]));
                Thread.sleep(3_600_000);
            }
            case "handle" -> handle(args[1]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    /** A handler of the program's own, called again and again, and then the default one again. */
    private static void handle(String name) throws InterruptedException {
        Signal signal = new Signal(name);
        java.util.concurrent.Semaphore seen = new java.util.concurrent.Semaphore(0);
        sun.misc.SignalHandler before = Signal.handle(signal, s -> {
            if (!s.getName().equals(name)) {
                throw new AssertionError(s.getName());
            }
            seen.release();
        });
        for (int i = 0; i < 20; i++) {
            Signal.raise(signal);
            seen.acquire();
        }
        System.out.println("handled 20 of " + name + " (" + signal.getNumber() + ")");
        // Java refuses to raise what nobody handles.
        Signal.handle(signal, sun.misc.SignalHandler.SIG_IGN);
        try {
            Signal.raise(signal);
        } catch (IllegalArgumentException e) {
            System.out.println(e.getMessage());
        }
        System.out.println("as before: " + (Signal.handle(signal, before) == sun.misc.SignalHandler.SIG_IGN));
    }
}
