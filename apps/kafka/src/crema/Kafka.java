package crema;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

import kafka.tools.StorageTool;

/**
 * Starts Kafka, a broker that is its own controller, with settings from the command line, for a machine has no editor to change a file with.
 *
 * <p>Each argument is KEY=VALUE, as in server.properties. The folder of the log is formatted when it is used first.
 */
public final class Kafka {
    private static final Path HOME = Path.of("/var/lib/kafka");

    private Kafka() {
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("process.roles", "broker,controller");
        settings.put("node.id", "1");
        settings.put("controller.quorum.voters", "1@localhost:9093");
        settings.put("listeners", "PLAINTEXT://:9092,CONTROLLER://localhost:9093");
        settings.put("controller.listener.names", "CONTROLLER");
        // Where clients go after their first question: a port of the host that leads here.
        settings.put("advertised.listeners", "PLAINTEXT://127.0.0.1:9092");
        // One broker, so one copy. What is acknowledged is on the disk: Kafka's own default leaves that to the other copies.
        settings.put("offsets.topic.replication.factor", "1");
        settings.put("transaction.state.log.replication.factor", "1");
        settings.put("transaction.state.log.min.isr", "1");
        settings.put("share.coordinator.state.topic.replication.factor", "1");
        settings.put("share.coordinator.state.topic.min.isr", "1");
        settings.put("log.flush.interval.messages", "1");
        settings.put("offsets.topic.num.partitions", "4");
        settings.put("transaction.state.log.num.partitions", "4");
        settings.put("group.initial.rebalance.delay.ms", "0");
        for (String argument : args) {
            int equals = argument.indexOf('=');
            if (equals < 1) {
                System.err.println("kafka: " + argument + " is not KEY=VALUE");
                System.exit(2);
            }
            settings.put(argument.substring(0, equals), argument.substring(equals + 1));
        }
        // Below the volume's root, where ext4 has lost+found: Kafka takes each folder for a partition.
        settings.putIfAbsent("log.dirs", Files.createDirectories(HOME.resolve("log")).toString());
        StringBuilder text = new StringBuilder();
        settings.forEach((key, value) -> text.append(key).append('=').append(value).append('\n'));
        // Made anew at each start, so not on the volume.
        Path file = Files.createTempDirectory("kafka").resolve("server.properties");
        Files.writeString(file, text);
        String[] format = {"format", "--ignore-formatted", "--cluster-id", "Q3JlbWFLYWZrYUNsdXN0ZQ", "--config", file.toString()};
        int status = StorageTool.execute(format, System.out);
        if (status != 0) {
            System.exit(status);
        }
        kafka.Kafka.main(new String[] {file.toString()});
    }
}
