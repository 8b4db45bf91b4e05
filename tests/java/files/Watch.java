import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardWatchEventKinds;
import java.nio.file.WatchEvent;
import java.nio.file.WatchKey;
import java.nio.file.WatchService;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;

/**
 * Watches a directory: by inotify where the kernel has it, else by the JDK's polling. Prints which
 * names were reported for what, whatever the order and however often.
 */
public class Watch {
    public static void main(String[] args) throws Exception {
        Path root = Files.createTempDirectory("crema-watch");
        Files.writeString(root.resolve("old"), "old");
        try (WatchService watcher = FileSystems.getDefault().newWatchService()) {
            root.register(watcher, StandardWatchEventKinds.ENTRY_CREATE, StandardWatchEventKinds.ENTRY_DELETE,
                StandardWatchEventKinds.ENTRY_MODIFY);
            Set<String> seen = new TreeSet<>();
            Files.createFile(root.resolve("new"));
            await(watcher, seen, "ENTRY_CREATE new");
            // With a time of its own, so that a clock of seconds sees the change, too.
            Files.writeString(root.resolve("old"), "changed");
            Files.setLastModifiedTime(root.resolve("old"), java.nio.file.attribute.FileTime.fromMillis(1_000_000_000_000L));
            await(watcher, seen, "ENTRY_MODIFY old");
            Files.delete(root.resolve("new"));
            await(watcher, seen, "ENTRY_DELETE new");
            seen.removeIf(event -> event.equals("ENTRY_MODIFY new"));
            seen.forEach(System.out::println);
        }
        Files.delete(root.resolve("old"));
        Files.delete(root);
    }

    private static void await(WatchService watcher, Set<String> seen, String wanted) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!seen.contains(wanted) && System.nanoTime() < end) {
            WatchKey key = watcher.poll(1, TimeUnit.SECONDS);
            if (key != null) {
                for (WatchEvent<?> event : key.pollEvents()) {
                    seen.add(event.kind() + " " + event.context());
                }
                key.reset();
            }
        }
    }
}
