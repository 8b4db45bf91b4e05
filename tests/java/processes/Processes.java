import java.io.IOException;

/** Tries to start a program in every way Java has. In the guest each must fail at once. */
public class Processes {
    public static void main(String[] args) throws Exception {
        attempt("ProcessBuilder", () -> new ProcessBuilder("/bin/true").start());
        attempt("Runtime.exec", () -> Runtime.getRuntime().exec(new String[] {"/bin/true"}));
        attempt("inherited streams", () -> new ProcessBuilder("/bin/true").inheritIO().start());
        attempt("a pipeline", () -> ProcessBuilder.startPipeline(java.util.List.of(
            new ProcessBuilder("/bin/true"), new ProcessBuilder("/bin/true"))).get(0));
        attempt("no such program", () -> new ProcessBuilder("/no/such/program").start());
        // Many at once, and again and again: nothing may be left over from a failure.
        Thread[] threads = new Thread[4];
        int[] failures = new int[threads.length];
        for (int t = 0; t < threads.length; t++) {
            int id = t;
            threads[t] = new Thread(() -> {
                for (int i = 0; i < 10; i++) {
                    try {
                        new ProcessBuilder("/no/such/program").start();
                    } catch (IOException e) {
                        failures[id]++;
                    }
                }
            });
            threads[t].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("failures: " + java.util.Arrays.stream(failures).sum());
        System.out.println("this process is alive: " + ProcessHandle.current().isAlive());
        System.out.println("children: " + ProcessHandle.current().children().count());
    }

    interface Start {
        Process start() throws IOException;
    }

    private static void attempt(String name, Start start) throws InterruptedException {
        long begin = System.nanoTime();
        String result;
        try {
            result = "exit " + start.start().waitFor();
        } catch (IOException e) {
            // The reason is the kernel's; it is for whoever reads the output, not for comparing.
            System.err.println(name + ": " + e.getMessage());
            result = "IOException, names the program: " + e.getMessage().startsWith("Cannot run program \"/");
        }
        // Generous: the machine may be emulated, and a hang would be for ever.
        boolean prompt = System.nanoTime() - begin < 20_000_000_000L;
        System.out.println(name + ": " + result + ", promptly: " + prompt);
    }
}
