import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A client of H2, on the host. The first argument says what it does, the second which database is meant:
 *
 * <ul>
 * <li>{@code write URL THREADS}: each thread inserts transactions of ten rows until a line of standard input comes or the server is gone.
 * Says "writing N" now and then, and at last "acknowledged A0 A1 ...", the transactions of each thread that are on the disk.
 * <li>{@code check URL A0 A1 ...}: every row of these transactions is there as it was written, and of each thread at most one more, whole.
 * Says "checked ROWS".
 * </ul>
 *
 * <p>H2's COMMIT does not wait for the disk, and H2 does not promise so; CHECKPOINT SYNC does. So a transaction counts as acknowledged
 * once a CHECKPOINT SYNC after its COMMIT has returned.
 */
public class H2Load {
    private static final int ROWS = 10;
    private static final int SAID_EACH = 20;

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "write" -> write(args[1], Integer.parseInt(args[2]));
            case "check" -> check(args);
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }

    private static Connection connect(String url) throws SQLException {
        return DriverManager.getConnection(url, "sa", "");
    }

    /** A row's text, which is known from its key. */
    private static String text(int thread, long transaction, int row) {
        Random random = new Random(thread * 1_000_003L + transaction * 31 + row);
        StringBuilder text = new StringBuilder();
        int length = 20 + random.nextInt(400);
        while (text.length() < length) {
            text.append(Long.toString(random.nextLong(), 36));
        }
        return text.toString();
    }

    private static void write(String url, int threads) throws Exception {
        long[] first = new long[threads];
        try (Connection connection = connect(url); Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE IF NOT EXISTS load (thread INT, transaction BIGINT, number INT, text VARCHAR, "
                + "PRIMARY KEY (thread, transaction, number))");
            statement.execute("CREATE INDEX IF NOT EXISTS load_text ON load (text)");
            statement.execute("CHECKPOINT SYNC");
            // Goes on where the last run ended: what it had not acknowledged may be there or not.
            for (int thread = 0; thread < threads; thread++) {
                ResultSet result = statement.executeQuery("SELECT MAX(transaction) + 1 FROM load WHERE thread = " + thread);
                result.next();
                first[thread] = result.getLong(1);
            }
        }
        AtomicLong written = new AtomicLong();
        AtomicLong[] acknowledged = new AtomicLong[threads];
        List<Thread> workers = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
            int thread = t;
            acknowledged[t] = new AtomicLong(first[t]);
            Thread worker = new Thread(() -> {
                try (Connection connection = connect(url)) {
                    work(connection, thread, acknowledged[thread], written);
                } catch (SQLException gone) {
                    System.err.println("thread " + thread + ": " + gone.getMessage());
                }
            });
            worker.setDaemon(true);
            worker.start();
            workers.add(worker);
        }
        Thread orders = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    stopped = true;
                }
            } catch (java.io.IOException closed) {
                // As if nothing had come.
            }
        });
        orders.setDaemon(true);
        orders.start();
        for (Thread worker : workers) {
            worker.join();
        }
        StringBuilder line = new StringBuilder("acknowledged");
        for (AtomicLong count : acknowledged) {
            line.append(' ').append(count.get());
        }
        System.out.println(line);
    }

    private static volatile boolean stopped;

    private static void work(Connection connection, int thread, AtomicLong acknowledged, AtomicLong written) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO load VALUES (?, ?, ?, ?)");
             Statement sync = connection.createStatement()) {
            while (!stopped) {
                long transaction = acknowledged.get();
                for (int row = 0; row < ROWS; row++) {
                    insert.setInt(1, thread);
                    insert.setLong(2, transaction);
                    insert.setInt(3, row);
                    insert.setString(4, text(thread, transaction, row));
                    insert.addBatch();
                }
                insert.executeBatch();
                connection.commit();
                sync.execute("CHECKPOINT SYNC");
                acknowledged.incrementAndGet();
                long all = written.incrementAndGet();
                if (all % SAID_EACH == 0) {
                    System.out.println("writing " + all);
                }
            }
        }
    }

    private static void check(String[] args) throws Exception {
        int threads = args.length - 2;
        long[] rows = new long[threads];
        try (Connection connection = connect(args[1]); Statement statement = connection.createStatement()) {
            ResultSet result = statement.executeQuery("SELECT thread, transaction, number, text FROM load ORDER BY thread, transaction, number");
            while (result.next()) {
                int thread = result.getInt(1);
                String what = "row " + thread + "/" + result.getLong(2) + "/" + result.getInt(3);
                if (thread >= threads) {
                    throw new IllegalStateException(what + " was never written");
                }
                // Sorted, so each is the next of its thread, or one is missing.
                long next = rows[thread]++;
                if (result.getLong(2) != next / ROWS || result.getInt(3) != next % ROWS) {
                    throw new IllegalStateException(what + " is where " + thread + "/" + next / ROWS + "/" + next % ROWS + " should be");
                }
                if (!result.getString(4).equals(text(thread, result.getLong(2), result.getInt(3)))) {
                    throw new IllegalStateException(what + " has another text");
                }
            }
            // The index is another tree in the same file.
            ResultSet counted = statement.executeQuery("SELECT COUNT(*) FROM load WHERE text > ''");
            counted.next();
            long all = 0;
            for (int thread = 0; thread < threads; thread++) {
                long acknowledged = Long.parseLong(args[thread + 2]);
                long found = rows[thread] / ROWS;
                if (rows[thread] % ROWS != 0) {
                    throw new IllegalStateException("thread " + thread + " has a part of transaction " + found);
                }
                if (found < acknowledged || found > acknowledged + 1) {
                    throw new IllegalStateException(
                        "thread " + thread + " has " + found + " transactions, and " + acknowledged + " are acknowledged");
                }
                all += rows[thread];
            }
            if (counted.getLong(1) != all) {
                throw new IllegalStateException("the index has " + counted.getLong(1) + " rows, and the table " + all);
            }
            System.out.println("checked " + all);
        }
    }
}
