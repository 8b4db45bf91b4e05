package crema;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

import org.apache.zookeeper.server.quorum.QuorumPeerMain;

/**
 * Starts ZooKeeper with settings from the command line, for a machine has no editor to change a file with.
 *
 * <p>Each argument is KEY=VALUE, as in zoo.cfg. {@code myid=N} is the server's number in an ensemble, whose
 * members are given as {@code server.1=HOST:2888:3888} and so on.
 */
public final class ZooKeeper {
    private static final Path HOME = Path.of("/var/lib/zookeeper");

    private ZooKeeper() {
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("dataDir", HOME.toString());
        settings.put("clientPort", "2181");
        settings.put("tickTime", "2000");
        settings.put("initLimit", "10");
        settings.put("syncLimit", "5");
        settings.put("maxClientCnxns", "0");
        settings.put("4lw.commands.whitelist", "*");
        settings.put("admin.enableServer", "true");
        settings.put("admin.serverPort", "8080");
        String id = null;
        for (String argument : args) {
            int equals = argument.indexOf('=');
            if (equals < 1) {
                System.err.println("zookeeper: " + argument + " is not KEY=VALUE");
                System.exit(2);
            }
            String key = argument.substring(0, equals);
            String value = argument.substring(equals + 1);
            if (key.equals("myid")) {
                id = value;
            } else {
                settings.put(key, value);
            }
        }
        Path data = Path.of(settings.get("dataDir"));
        Files.createDirectories(data);
        if (id != null) {
            Files.writeString(data.resolve("myid"), id + "\n");
        }
        StringBuilder text = new StringBuilder();
        settings.forEach((key, value) -> text.append(key).append('=').append(value).append('\n'));
        Path file = data.resolve("zoo.cfg");
        Files.writeString(file, text);
        // ZooKeeper does not sync the snapshot that it makes when it starts for the first time, but it does sync its log. A power cut soon
        // after may leave the log alone, with which it refuses to start (FileTxnSnapLog.restore). As long as the log is there from its
        // first transaction on, nothing is missing without a snapshot; logs are removed oldest first.
        Path logs = Path.of(settings.getOrDefault("dataLogDir", data.toString()));
        if (Files.exists(logs.resolve("version-2").resolve("log.1"))) {
            System.setProperty("zookeeper.snapshot.trust.empty", "true");
        }
        QuorumPeerMain.main(new String[] {file.toString()});
    }
}
