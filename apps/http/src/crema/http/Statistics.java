package crema.http;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.LongAdder;

/** What has been counted, and what the system says of this process. */
final class Statistics {
    private static final LongAdder OPENED = new LongAdder();
    private static final LongAdder CLOSED = new LongAdder();
    private static final LongAdder ANSWERED = new LongAdder();

    private Statistics() {
    }

    static void opened() {
        OPENED.increment();
    }

    static void closed() {
        CLOSED.increment();
    }

    static void answered() {
        ANSWERED.increment();
    }

    /** One line for each figure: its name and its value. */
    static String text() {
        Runtime runtime = Runtime.getRuntime();
        String[] descriptors = new File("/proc/self/fd").list();
        return "connections " + (OPENED.sum() - CLOSED.sum())
                + "\naccepted " + OPENED.sum()
                + "\nrequests " + ANSWERED.sum()
                + "\nresets " + sentResets()
                + "\ndescriptors " + (descriptors == null ? -1 : descriptors.length)
                + "\nthreads " + field("/proc/self/status", "Threads:")
                + "\nheap-bytes " + (runtime.totalMemory() - runtime.freeMemory())
                + "\nresident-kib " + field("/proc/self/status", "VmRSS:")
                + "\navailable-kib " + field("/proc/meminfo", "MemAvailable:")
                + "\nfree-kib " + field("/proc/meminfo", "MemFree:") + "\n";
    }

    /** Connections of the whole system that were reset from this side, or -1. */
    private static long sentResets() {
        try {
            // A line with names, and one with values.
            List<String> tcp = Files.readAllLines(Path.of("/proc/net/snmp")).stream().filter(line -> line.startsWith("Tcp:")).toList();
            int column = List.of(tcp.get(0).split(" ")).indexOf("OutRsts");
            return Long.parseLong(tcp.get(1).split(" ")[column]);
        } catch (IOException | IndexOutOfBoundsException | NumberFormatException e) {
            return -1;
        }
    }

    /** The number after a name at the beginning of a line, or -1. */
    private static long field(String file, String name) {
        try {
            for (String line : Files.readAllLines(Path.of(file))) {
                if (line.startsWith(name)) {
                    return Long.parseLong(line.substring(name.length()).strip().split("\\s+")[0]);
                }
            }
        } catch (IOException | NumberFormatException e) {
            // It is not told.
        }
        return -1;
    }
}
