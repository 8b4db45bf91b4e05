import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;
import javax.management.MBeanServer;
import javax.management.ObjectName;

/** The JVM's own means of looking at it: dumps, logs, flight recordings, management. */
public class Observed {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "thread-dump" -> threadDump();
            case "log" -> log(Path.of(args[1]));
            case "recording" -> recording();
            case "management" -> management();
            case "native-memory" -> nativeMemory();
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    /**
     * SIGQUIT makes HotSpot print all stacks; the harness sends it, because HotSpot blocks it in all
     * threads but one, so that no thread can raise it for itself.
     */
    private static void threadDump() throws Exception {
        CountDownLatch waiting = new CountDownLatch(1);
        Object lock = new Object();
        Thread sleeper = new Thread(() -> {
            synchronized (lock) {
                waiting.countDown();
                try {
                    lock.wait();
                } catch (InterruptedException e) {
                    throw new AssertionError(e);
                }
            }
        }, "a-sleeper-to-be-found");
        sleeper.start();
        waiting.await();
        while (sleeper.getState() != Thread.State.WAITING) {
            Thread.sleep(1);
        }
        System.out.println("ready");
        sleeper.join();
    }

    private static void log(Path log) throws IOException {
        List<byte[]> some = new java.util.ArrayList<>();
        for (int i = 0; i < 200; i++) {
            some.add(new byte[200_000]);
            if (some.size() > 20) {
                some.clear();
            }
        }
        System.gc();
        List<String> lines = Files.readAllLines(log);
        System.out.println("lines: " + (lines.size() > 3));
        Pattern shape = Pattern.compile("\\[\\d+\\.\\d+s\\]\\[info\\s*\\]\\[gc.*\\].*");
        System.out.println("all of one shape: " + lines.stream().allMatch(l -> shape.matcher(l).matches()));
        System.out.println("a full collection: " + lines.stream().anyMatch(l -> l.contains("Pause Full (System.gc())")));
        Files.delete(log);
    }

    private static void recording() throws Exception {
        Path file = Files.createTempFile("crema", ".jfr");
        try (jdk.jfr.Recording recording = new jdk.jfr.Recording(jdk.jfr.Configuration.getConfiguration("profile"))) {
            recording.start();
            Mark mark = new Mark();
            mark.begin();
            mark.number = 42;
            long sum = 0;
            for (int i = 0; i < 3_000_000; i++) {
                sum += Integer.toString(i % 1000).hashCode();
            }
            mark.commit();
            System.gc();
            System.out.println("sum " + sum);
            recording.stop();
            recording.dump(file);
        }
        int marks = 0;
        boolean collections = false;
        boolean os = false;
        for (jdk.jfr.consumer.RecordedEvent event : jdk.jfr.consumer.RecordingFile.readAllEvents(file)) {
            String name = event.getEventType().getName();
            if (name.equals("Observed$Mark") && event.getInt("number") == 42) {
                marks++;
            }
            collections |= name.equals("jdk.GarbageCollection");
            os |= name.equals("jdk.OSInformation");
        }
        System.out.println("marks " + marks + ", collections " + collections + ", system " + os);
        Files.delete(file);
    }

    /** An event of our own. */
    public static class Mark extends jdk.jfr.Event {
        int number;
    }

    private static void management() throws Exception {
        MBeanServer server = ManagementFactory.getPlatformMBeanServer();
        ObjectName commands = new ObjectName("com.sun.management:type=DiagnosticCommand");
        String[] signature = {String[].class.getName()};
        for (String[] command : new String[][] {{"threadPrint", "\"main\""}, {"vmVersion", "OpenJDK 64-Bit Server VM"},
            {"gcClassHistogram", "java.lang.String"}, {"vmFlags", "-XX:"}, {"vmSystemProperties", "java.vm.name"},
            {"vmUptime", "s"}, {"gcHeapInfo", "Metaspace"}, {"compilerCodecache", "full_count="}}) {
            String said = (String) server.invoke(commands, command[0], new Object[] {new String[0]}, signature);
            System.out.println(command[0] + ": " + said.contains(command[1]));
        }
        com.sun.management.OperatingSystemMXBean os =
            (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        com.sun.management.UnixOperatingSystemMXBean unix = (com.sun.management.UnixOperatingSystemMXBean) os;
        System.out.println("processors: " + (os.getAvailableProcessors() == Runtime.getRuntime().availableProcessors()));
        System.out.println("memory: " + (os.getTotalMemorySize() > Runtime.getRuntime().maxMemory()
            && os.getFreeMemorySize() <= os.getTotalMemorySize() && os.getCommittedVirtualMemorySize() > 0));
        System.out.println("times: " + (os.getProcessCpuTime() > 0 && ManagementFactory.getRuntimeMXBean().getUptime() > 0));
        System.out.println("files: " + (unix.getOpenFileDescriptorCount() > 2
            && unix.getMaxFileDescriptorCount() > unix.getOpenFileDescriptorCount()));
        System.out.println("thread time: " + (ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() > 0));
        System.out.println("pid: " + (ProcessHandle.current().pid() > 0));
        Path heap = Files.createTempDirectory("crema").resolve("dump.hprof");
        ManagementFactory.getPlatformMXBean(com.sun.management.HotSpotDiagnosticMXBean.class).dumpHeap(heap.toString(), true);
        System.out.println("heap dump: " + (Files.size(heap) > 100_000)
            + " " + new String(Files.readAllBytes(heap), 0, 18, java.nio.charset.StandardCharsets.US_ASCII));
        Files.delete(heap);
        Files.delete(heap.getParent());
    }

    private static void nativeMemory() throws Exception {
        MBeanServer server = ManagementFactory.getPlatformMBeanServer();
        String said = (String) server.invoke(new ObjectName("com.sun.management:type=DiagnosticCommand"), "vmNativeMemory",
            new Object[] {new String[] {"summary"}}, new String[] {String[].class.getName()});
        for (String part : List.of("Total: reserved=", "Java Heap", "Thread", "Code", "GC", "Metaspace")) {
            System.out.println(part + ": " + said.contains(part));
        }
    }
}
