/**
 * Null pointers, divisions by zero and array bounds by the hundred thousand. HotSpot checks for
 * neither null nor zero: it lets the CPU trap, and makes an exception of SIGSEGV and SIGFPE.
 */
public class Traps {
    private int field = 3;
    private long far;
    private static final Object[] NOTHING = new Object[1];

    private static Traps maybe(int i) {
        return (i & 1) == 0 ? null : new Traps();
    }

    private int method() {
        return field;
    }

    public static void main(String[] args) throws InterruptedException {
        int count = Integer.parseInt(args[0]);
        System.out.println("fields: " + fields(count));
        System.out.println("calls: " + calls(count));
        System.out.println("array lengths: " + arrays(count));
        System.out.println("monitors: " + monitors(count / 4));
        System.out.println("divisions: " + divisions(count));
        System.out.println("bounds and casts: " + others(count));
        System.out.println("quotients: " + quotients());

        // All at once: signals are delivered to several threads at a time.
        long[] results = new long[4];
        Thread[] threads = new Thread[results.length];
        for (int t = 0; t < threads.length; t++) {
            int id = t;
            threads[t] = new Thread(() -> {
                for (int i = 0; i < 4; i++) {
                    results[id] += (id & 1) == 0 ? fields(count / 8) : divisions(count / 8);
                }
            });
            threads[t].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("threads: " + java.util.Arrays.toString(results));

        try {
            Object nothing = NOTHING[0];
            nothing.toString();
        } catch (NullPointerException e) {
            System.out.println(e.getMessage());
        }
        try {
            Traps nothing = (Traps) NOTHING[0];
            nothing.far = count / (count - count);
        } catch (ArithmeticException e) {
            System.out.println(e.getMessage());
        }
    }

    private static long fields(int count) {
        long sum = 0;
        for (int i = 0; i < count; i++) {
            try {
                sum += maybe(i).field;
            } catch (NullPointerException e) {
                sum += 1_000_000;
            }
        }
        return sum;
    }

    private static long calls(int count) {
        long sum = 0;
        for (int i = 0; i < count; i++) {
            try {
                sum += maybe(i).method();
                maybe(i + 1).far = i;
            } catch (NullPointerException e) {
                sum += e.getClass().getName().length();
            }
        }
        return sum;
    }

    private static long arrays(int count) {
        int[][] lines = {new int[5], null, new int[7]};
        long sum = 0;
        for (int i = 0; i < count; i++) {
            try {
                sum += lines[i % 3].length;
            } catch (NullPointerException e) {
                sum -= 1;
            }
        }
        return sum;
    }

    private static long monitors(int count) {
        long sum = 0;
        for (int i = 0; i < count; i++) {
            try {
                synchronized (maybe(i)) {
                    sum++;
                }
            } catch (NullPointerException e) {
                sum += 2;
            }
        }
        return sum;
    }

    private static long divisions(int count) {
        long sum = 0;
        for (int i = 0; i < count; i++) {
            try {
                sum += 1000 / (i % 4);
                sum += 100_000_000_000L % (i % 3);
            } catch (ArithmeticException e) {
                sum += 7;
            }
        }
        return sum;
    }

    private static long others(int count) {
        Object[] things = {"a", 1, 2L};
        long sum = 0;
        for (int i = 0; i < count / 4; i++) {
            try {
                sum += ((String) things[i % 4]).length();
            } catch (ClassCastException e) {
                sum += 3;
            } catch (ArrayIndexOutOfBoundsException e) {
                sum += 5;
            }
        }
        return sum;
    }

    /** The one quotient that overflows traps on x86 as a division by zero does; Java defines it. */
    private static String quotients() {
        int[] divisors = {-1, 1, 2};
        StringBuilder text = new StringBuilder();
        for (int d : divisors) {
            text.append(Integer.MIN_VALUE / d).append(' ').append(Integer.MIN_VALUE % d).append(' ')
                .append(Long.MIN_VALUE / d).append(' ').append(Long.MIN_VALUE % d).append(' ');
        }
        return text.toString().trim();
    }
}
