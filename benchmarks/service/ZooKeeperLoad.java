import java.io.IOException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** {@code ZooKeeperLoad ADDRESS PORT THREADS SECONDS RATE}: each session creates, reads, changes and deletes a node of its own, in turn. */
public final class ZooKeeperLoad {
    private static final int SESSION_TIMEOUT_MS = 60_000;
    private static final int PATIENCE_S = 240;

    private ZooKeeperLoad() {
    }

    public static void main(String[] args) throws Exception {
        byte[] data = new byte[100];
        Load.run("operations", args, number -> {
            ZooKeeper session = connect(args[0] + ":" + args[1]);
            String path = "/load-" + number;
            if (session.exists(path, false) != null) {
                session.delete(path, -1);
            }
            return step -> {
                switch (step % 4) {
                    case 0 -> session.create(path, data, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
                    case 1 -> {
                        if (session.getData(path, false, null).length != data.length) {
                            throw new IOException("the node is not as it was created");
                        }
                    }
                    case 2 -> session.setData(path, data, -1);
                    default -> session.delete(path, -1);
                }
            };
        });
    }

    private static ZooKeeper connect(String servers) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper session = new ZooKeeper(servers, SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        if (!connected.await(PATIENCE_S, TimeUnit.SECONDS)) {
            throw new IOException("no connection to " + servers);
        }
        return session;
    }
}
