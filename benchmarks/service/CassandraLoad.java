import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DriverException;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.Row;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;

/** {@code CassandraLoad ADDRESS PORT THREADS SECONDS RATE}: a write of a row of 500 bytes, then a read of it by its key, in turn. */
public final class CassandraLoad {
    private static final Duration PATIENCE = Duration.ofSeconds(240);
    private static final int ROW_BYTES = 500;

    private CassandraLoad() {
    }

    public static void main(String[] args) throws Exception {
        // One session has connections for all threads.
        CqlSession session = connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])));
        session.execute("CREATE KEYSPACE IF NOT EXISTS bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
        session.execute("CREATE TABLE IF NOT EXISTS bench.load (thread int, number int, body blob, PRIMARY KEY ((thread, number)))");
        PreparedStatement write = session.prepare("INSERT INTO bench.load (thread, number, body) VALUES (?, ?, ?)");
        PreparedStatement read = session.prepare("SELECT body FROM bench.load WHERE thread = ? AND number = ?");
        Load.run("operations", args, thread -> step -> {
            int number = step / 2;
            if (step % 2 == 0) {
                session.execute(write.bind(thread, number, ByteBuffer.allocate(ROW_BYTES)));
                return;
            }
            Row row = session.execute(read.bind(thread, number)).one();
            if (row == null || row.getByteBuffer("body").remaining() != ROW_BYTES) {
                throw new IOException("the row is not as it was written");
            }
        });
    }

    private static CqlSession connect(InetSocketAddress address) throws InterruptedException {
        DriverConfigLoader config = DriverConfigLoader.programmaticBuilder()
            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, PATIENCE)
            .withDuration(DefaultDriverOption.CONNECTION_CONNECT_TIMEOUT, PATIENCE)
            .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, PATIENCE)
            .withDuration(DefaultDriverOption.CONNECTION_SET_KEYSPACE_TIMEOUT, PATIENCE)
            .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, PATIENCE)
            .withDuration(DefaultDriverOption.METADATA_SCHEMA_REQUEST_TIMEOUT, PATIENCE)
            .withDuration(DefaultDriverOption.CONTROL_CONNECTION_AGREEMENT_TIMEOUT, PATIENCE)
            .withDuration(DefaultDriverOption.HEARTBEAT_TIMEOUT, PATIENCE)
            .build();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (true) {
            try {
                return CqlSession.builder().withConfigLoader(config).addContactPoint(address).withLocalDatacenter("datacenter1").build();
            } catch (DriverException notYet) {
                if (System.nanoTime() > deadline) {
                    throw notYet;
                }
                Thread.sleep(500);
            }
        }
    }
}
