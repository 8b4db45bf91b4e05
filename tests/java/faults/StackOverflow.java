import java.util.concurrent.atomic.AtomicInteger;

/**
 * Recurses until the stack ends, again and again, in several threads with stacks of several sizes: as often as the first
 * argument says, with stacks up to as many MiB as the second says.
 */
public class StackOverflow {
    private static int depth;

    private final long[] padding = new long[4];

    private int recurse(int n) {
        return n + recurse(n + 1) + (int) padding[n & 3];
    }

    /** Frames of another size, and a finally block on each. */
    private static void recurseWithCleanup(AtomicInteger entered, AtomicInteger left, long a, long b, double c) {
        entered.incrementAndGet();
        try {
            recurseWithCleanup(entered, left, b, a + 1, c * 1.5);
        } finally {
            left.incrementAndGet();
        }
    }

    private static void plain() {
        depth++;
        plain();
    }

    private static int overflows(int rounds) {
        int caught = 0;
        StackOverflow object = new StackOverflow();
        for (int i = 0; i < rounds; i++) {
            try {
                object.recurse(0);
            } catch (StackOverflowError e) {
                caught++;
            }
        }
        return caught;
    }

    public static void main(String[] args) throws InterruptedException {
        int rounds = Integer.parseInt(args[0]);
        System.out.println("main: " + overflows(rounds));

        depth = 0;
        try {
            plain();
        } catch (StackOverflowError e) {
            System.out.println("deep enough: " + (depth > 1000) + ", trace: " + e.getStackTrace().length
                + " frames, all plain: "
                + java.util.Arrays.stream(e.getStackTrace()).skip(1).allMatch(f -> f.getMethodName().equals("plain")));
        }

        AtomicInteger entered = new AtomicInteger();
        AtomicInteger left = new AtomicInteger();
        for (int i = 0; i < Math.max(1, rounds / 10); i++) {
            try {
                recurseWithCleanup(entered, left, 1, 2, 3);
                System.out.println("no overflow");
            } catch (StackOverflowError e) {
                // Which frame it was thrown in is a matter of chance.
            }
        }
        System.out.println("cleanups ran: " + (entered.get() - left.get() <= 2 * rounds && left.get() > 1000));

        long[] stacks = {0, 256 << 10, 1 << 20, Long.parseLong(args[1]) << 20};
        AtomicInteger total = new AtomicInteger();
        for (int round = 0; round < 3; round++) {
            Thread[] threads = new Thread[stacks.length];
            for (int i = 0; i < threads.length; i++) {
                int n = Math.max(2, rounds / 20);
                threads[i] = new Thread(null, () -> total.addAndGet(overflows(n)), "overflow-" + i, stacks[i]);
                threads[i].start();
            }
            for (Thread thread : threads) {
                thread.join();
            }
        }
        System.out.println("threads: " + total.get());

        // Deep but not too deep: a recursion that needs much of a large stack must get through.
        long[] sum = new long[1];
        Thread deep = new Thread(null, () -> sum[0] = descend(100_000), "deep", 64 << 20);
        deep.start();
        deep.join();
        System.out.println("deep: " + sum[0]);

        // Nobody catches it: the thread ends, the VM does not.
        Thread uncaught = new Thread(StackOverflow::plain, "uncaught");
        uncaught.setUncaughtExceptionHandler((t, e) -> System.out.println(t.getName() + ": " + e.getClass()));
        uncaught.start();
        uncaught.join();
        System.out.println("and on: " + overflows(3));
    }

    private static long descend(int n) {
        return n == 0 ? 0 : n + descend(n - 1);
    }
}
