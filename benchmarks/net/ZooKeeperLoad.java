import java.io.IOException;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * The host's end of the ZooKeeper measurement of {@code crema bench net}: {@code ZooKeeperLoad SERVERS THREADS SECONDS}.
 * Each thread has a session, and creates, reads, changes and deletes nodes of its own. The first three fifths of the time
 * warm both ends up. Prints lines {@code NAME UNIT VALUE}.
 */
public final class ZooKeeperLoad {
    private static final int SESSION_TIMEOUT_MS = 20_000;
    private static final int PATIENCE_S = 120;
    private static final double WARM_UP = 0.6;

    private final ZooKeeper session;
    private final String path;
    private long[] timesNs = new long[1 << 12];
    private int count;

    private ZooKeeperLoad(String servers, int number) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        session = new ZooKeeper(servers, SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        if (!connected.await(PATIENCE_S, TimeUnit.SECONDS)) {
            throw new IOException("no connection to " + servers);
        }
        path = "/load-" + number;
    }

    public static void main(String[] args) throws Exception {
        ZooKeeperLoad[] clients = new ZooKeeperLoad[Integer.parseInt(args[1])];
        for (int i = 0; i < clients.length; i++) {
            clients[i] = new ZooKeeperLoad(args[0], i);
        }
        double seconds = Double.parseDouble(args[2]);
        long begin = System.nanoTime();
        long start = begin + (long) (seconds * WARM_UP * 1e9);
        long end = begin + (long) (seconds * 1e9);
        AtomicReference<Exception> failure = new AtomicReference<>();
        Thread[] threads = new Thread[clients.length];
        for (int i = 0; i < clients.length; i++) {
            ZooKeeperLoad client = clients[i];
            threads[i] = new Thread(() -> {
                try {
                    client.run(start, end);
                } catch (Exception e) {
                    failure.compareAndSet(null, e);
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        long[] all = Arrays.stream(clients).flatMapToLong(c -> Arrays.stream(c.timesNs, 0, c.count)).sorted().toArray();
        System.out.printf("zookeeper_operations 1/s %.1f%n", all.length * 1e9 / (end - start));
        double[] parts = {0.5, 0.99, 0.999};
        String[] names = {"p50", "p99", "p99.9"};
        for (int i = 0; i < parts.length && all.length > 0; i++) {
            System.out.printf("zookeeper_operations_%s us %.1f%n", names[i], all[(int) (parts[i] * (all.length - 1))] / 1e3);
        }
        System.exit(0);
    }

    private void run(long start, long end) throws Exception {
        byte[] data = new byte[100];
        for (long before = System.nanoTime(); before < end;) {
            for (int step = 0; step < 4; step++) {
                switch (step) {
                    case 0 -> session.create(path, data, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
                    case 1 -> session.getData(path, false, null);
                    case 2 -> session.setData(path, data, -1);
                    default -> session.delete(path, -1);
                }
                long after = System.nanoTime();
                if (after >= start && after < end) {
                    add(after - before);
                }
                before = after;
            }
        }
    }

    private void add(long timeNs) {
        if (count == timesNs.length) {
            timesNs = Arrays.copyOf(timesNs, count * 2);
        }
        timesNs[count++] = timeNs;
    }
}
