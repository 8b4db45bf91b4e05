import java.util.ArrayList;
import java.util.List;

/** Runs out of heap, array size, metaspace and direct memory, and goes on. */
public class OutOfMemory {
    public static void main(String[] args) throws Exception {
        int rounds = Integer.parseInt(args[0]);
        for (int round = 0; round < rounds; round++) {
            heap(round);
        }
        try {
            System.out.println(new int[Integer.MAX_VALUE].length);
        } catch (OutOfMemoryError e) {
            System.out.println(e.getMessage());
        }
        inAnotherThread();
        direct();
        System.out.println("usable: " + work());
    }

    private static void heap(int round) {
        List<byte[]> hoard = new ArrayList<>();
        try {
            while (true) {
                hoard.add(new byte[256 << 10]);
            }
        } catch (OutOfMemoryError e) {
            int blocks = hoard.size();
            hoard = null;
            System.out.println("round " + round + ": " + e.getMessage() + ", plenty before: " + (blocks > 80));
        }
        if (work() != 4_999_950_000L) {
            System.out.println("wrong result after running out of memory");
        }
    }

    private static void inAnotherThread() throws InterruptedException {
        Thread thread = new Thread(() -> {
            List<Object> hoard = new ArrayList<>();
            while (true) {
                hoard.add(new long[1 << 14]);
            }
        }, "hoarder");
        thread.setUncaughtExceptionHandler(
            (t, e) -> System.out.println(t.getName() + " died of " + e.getClass().getSimpleName()));
        thread.start();
        thread.join();
    }

    private static void direct() {
        List<java.nio.ByteBuffer> buffers = new ArrayList<>();
        try {
            while (true) {
                buffers.add(java.nio.ByteBuffer.allocateDirect(1 << 20));
            }
        } catch (OutOfMemoryError e) {
            System.out.println("direct: " + buffers.size() + " MiB");
        }
        buffers.clear();
        buffers = null;
        // The collector frees them, and then there is room again.
        System.out.println("direct again: " + java.nio.ByteBuffer.allocateDirect(4 << 20).capacity());
    }

    private static long work() {
        List<Long> numbers = new ArrayList<>();
        for (long i = 0; i < 100_000; i++) {
            numbers.add(i);
        }
        return numbers.stream().mapToLong(Long::longValue).sum();
    }
}
