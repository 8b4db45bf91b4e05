package crema;

import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.NetworkInterface;
import java.net.SocketException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

import org.apache.cassandra.service.CassandraDaemon;

/**
 * Starts Cassandra with settings from the command line, for a machine has no editor to change a file with.
 *
 * <p>Each argument is KEY=VALUE, as a line "KEY: VALUE" of cassandra.yaml. Besides there are {@code seeds=ADDRESS,ADDRESS} (without
 * it the node is its own seed), {@code jmx=PORT} (off without it, for whoever reaches it rules the node) and {@code log=LEVEL}.
 */
public final class Cassandra {
    private static final Path HOME = Path.of("/var/lib/cassandra");

    private Cassandra() {
    }

    public static void main(String[] args) throws Exception {
        String address = address();
        Map<String, String> settings = defaults(address);
        String seeds = null;
        for (String argument : args) {
            int equals = argument.indexOf('=');
            if (equals < 1) {
                System.err.println("cassandra: " + argument + " is not KEY=VALUE");
                System.exit(2);
            }
            String key = argument.substring(0, equals);
            String value = argument.substring(equals + 1);
            switch (key) {
                case "seeds" -> seeds = value;
                case "jmx" -> openJmx(value);
                case "log" -> System.setProperty("crema.log.level", value);
                default -> settings.put(key, value);
            }
        }
        if (seeds == null) {
            seeds = settings.get("listen_address");
        }
        settings.put("seed_provider",
            "[{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: \"" + seeds + "\"}]}]");

        StringBuilder text = new StringBuilder();
        settings.forEach((key, value) -> text.append(key).append(": ").append(value).append('\n'));
        // Made anew at each start, so not on the volume.
        Path file = Files.createTempDirectory("cassandra").resolve("cassandra.yaml");
        Files.writeString(file, text);
        System.setProperty("cassandra.config", file.toUri().toString());
        System.setProperty("cassandra.storagedir", HOME.toString());
        System.setProperty("cassandra.triggers_dir", Files.createDirectories(HOME.resolve("triggers")).toString());
        // Else it closes standard output and error, as a daemon does.
        System.setProperty("cassandra-foreground", "yes");
        // Returns when clients can come.
        CassandraDaemon.main(new String[0]);
        System.out.println("cassandra: ready at " + settings.get("broadcast_rpc_address"));
    }

    /** What a node of one or two GiB needs; the rest is as Cassandra has it. */
    private static Map<String, String> defaults(String address) {
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("cluster_name", "crema");
        settings.put("num_tokens", "16");
        settings.put("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner");
        settings.put("endpoint_snitch", "SimpleSnitch");
        settings.put("listen_address", address);
        settings.put("rpc_address", "0.0.0.0");
        settings.put("broadcast_rpc_address", address);
        // What is acknowledged is on the disk. Cassandra's own default may lose the last ten seconds.
        settings.put("commitlog_sync", "batch");
        settings.put("commitlog_segment_size", "8MiB");
        settings.put("commitlog_total_space", "64MiB");
        settings.put("memtable_heap_space", "48MiB");
        settings.put("memtable_offheap_space", "48MiB");
        settings.put("file_cache_enabled", "false");
        settings.put("key_cache_size", "8MiB");
        settings.put("networking_cache_size", "16MiB");
        settings.put("prepared_statements_cache_size", "4MiB");
        settings.put("concurrent_reads", "16");
        settings.put("concurrent_writes", "16");
        settings.put("concurrent_compactors", "1");
        settings.put("hints_flush_period", "1s");
        return settings;
    }

    /** The machine's first address that others can reach, or the loopback's. */
    private static String address() throws SocketException {
        for (NetworkInterface device : NetworkInterface.networkInterfaces().toList()) {
            if (device.isUp() && !device.isLoopback()) {
                for (InetAddress address : device.inetAddresses().toList()) {
                    if (address instanceof Inet4Address) {
                        return address.getHostAddress();
                    }
                }
            }
        }
        return "127.0.0.1";
    }

    private static void openJmx(String port) {
        System.setProperty("cassandra.jmx.remote.port", port);
        System.setProperty("com.sun.management.jmxremote.rmi.port", port);
        System.setProperty("com.sun.management.jmxremote.authenticate", "false");
        System.setProperty("com.sun.management.jmxremote.ssl", "false");
    }
}
