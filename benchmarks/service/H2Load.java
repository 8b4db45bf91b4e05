import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/**
 * {@code H2Load ADDRESS PORT THREADS SECONDS RATE}: each connection has rows of its own in one table. Of four operations three read a row by
 * its key, and one is a transaction that changes two rows.
 */
public final class H2Load {
    private static final int ROWS = 1000;

    private H2Load() {
    }

    public static void main(String[] args) throws Exception {
        String url = "jdbc:h2:tcp://" + args[0] + ":" + args[1] + "/bench";
        int threads = Integer.parseInt(args[args.length - 3]);
        try (Connection connection = DriverManager.getConnection(url, "sa", ""); Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE IF NOT EXISTS accounts (id INT PRIMARY KEY, amount BIGINT, note VARCHAR)");
            statement.execute("MERGE INTO accounts SELECT x, 0, REPEAT('n', 100) FROM SYSTEM_RANGE(0, " + (threads * ROWS - 1) + ")");
        }
        Load.run("operations", args, number -> new Client(url, number * ROWS));
    }

    private static final class Client implements Load.Client {
        private final Connection connection;
        private final PreparedStatement read;
        private final PreparedStatement change;
        private final int first;

        Client(String url, int first) throws SQLException {
            connection = DriverManager.getConnection(url, "sa", "");
            connection.setAutoCommit(false);
            read = connection.prepareStatement("SELECT note FROM accounts WHERE id = ?");
            change = connection.prepareStatement("UPDATE accounts SET amount = amount + ? WHERE id = ?");
            this.first = first;
        }

        @Override
        public void operate(int step) throws SQLException {
            int row = first + step * 31 % ROWS;
            if (step % 4 != 3) {
                read.setInt(1, row);
                try (ResultSet result = read.executeQuery()) {
                    if (!result.next() || result.getString(1).length() != 100) {
                        throw new SQLException("row " + row + " is not as it was written");
                    }
                }
                connection.commit();
                return;
            }
            int other = first + (step * 31 + 1) % ROWS;
            if (add(1, row) + add(-1, other) != 2) {
                throw new SQLException("rows " + row + " and " + other + " could not be changed");
            }
            connection.commit();
        }

        private int add(long amount, int row) throws SQLException {
            change.setLong(1, amount);
            change.setInt(2, row);
            return change.executeUpdate();
        }
    }
}
