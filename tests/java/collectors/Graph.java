import java.lang.ref.Cleaner;
import java.lang.ref.PhantomReference;
import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.SoftReference;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.WeakHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Changes a graph of objects at random from several threads, with much garbage, and checks that each
 * node still has the contents it was made with; then references and cleaners of all kinds.
 */
public class Graph {
    private static final class Node {
        final long id;
        final long[] payload;
        Node left;
        Node right;
        Object extra;

        Node(long id, int size) {
            this.id = id;
            payload = new long[size];
            for (int i = 0; i < size; i++) {
                payload[i] = id * 31 + i;
            }
        }

        void check() {
            for (int i = 0; i < payload.length; i++) {
                if (payload[i] != id * 31 + i) {
                    throw new AssertionError("node " + id + " is damaged at " + i);
                }
            }
        }
    }

    public static void main(String[] args) throws Exception {
        int rounds = Integer.parseInt(args[0]);
        int threads = Integer.parseInt(args[1]);
        long[] sums = new long[threads];
        Thread[] workers = new Thread[threads];
        for (int t = 0; t < threads; t++) {
            int id = t;
            workers[t] = new Thread(() -> sums[id] = mutate(rounds, id));
            workers[t].start();
        }
        for (Thread worker : workers) {
            worker.join();
        }
        for (long sum : sums) {
            System.out.printf("%016x%n", sum);
        }
        references();
        large();
        System.gc();
        System.out.println("collected: " + (java.lang.management.ManagementFactory.getGarbageCollectorMXBeans().stream()
            .mapToLong(java.lang.management.GarbageCollectorMXBean::getCollectionCount).sum() > 0));
    }

    private static long mutate(int rounds, int seed) {
        Random random = new Random(seed);
        Node[] roots = new Node[512];
        long next = seed * 1_000_000_007L;
        for (int i = 0; i < rounds; i++) {
            int at = random.nextInt(roots.length);
            Node node = new Node(next++, random.nextInt(24));
            node.left = roots[random.nextInt(roots.length)];
            node.right = roots[at] == null ? null : roots[at].right;
            if (random.nextInt(8) == 0) {
                // Cut the past off, or everything would stay reachable.
                node.left = null;
                node.right = null;
            }
            node.extra = switch (random.nextInt(4)) {
                case 0 -> "text " + i;
                case 1 -> new byte[random.nextInt(300)];
                case 2 -> new Object[] {node, roots[at]};
                default -> null;
            };
            if (node.extra instanceof Object[] pair && random.nextInt(2) == 0) {
                pair[1] = null;
            }
            roots[at] = node;
            if (i % 64 == 0) {
                walk(roots[random.nextInt(roots.length)], 40);
            }
            if (i % 256 == 0) {
                java.util.Arrays.fill(roots, at, Math.min(at + 64, roots.length), null);
            }
        }
        long sum = 0;
        for (Node root : roots) {
            sum = sum * 31 + walk(root, 10);
        }
        return sum;
    }

    private static long walk(Node node, int depth) {
        long sum = 0;
        while (node != null && depth-- > 0) {
            node.check();
            sum = sum * 17 + node.id;
            node = (node.id & 1) == 0 || node.right == null ? node.left : node.right;
        }
        return sum;
    }

    private static void references() throws InterruptedException {
        ReferenceQueue<Object> queue = new ReferenceQueue<>();
        List<Reference<Object>> kept = new ArrayList<>();
        List<Object> strong = new ArrayList<>();
        WeakHashMap<Object, String> map = new WeakHashMap<>();
        CountDownLatch cleaned = new CountDownLatch(50);
        Cleaner cleaner = Cleaner.create();
        for (int i = 0; i < 100; i++) {
            Object object = new byte[100];
            kept.add(new WeakReference<>(object, queue));
            kept.add(new PhantomReference<>(object, queue));
            map.put(object, "value");
            if (i % 2 == 0) {
                strong.add(object);
            } else {
                cleaner.register(object, cleaned::countDown);
            }
        }
        SoftReference<Object> soft = new SoftReference<>(new byte[100]);
        int enqueued = 0;
        for (int i = 0; i < 100 && enqueued < 100; i++) {
            System.gc();
            while (queue.remove(50) != null) {
                enqueued++;
            }
        }
        System.out.println("enqueued " + enqueued + ", weak map " + map.size() + ", strong " + strong.size()
            + ", soft kept " + (soft.get() != null) + ", cleaned " + cleaned.await(60, TimeUnit.SECONDS)
            + ", references " + kept.size());
        Reference.reachabilityFence(strong);
    }

    /** Objects larger than a region of G1, and arrays of references to young objects. */
    private static void large() {
        long sum = 0;
        for (int i = 0; i < 40; i++) {
            Object[] array = new Object[300_000];
            for (int j = 0; j < array.length; j += 1000) {
                array[j] = new int[] {i, j};
            }
            byte[] block = new byte[1_500_000];
            block[i] = 7;
            for (int j = 0; j < array.length; j += 1000) {
                sum += ((int[]) array[j])[1] + block[i];
            }
        }
        System.out.println("large " + sum);
    }
}
