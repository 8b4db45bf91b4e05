import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.rmi.server.RMISocketFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.openmbean.TabularData;
import javax.management.remote.JMXConnector;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DriverException;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.loadbalancing.NodeDistance;
import com.datastax.oss.driver.api.core.servererrors.QueryExecutionException;

/**
 * A client of Cassandra, on the host. The first argument says what it does, the second where the node is (HOST:PORT):
 *
 * <ul>
 * <li>{@code create NODE REPLICAS}: makes the keyspace and the table.
 * <li>{@code write NODE THREADS COUNT [LAST0 LAST1 ...]}: each thread writes its share of COUNT rows at consistency ONE, or of no end of
 * rows if COUNT is 0, until a line of standard input comes or the node is gone; LASTn is what it had acknowledged before. Says "writing N"
 * now and then, and at last "acknowledged A0 A1 ...", the rows of each thread.
 * <li>{@code check NODE A0 A1 ...}: every acknowledged row is there as it was written, asked for by its key and found by a scan of the whole
 * table, and of each thread at most one more. Says "checked ROWS".
 * <li>{@code flush JMX}, {@code compact JMX}, {@code snapshot JMX NAME}, {@code tables JMX}: what nodetool does. The node is its JMX port.
 * {@code tables} says how many files of rows (SSTables) there are.
 * <li>{@code hints JMX COUNT kept|delivered}: waits until the node has kept so many hints for others, and until they are delivered.
 * </ul>
 */
public class CassandraLoad {
    private static final int PATIENCE_S = 150;
    private static final int SAID_EACH = 200;
    private static final int LONGEST = 1500;
    private static final String KEYSPACE = "crema";
    private static final String TABLE = "load";

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "create" -> create(args[1], Integer.parseInt(args[2]));
            case "write" -> {
                long[] first = numbers(args, 4);
                int threads = Integer.parseInt(args[2]);
                write(args[1], Long.parseLong(args[3]), first.length == 0 ? new long[threads] : first);
            }
            case "check" -> checkPatiently(args[1], numbers(args, 2));
            default -> manage(args);
        }
        System.exit(0);
    }

    private static long[] numbers(String[] args, int first) {
        return Arrays.stream(args).skip(first).mapToLong(Long::parseLong).toArray();
    }

    private static InetSocketAddress address(String node) {
        int colon = node.lastIndexOf(':');
        return new InetSocketAddress(node.substring(0, colon), Integer.parseInt(node.substring(colon + 1)));
    }

    /** Waits until the node takes a session. All requests go to this node, for others may be out of reach. */
    private static CqlSession connect(String node) throws Exception {
        Duration patience = Duration.ofSeconds(PATIENCE_S);
        DriverConfigLoader config = DriverConfigLoader.programmaticBuilder()
            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, patience)
            .withDuration(DefaultDriverOption.CONNECTION_CONNECT_TIMEOUT, patience)
            .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, patience)
            .withDuration(DefaultDriverOption.CONNECTION_SET_KEYSPACE_TIMEOUT, patience)
            .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, patience)
            .withDuration(DefaultDriverOption.METADATA_SCHEMA_REQUEST_TIMEOUT, patience)
            .withDuration(DefaultDriverOption.CONTROL_CONNECTION_AGREEMENT_TIMEOUT, patience)
            .withDuration(DefaultDriverOption.HEARTBEAT_TIMEOUT, patience)
            .build();
        InetSocketAddress address = address(node);
        long deadline = System.nanoTime() + patience.toNanos();
        while (true) {
            try {
                return CqlSession.builder()
                    .withConfigLoader(config)
                    .addContactPoint(address)
                    .withLocalDatacenter("datacenter1")
                    .withNodeDistanceEvaluator((other, datacenter) ->
                        other.getEndPoint().resolve().equals(address) ? NodeDistance.LOCAL : NodeDistance.IGNORED)
                    .build();
            } catch (DriverException notYet) {
                if (System.nanoTime() > deadline) {
                    throw notYet;
                }
                Thread.sleep(500);
            }
        }
    }

    private static void create(String node, int replicas) throws Exception {
        try (CqlSession session = connect(node)) {
            session.execute("CREATE KEYSPACE IF NOT EXISTS " + KEYSPACE
                + " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': " + replicas + "}");
            session.execute("CREATE TABLE IF NOT EXISTS " + KEYSPACE + "." + TABLE
                + " (thread int, number bigint, body blob, PRIMARY KEY ((thread, number)))");
        }
        System.out.println("created");
    }

    /** A row's content, which is known from its key. */
    private static ByteBuffer body(int thread, long number) {
        Random random = new Random(thread * 1_000_003L + number);
        byte[] body = new byte[1 + random.nextInt(LONGEST)];
        random.nextBytes(body);
        return ByteBuffer.wrap(body);
    }

    private static volatile boolean stopped;

    private static void write(String node, long count, long[] first) throws Exception {
        int threads = first.length;
        AtomicLong[] acknowledged = new AtomicLong[threads];
        AtomicLong written = new AtomicLong();
        Thread orders = new Thread(() -> {
            try {
                System.in.read();
                stopped = true;
            } catch (IOException closed) {
                // As if nothing had come.
            }
        });
        orders.setDaemon(true);
        CqlSession session = connect(node);
        PreparedStatement insert =
            session.prepare("INSERT INTO " + KEYSPACE + "." + TABLE + " (thread, number, body) VALUES (?, ?, ?)");
        if (count == 0) {
            orders.start();
        }
        long start = System.nanoTime();
        List<Thread> workers = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
            int thread = t;
            acknowledged[t] = new AtomicLong(first[t]);
            long end = count == 0 ? Long.MAX_VALUE : first[t] + (count + threads - 1 - t) / threads;
            Thread worker = new Thread(() -> {
                try {
                    for (long number = first[thread]; number < end && !stopped; number++) {
                        session.execute(insert.bind(thread, number, body(thread, number)));
                        acknowledged[thread].incrementAndGet();
                        long all = written.incrementAndGet();
                        if (all % SAID_EACH == 0) {
                            System.out.println("writing " + all);
                        }
                    }
                } catch (DriverException gone) {
                    System.err.println("thread " + thread + ": " + gone);
                }
            });
            worker.start();
            workers.add(worker);
        }
        for (Thread worker : workers) {
            worker.join();
        }
        rate("written", written.get(), start);
        StringBuilder line = new StringBuilder("acknowledged");
        for (AtomicLong rows : acknowledged) {
            line.append(' ').append(rows.get());
        }
        System.out.println(line);
        if (written.get() < count) {
            throw new IllegalStateException("the node did not take all " + count + " rows");
        }
        // Not closed: the node may be gone, and the session would wait for it.
    }

    private static void rate(String what, long rows, long start) {
        System.out.printf("%s %d rows, %.0f/s%n", what, rows, rows * 1e9 / (System.nanoTime() - start));
    }

    /** A node asks another one that has just died until it knows of that: then its answer is late, and it is asked again. */
    private static void checkPatiently(String node, long[] acknowledged) throws Exception {
        long deadline = System.nanoTime() + Duration.ofSeconds(PATIENCE_S).toNanos();
        while (true) {
            try {
                check(node, acknowledged);
                return;
            } catch (QueryExecutionException late) {
                if (System.nanoTime() > deadline) {
                    throw late;
                }
            }
        }
    }

    private static void check(String node, long[] acknowledged) throws Exception {
        try (CqlSession session = connect(node)) {
            String all = "SELECT thread, number, body FROM " + KEYSPACE + "." + TABLE;
            long[] found = new long[acknowledged.length];
            long start = System.nanoTime();
            long rows = 0;
            for (Row row : session.execute(SimpleStatement.newInstance(all).setPageSize(500))) {
                int thread = row.getInt("thread");
                long number = row.getLong("number");
                verify(row, thread, number);
                // One may have been written without the client's having heard of it.
                if (thread >= found.length || number > acknowledged[thread]) {
                    throw new IllegalStateException("row " + thread + "/" + number + " was never written");
                }
                found[thread] += number < acknowledged[thread] ? 1 : 0;
                rows++;
            }
            rate("scanned", rows, start);
            for (int thread = 0; thread < found.length; thread++) {
                if (found[thread] != acknowledged[thread]) {
                    throw new IllegalStateException("thread " + thread + ": " + found[thread] + " rows are there, and "
                        + acknowledged[thread] + " were acknowledged");
                }
            }
            byKey(session, all + " WHERE thread = ? AND number = ?", acknowledged);
            System.out.println("checked " + rows);
        }
    }

    /** Each acknowledged row by its key, in a thread for each that wrote. */
    private static void byKey(CqlSession session, String query, long[] acknowledged) throws Exception {
        PreparedStatement select = session.prepare(query);
        List<RuntimeException> failures = new ArrayList<>();
        List<Thread> readers = new ArrayList<>();
        long start = System.nanoTime();
        for (int t = 0; t < acknowledged.length; t++) {
            int thread = t;
            Thread reader = new Thread(() -> {
                try {
                    for (long number = 0; number < acknowledged[thread]; number++) {
                        Row row = session.execute(select.bind(thread, number)).one();
                        if (row == null) {
                            throw new IllegalStateException("row " + thread + "/" + number + " is not found by its key");
                        }
                        verify(row, thread, number);
                    }
                } catch (RuntimeException failure) {
                    synchronized (failures) {
                        failures.add(failure);
                    }
                }
            });
            reader.start();
            readers.add(reader);
        }
        for (Thread reader : readers) {
            reader.join();
        }
        if (!failures.isEmpty()) {
            if (failures.get(0) instanceof QueryExecutionException late) {
                throw late;
            }
            throw new IllegalStateException("a thread failed", failures.get(0));
        }
        rate("read", Arrays.stream(acknowledged).sum(), start);
    }

    private static void verify(Row row, int thread, long number) {
        if (!body(thread, number).equals(row.getByteBuffer("body"))) {
            throw new IllegalStateException("row " + thread + "/" + number + " has another content");
        }
    }

    private static void manage(String[] args) throws Exception {
        InetSocketAddress address = address(args[1]);
        // The registry names the port that the guest listens at, which has another number here.
        RMISocketFactory.setSocketFactory(new RMISocketFactory() {
            @Override
            public Socket createSocket(String host, int port) throws IOException {
                return new Socket(address.getAddress(), address.getPort());
            }

            @Override
            public ServerSocket createServerSocket(int port) throws IOException {
                throw new IOException("this is a client");
            }
        });
        JMXServiceURL url = new JMXServiceURL("service:jmx:rmi:///jndi/rmi://" + args[1] + "/jmxrmi");
        try (JMXConnector connector = JMXConnectorFactory.connect(url)) {
            MBeanServerConnection server = connector.getMBeanServerConnection();
            ObjectName storage = new ObjectName("org.apache.cassandra.db:type=StorageService");
            String[] tables = {TABLE};
            switch (args[0]) {
                case "flush" -> server.invoke(storage, "forceKeyspaceFlush", new Object[] {KEYSPACE, tables},
                    new String[] {String.class.getName(), String[].class.getName()});
                case "compact" -> server.invoke(storage, "forceKeyspaceCompaction", new Object[] {false, KEYSPACE, tables},
                    new String[] {"boolean", String.class.getName(), String[].class.getName()});
                case "snapshot" -> {
                    server.invoke(storage, "takeSnapshot", new Object[] {args[2], Map.of(), new String[] {KEYSPACE}},
                        new String[] {String.class.getName(), Map.class.getName(), String[].class.getName()});
                    Map<?, ?> details = (Map<?, ?>) server.getAttribute(storage, "SnapshotDetails");
                    if (!(details.get(args[2]) instanceof TabularData data) || data.isEmpty()) {
                        throw new IllegalStateException("there is no snapshot " + args[2] + " but " + details.keySet());
                    }
                }
                case "tables" -> {
                    ObjectName count = new ObjectName("org.apache.cassandra.metrics:type=Table,keyspace=" + KEYSPACE
                        + ",scope=" + TABLE + ",name=LiveSSTableCount");
                    System.out.println("tables " + server.getAttribute(count, "Value"));
                }
                case "hints" -> hints(server, Long.parseLong(args[2]), args[3].equals("kept"));
                default -> throw new IllegalArgumentException(args[0]);
            }
        }
        System.out.println("done");
    }

    /** Hints are counted when they are kept, and when they are delivered; how many wait in a file that is still open is not told. */
    private static void hints(MBeanServerConnection server, long count, boolean kept) throws Exception {
        ObjectName keptHints = new ObjectName("org.apache.cassandra.metrics:type=Storage,name=TotalHints");
        ObjectName deliveredHints = new ObjectName("org.apache.cassandra.metrics:type=HintsService,name=HintsSucceeded");
        long deadline = System.nanoTime() + 4 * Duration.ofSeconds(PATIENCE_S).toNanos();
        while (true) {
            long all = (Long) server.getAttribute(keptHints, "Count");
            // It is counted from the first delivery on.
            long delivered = server.isRegistered(deliveredHints) ? (Long) server.getAttribute(deliveredHints, "Count") : 0;
            if (all >= count && (kept || delivered >= all)) {
                System.out.println("hints " + all + ", delivered " + delivered);
                return;
            }
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("hints " + all + ", delivered " + delivered);
            }
            Thread.sleep(1000);
        }
    }
}
