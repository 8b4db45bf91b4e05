import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/**
 * A client of ZooKeeper that tells what was acknowledged, and checks it later.
 *
 * <ul>
 * <li>{@code write SERVER ROUND THREADS}: each thread creates nodes and changes them, and after each acknowledgement prints
 * {@code acknowledged NODE VERSION}, or {@code deleting NODE 0} before it deletes one; until the connection is lost, or standard input ends.
 * <li>{@code check SERVER}: reads such lines from standard input, all of them in their order, and asks the server for each node: it must
 * have the last version that was acknowledged, or the one that came next.
 * </ul>
 */
public class Acknowledged {
    private static final int SESSION_TIMEOUT_MS = 20_000;
    private static final int PATIENCE_S = 120;

    public static void main(String[] args) throws Exception {
        ZooKeeper client = connect(args[1]);
        switch (args[0]) {
            case "write" -> write(client, args[2], Integer.parseInt(args[3]));
            case "check" -> check(client);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static ZooKeeper connect(String server) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper client = new ZooKeeper(server, SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        if (!connected.await(PATIENCE_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no connection to " + server + " in " + PATIENCE_S + " s");
        }
        return client;
    }

    /** What a node holds in a version: as long as rows often are, and unlike any other's. */
    private static byte[] contents(String node, int version) {
        return (node + " " + version + " ").repeat(1 + Math.floorMod((node + version).hashCode(), 40)).getBytes(StandardCharsets.UTF_8);
    }

    private static synchronized void print(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static void write(ZooKeeper client, String round, int threads) throws Exception {
        String parent = "/round-" + round;
        client.create(parent, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        print("acknowledged " + parent + " -1");
        for (int t = 0; t < threads; t++) {
            String prefix = parent + "/t" + t + "-";
            new Thread(() -> {
                try {
                    writeNodes(client, prefix);
                } catch (KeeperException.ConnectionLossException | KeeperException.SessionExpiredException e) {
                    // As it should be, in the end.
                } catch (Throwable e) {
                    print("error: " + e);
                }
            }).start();
        }
        print("writing");
        while (System.in.read() >= 0) {
            // Nothing is to be read.
        }
        System.exit(0);
    }

    private static void writeNodes(ZooKeeper client, String prefix) throws Exception {
        for (int i = 0;; i++) {
            String node = prefix + i;
            client.create(node, contents(node, 0), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            print("acknowledged " + node + " 0");
            for (int version = 1; version < 4; version++) {
                client.setData(node, contents(node, version), version - 1);
                print("acknowledged " + node + " " + version);
            }
            if (i % 4 == 3) {
                print("deleting " + node + " 0");
                client.delete(node, -1);
                print("deleted " + node + " 0");
            }
        }
    }

    private static void check(ZooKeeper client) throws Exception {
        java.util.Map<String, String> last = new java.util.LinkedHashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null;) {
            String[] words = line.split(" ");
            last.put(words[1], words[0].equals("acknowledged") ? words[2] : words[0]);
        }
        int wrong = 0;
        for (var entry : last.entrySet()) {
            String node = entry.getKey();
            String state = entry.getValue();
            if (state.equals("-1")) {
                continue;
            }
            byte[] data;
            try {
                data = client.getData(node, false, null);
            } catch (KeeperException.NoNodeException e) {
                if (!state.startsWith("delet")) {
                    print("wrong: " + node + " is lost, of which version " + state + " was acknowledged");
                    wrong++;
                }
                continue;
            }
            boolean isRight = false;
            if (state.equals("deleting")) {
                isRight = java.util.Arrays.equals(data, contents(node, 3));
            } else if (!state.equals("deleted")) {
                int version = Integer.parseInt(state);
                isRight = java.util.Arrays.equals(data, contents(node, version))
                    || java.util.Arrays.equals(data, contents(node, version + 1));
            }
            if (!isRight) {
                String shown = new String(data, 0, Math.min(data.length, 40), StandardCharsets.UTF_8);
                print("wrong: " + node + " is " + state + ", but holds " + shown);
                wrong++;
            }
        }
        print("checked " + last.size() + " nodes, " + wrong + " wrong");
        client.close();
        System.exit(wrong == 0 ? 0 : 1);
    }
}
