import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayDeque;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/** Maps and unmaps memory of all kinds from several threads, and checks each byte it wrote. */
public class Churn {
    public static void main(String[] args) throws Exception {
        int rounds = Integer.parseInt(args[0]);
        int threads = Integer.parseInt(args[1]);
        AtomicLong sum = new AtomicLong();
        Thread[] workers = new Thread[threads];
        for (int t = 0; t < threads; t++) {
            int seed = t;
            workers[t] = new Thread(() -> {
                try {
                    sum.addAndGet(direct(rounds, seed) + mapped(rounds / 4, seed) + stacks(rounds / 4, seed));
                } catch (Exception e) {
                    throw new AssertionError(e);
                }
            });
            workers[t].start();
        }
        for (Thread worker : workers) {
            worker.join();
        }
        System.out.println("checksum " + sum.get());
        System.out.println("classes " + classes(rounds));
        System.out.println("large and sparse " + sparse());
    }

    private static long direct(int rounds, int seed) {
        Random random = new Random(seed);
        ArrayDeque<ByteBuffer> live = new ArrayDeque<>();
        long sum = 0;
        for (int i = 0; i < rounds; i++) {
            int size = 1 << (10 + random.nextInt(12));
            ByteBuffer buffer = ByteBuffer.allocateDirect(size);
            for (int at = 0; at < size; at += 4096) {
                if (buffer.get(at) != 0) {
                    throw new AssertionError("not zero");
                }
                buffer.put(at, (byte) (at >> 12 ^ i));
            }
            live.add(buffer);
            if (live.size() > 8) {
                ByteBuffer old = live.remove();
                for (int at = 0; at < old.capacity(); at += 4096) {
                    sum += old.get(at);
                }
            }
        }
        return sum;
    }

    private static long mapped(int rounds, int seed) throws Exception {
        Path file = Files.createTempFile("crema-churn", ".bin");
        long sum = 0;
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            Random random = new Random(seed);
            for (int i = 0; i < rounds; i++) {
                long offset = random.nextInt(64) * 4096L + random.nextInt(4096);
                int size = 1 + random.nextInt(100_000);
                MappedByteBuffer shared = channel.map(FileChannel.MapMode.READ_WRITE, offset, size);
                MappedByteBuffer own = channel.map(FileChannel.MapMode.PRIVATE, offset, size);
                for (int at = 0; at < size; at += 512) {
                    shared.put(at, (byte) (at + i));
                    own.put(at, (byte) -1);
                }
                for (int at = 0; at < size; at += 512) {
                    sum += shared.get(at) * 3L + own.get(at);
                }
                if (i % 16 == 0) {
                    shared.force();
                }
            }
            try (RandomAccessFile plain = new RandomAccessFile(file.toFile(), "r")) {
                byte[] all = new byte[(int) plain.length()];
                plain.readFully(all);
                sum = sum * 31 + java.util.Arrays.hashCode(all);
            }
        }
        Files.delete(file);
        return sum;
    }

    /** Each thread is a stack mapped and unmapped again. */
    private static long stacks(int rounds, int seed) throws InterruptedException {
        AtomicLong sum = new AtomicLong();
        for (int i = 0; i < rounds; i++) {
            int depth = 10 + (i * 37 + seed) % 500;
            Thread thread = new Thread(null, () -> sum.addAndGet(descend(depth)), "stack", (64L + i % 7 * 100) << 10);
            thread.start();
            thread.join();
        }
        return sum.get();
    }

    private static long descend(int n) {
        return n == 0 ? 1 : n + descend(n - 1);
    }

    /** Classes by the hundred, in loaders that are dropped: metaspace comes and goes. */
    private static int classes(int rounds) throws Exception {
        byte[] code = Churn.class.getResourceAsStream("Churn$Tiny.class").readAllBytes();
        int sum = 0;
        for (int i = 0; i < rounds * 2; i++) {
            ClassLoader loader = new ClassLoader(null) {
                @Override
                protected Class<?> findClass(String name) {
                    return defineClass(name, code, 0, code.length);
                }
            };
            Object tiny = loader.loadClass("Churn$Tiny").getConstructor().newInstance();
            sum += tiny.hashCode();
        }
        return sum;
    }

    /** Loaded by many loaders. */
    public static class Tiny {
        @Override
        public int hashCode() {
            return 5;
        }
    }

    private static long sparse() throws Exception {
        Path file = Files.createTempFile("crema-sparse", ".bin");
        long sum = 0;
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, 256 << 20);
            for (int at = 0; at < map.capacity(); at += 5 << 20) {
                map.put(at, (byte) (at >> 20));
            }
            for (int at = 0; at < map.capacity(); at += 1 << 20) {
                sum = sum * 31 + map.get(at);
            }
        }
        Files.delete(file);
        return sum;
    }
}
