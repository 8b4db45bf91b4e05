import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * A client of ZooKeeper, on the host. The first argument says what it does, the second where the servers are:
 *
 * <ul>
 * <li>{@code load SERVERS THREADS NODES}: each thread creates, reads, changes, watches and deletes its share of the nodes.
 * <li>{@code ephemeral SERVERS PATH}: creates an ephemeral node, says so, and waits to be killed.
 * <li>{@code gone SERVERS PATH}: waits until a node does not exist.
 * <li>{@code hold SERVERS}: keeps a session; after each line of standard input it writes, and says whether the session is the same.
 * <li>{@code write SERVERS}: writes nodes one after the other until a line with servers comes, and then asks each of these for all that
 * was acknowledged.
 * </ul>
 */
public class ZooKeeperClient {
    private static final int SESSION_TIMEOUT_MS = 20_000;
    private static final int PATIENCE_S = 120;

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "load" -> load(args[1], Integer.parseInt(args[2]), Integer.parseInt(args[3]));
            case "ephemeral" -> ephemeral(args[1], args[2]);
            case "gone" -> gone(args[1], args[2]);
            case "hold" -> hold(args[1]);
            case "write" -> write(args[1]);
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }

    private static ZooKeeper connect(String servers, AtomicBoolean expired) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper client = new ZooKeeper(servers, SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            } else if (event.getState() == KeeperState.Expired) {
                expired.set(true);
            }
        });
        if (!connected.await(PATIENCE_S, TimeUnit.SECONDS)) {
            throw new IOException("no connection to " + servers + " in " + PATIENCE_S + " s");
        }
        return client;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void load(String servers, int threads, int nodes) throws Exception {
        List<ZooKeeper> sessions = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            sessions.add(connect(servers, new AtomicBoolean()));
        }
        if (sessions.get(0).exists("/load", false) == null) {
            sessions.get(0).create("/load", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        AtomicInteger next = new AtomicInteger();
        AtomicInteger events = new AtomicInteger();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        List<Thread> workers = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
            ZooKeeper session = sessions.get(t % sessions.size());
            Thread worker = new Thread(() -> {
                try {
                    for (int i; (i = next.getAndIncrement()) < nodes && failure.get() == null;) {
                        one(session, "/load/node-" + i, events);
                    }
                } catch (Throwable e) {
                    failure.compareAndSet(null, e);
                }
            });
            worker.start();
            workers.add(worker);
        }
        for (Thread worker : workers) {
            worker.join();
        }
        if (failure.get() != null) {
            throw new IllegalStateException("a thread failed", failure.get());
        }
        int left = sessions.get(0).getChildren("/load", false).size();
        System.out.println("nodes " + nodes + ", events " + events.get() + ", left " + left);
        for (ZooKeeper session : sessions) {
            session.close();
        }
    }

    private static void one(ZooKeeper session, String path, AtomicInteger events) throws Exception {
        session.create(path, bytes(path), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        CountDownLatch changed = new CountDownLatch(1);
        byte[] got = session.getData(path, event -> {
            if (event.getType() == EventType.NodeDataChanged) {
                events.incrementAndGet();
                changed.countDown();
            }
        }, null);
        if (!path.equals(new String(got, StandardCharsets.UTF_8))) {
            throw new IOException(path + " holds something else");
        }
        session.setData(path, bytes("second " + path), 0);
        if (!changed.await(PATIENCE_S, TimeUnit.SECONDS)) {
            throw new IOException("no event of the change of " + path);
        }
        CountDownLatch deleted = new CountDownLatch(1);
        session.exists(path, event -> {
            if (event.getType() == EventType.NodeDeleted) {
                events.incrementAndGet();
                deleted.countDown();
            }
        });
        session.delete(path, 1);
        if (!deleted.await(PATIENCE_S, TimeUnit.SECONDS)) {
            throw new IOException("no event of the end of " + path);
        }
    }

    private static void ephemeral(String servers, String path) throws Exception {
        ZooKeeper session = connect(servers, new AtomicBoolean());
        session.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        System.out.println("created");
        Thread.sleep(Long.MAX_VALUE);
    }

    private static void gone(String servers, String path) throws Exception {
        ZooKeeper session = connect(servers, new AtomicBoolean());
        CountDownLatch deleted = new CountDownLatch(1);
        if (session.exists(path, event -> {
            if (event.getType() == EventType.NodeDeleted) {
                deleted.countDown();
            }
        }) != null && !deleted.await(PATIENCE_S, TimeUnit.SECONDS)) {
            throw new IOException(path + " still exists");
        }
        System.out.println("gone");
        session.close();
    }

    private static void hold(String servers) throws Exception {
        AtomicBoolean expired = new AtomicBoolean();
        ZooKeeper session = connect(servers, expired);
        long id = session.getSessionId();
        session.create("/held", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        System.out.println("ready");
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        while (orders.readLine() != null) {
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
            while (true) {
                try {
                    session.setData("/held", bytes("x"), -1);
                    break;
                } catch (KeeperException.ConnectionLossException e) {
                    if (System.nanoTime() > deadline) {
                        throw e;
                    }
                    Thread.sleep(100);
                }
            }
            boolean same = session.getSessionId() == id && !expired.get();
            boolean owned = session.exists("/held", false).getEphemeralOwner() == id;
            System.out.println(same && owned ? "same session" : "another session");
        }
        session.close();
    }

    private static void write(String servers) throws Exception {
        AtomicBoolean expired = new AtomicBoolean();
        ZooKeeper session = connect(servers, expired);
        session.create("/written", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        AtomicReference<String> verify = new AtomicReference<>();
        Thread reader = new Thread(() -> {
            try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
                verify.set(in.readLine());
            } catch (IOException e) {
                verify.set("");
            }
        });
        reader.setDaemon(true);
        reader.start();
        List<String> acknowledged = new ArrayList<>();
        int lost = 0;
        for (int i = 0; verify.get() == null; i++) {
            String path = "/written/" + i;
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
            while (true) {
                try {
                    session.create(path, bytes(path), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
                    break;
                } catch (KeeperException.NodeExistsException e) {
                    // Written by the attempt whose acknowledgement was lost.
                    break;
                } catch (KeeperException.ConnectionLossException e) {
                    lost++;
                    if (System.nanoTime() > deadline) {
                        throw e;
                    }
                    Thread.sleep(100);
                } catch (KeeperException.SessionExpiredException e) {
                    session = connect(servers, expired);
                }
            }
            acknowledged.add(path);
            if (acknowledged.size() % 10 == 0) {
                System.out.println("written " + acknowledged.size());
            }
        }
        for (String server : verify.get().split(",")) {
            ZooKeeper reading = connect(server, new AtomicBoolean());
            reading.sync("/written", (status, path, context) -> { }, null);
            for (String path : acknowledged) {
                if (!path.equals(new String(reading.getData(path, false, null), StandardCharsets.UTF_8))) {
                    throw new IOException(path + " holds something else on " + server);
                }
            }
            reading.close();
        }
        System.out.println("verified " + acknowledged.size() + " after " + lost + " lost connections");
    }
}
