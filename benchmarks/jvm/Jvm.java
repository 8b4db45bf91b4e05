import com.sun.management.GarbageCollectionNotificationInfo;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import javax.management.NotificationEmitter;
import javax.management.openmbean.CompositeData;

/**
 * What the JVM's own work costs: allocation, collection of garbage, compilation, locks; and computations. {@code Jvm SECONDS} takes so long
 * for each measurement. Prints lines {@code NAME UNIT VALUE}.
 */
public final class Jvm {
    private static final int MIB = 1 << 20;

    private Jvm() {
    }

    public static void main(String[] args) throws Exception {
        double seconds = Double.parseDouble(args[0]);
        int threads = Runtime.getRuntime().availableProcessors();
        warmUp();
        for (Kernels kernel : Kernels.values()) {
            compute(kernel, seconds);
        }
        allocate("allocation_by_1_thread", 1, seconds);
        allocate("allocation_by_all_CPUs", threads, seconds);
        collect(seconds);
        fullCollections();
        contend("contended_monitor", Math.max(2, threads), seconds, new Monitor());
        contend("contended_lock", Math.max(2, threads), seconds, new Lock());
        handOver(seconds);
        System.exit(0);
    }

    private static void print(String name, String unit, double value) {
        System.out.printf("%s %s %.3f%n", name, unit, value);
    }

    /** How long the first runs of a program take that is interpreted and compiled meanwhile, and how fast it is in the end. */
    private static void warmUp() throws Exception {
        final int runs = 60;
        long begin = System.nanoTime();
        long checksum = 0;
        for (int i = 0; i < runs; i++) {
            checksum += Kernels.words.run() + Kernels.fft.run();
        }
        print("first_" + runs + "_runs_of_a_cold_program", "ms", (System.nanoTime() - begin) / 1e6);
        System.out.println("cold_program work " + checksum);
    }

    private static void compute(Kernels kernel, double seconds) throws Exception {
        // Warm first: the last two thirds count.
        long begin = System.nanoTime();
        long from = begin + (long) (seconds / 3 * 1e9);
        long end = begin + (long) (seconds * 1e9);
        long checksum = 0;
        long started = 0;
        int runs = -1;
        long now;
        do {
            checksum = kernel.run();
            now = System.nanoTime();
            if (runs >= 0) {
                runs++;
            } else if (now >= from) {
                runs = 0;
                started = now;
            }
        } while (now < end || runs < 1);
        print(kernel.name(), "1/s", runs * 1e9 / (now - started));
        System.out.println(kernel.name() + "_checksum work " + Math.abs(checksum));
    }

    /** Small objects that die young. */
    private static void allocate(String name, int threads, double seconds) throws Exception {
        long[] bytes = new long[threads];
        List<Thread> all = new ArrayList<>();
        long end = System.nanoTime() + (long) (seconds * 1e9);
        for (int i = 0; i < threads; i++) {
            int number = i;
            all.add(new Thread(() -> {
                Object[] last = new Object[64];
                long count = 0;
                // At least once, for on a busy host a thread may begin late.
                do {
                    for (int k = 0; k < 4096; k++) {
                        last[k & 63] = new byte[16 + (k & 7) * 16];
                        // The header and the length take 16 bytes.
                        count += 32 + (k & 7) * 16;
                    }
                } while (System.nanoTime() < end);
                bytes[number] = count;
            }));
        }
        long begin = System.nanoTime();
        for (Thread thread : all) {
            thread.start();
        }
        for (Thread thread : all) {
            thread.join();
        }
        print(name, "MB/s", Arrays.stream(bytes).sum() * 1e3 / (System.nanoTime() - begin));
    }

    /** A binary tree that lives while others die. */
    private static final class Tree {
        final Tree left;
        final Tree right;
        final byte[] load = new byte[32];

        Tree(int depth) {
            left = depth > 0 ? new Tree(depth - 1) : null;
            right = depth > 0 ? new Tree(depth - 1) : null;
        }

        int size() {
            return 1 + (left == null ? 0 : left.size() + right.size());
        }
    }

    /** About 80 bytes for each of 2^18 nodes. */
    private static final int LIVE_DEPTH = 17;

    private static void collect(double seconds) {
        Tree live = new Tree(LIVE_DEPTH);
        List<Long> pausesMs = new ArrayList<>();
        for (GarbageCollectorMXBean bean : ManagementFactory.getGarbageCollectorMXBeans()) {
            ((NotificationEmitter) bean).addNotificationListener((notification, back) -> {
                long duration = GarbageCollectionNotificationInfo.from((CompositeData) notification.getUserData()).getGcInfo().getDuration();
                synchronized (pausesMs) {
                    pausesMs.add(duration);
                }
            }, null, null);
        }
        long before = collectionMs();
        long begin = System.nanoTime();
        long end = begin + (long) (seconds * 2 * 1e9);
        long trees = 0;
        while (System.nanoTime() < end) {
            trees += new Tree(10).size() > 0 ? 1 : 0;
        }
        long elapsed = System.nanoTime() - begin;
        print("trees_built_beside_a_live_set", "1/s", trees * 1e9 / elapsed);
        print("time_taken_by_collections", "%", (collectionMs() - before) * 1e8 / elapsed);
        // Notifications come a little later.
        try {
            Thread.sleep(300);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        synchronized (pausesMs) {
            long[] sorted = pausesMs.stream().mapToLong(Long::longValue).sorted().toArray();
            if (sorted.length > 0) {
                print("collection_p50", "ms", sorted[(sorted.length - 1) / 2]);
                print("collection_p90", "ms", sorted[(int) ((sorted.length - 1) * 0.9)]);
                print("longest_collection", "ms", sorted[sorted.length - 1]);
            }
        }
        System.out.println("live_nodes work " + live.size());
    }

    private static long collectionMs() {
        return ManagementFactory.getGarbageCollectorMXBeans().stream().mapToLong(GarbageCollectorMXBean::getCollectionTime).sum();
    }

    private static void fullCollections() {
        Tree live = new Tree(LIVE_DEPTH);
        double[] times = new double[3];
        for (int i = 0; i < times.length; i++) {
            long begin = System.nanoTime();
            System.gc();
            times[i] = (System.nanoTime() - begin) / 1e6;
        }
        Arrays.sort(times);
        print("full_collection", "ms", times[1]);
        System.out.println("full_collection_nodes work " + live.size());
    }

    private interface Critical {
        void increment();

        long value();
    }

    private static final class Monitor implements Critical {
        private long value;

        @Override
        public synchronized void increment() {
            value++;
        }

        @Override
        public synchronized long value() {
            return value;
        }
    }

    private static final class Lock implements Critical {
        private final ReentrantLock lock = new ReentrantLock();
        private long value;

        @Override
        public void increment() {
            lock.lock();
            try {
                value++;
            } finally {
                lock.unlock();
            }
        }

        @Override
        public long value() {
            return value;
        }
    }

    private static void contend(String name, int threads, double seconds, Critical critical) throws Exception {
        AtomicBoolean stop = new AtomicBoolean();
        long[] counts = new long[threads];
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            int number = i;
            all.add(new Thread(() -> {
                while (!stop.get()) {
                    critical.increment();
                    counts[number]++;
                }
            }));
        }
        long begin = System.nanoTime();
        for (Thread thread : all) {
            thread.start();
        }
        Thread.sleep((long) (seconds * 1000));
        stop.set(true);
        for (Thread thread : all) {
            thread.join();
        }
        print(name, "1/s", critical.value() * 1e9 / (System.nanoTime() - begin));
        if (critical.value() != Arrays.stream(counts).sum()) {
            throw new IllegalStateException(name + ": an increment was lost");
        }
    }

    /** From one thread to another and back, by parking. */
    private static void handOver(double seconds) throws Exception {
        SynchronousQueue<Integer> there = new SynchronousQueue<>();
        SynchronousQueue<Integer> back = new SynchronousQueue<>();
        Thread other = new Thread(() -> {
            try {
                while (true) {
                    back.put(there.take());
                }
            } catch (InterruptedException end) {
                // As intended.
            }
        });
        other.setDaemon(true);
        other.start();
        long begin = System.nanoTime();
        long end = begin + (long) (seconds * 1e9);
        int count = 0;
        while (System.nanoTime() < end) {
            there.put(count);
            if (back.take() != count) {
                throw new IllegalStateException("another number came back");
            }
            count++;
        }
        print("hand_over_to_a_thread_and_back", "us", (System.nanoTime() - begin) / 1e3 / count);
        other.interrupt();
    }
}
