import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.FileSystemLoopException;
import java.nio.file.FileVisitOption;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.NotLinkException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * Directories, links, attributes and every mistake one can make with them, below the directory that
 * the argument names.
 */
public class Tree {
    private static Path root;

    public static void main(String[] args) throws Exception {
        Path base = Files.createDirectories(Path.of(args[0]));
        root = Files.createTempDirectory(base, "tree");
        try {
            build();
            walk();
            links();
            attributes();
            moves();
            mistakes();
            listing();
        } finally {
            delete(root);
        }
        System.out.println("gone: " + Files.notExists(root));
    }

    private static String relative(Path path) {
        return path.startsWith(root) ? root.relativize(path).toString() : path.toString();
    }

    private static void build() throws IOException {
        for (int i = 0; i < 30; i++) {
            Path directory = root.resolve("a" + i % 3).resolve("b" + i % 5).resolve("c" + i);
            Files.createDirectories(directory);
            Files.writeString(directory.resolve("file " + i + ".txt"), "content of " + i + "\n".repeat(i * 13));
        }
        Files.writeString(root.resolve("grün €.txt"), "umlauts in a name");
        Files.createDirectory(root.resolve("empty"));
        String name = "n".repeat(255);
        Files.writeString(root.resolve(name), "the longest name");
    }

    private static void walk() throws IOException {
        Map<String, Long> sizes = new TreeMap<>();
        try (Stream<Path> tree = Files.walk(root)) {
            for (Path path : (Iterable<Path>) tree::iterator) {
                sizes.put(relative(path), Files.isDirectory(path) ? -1 : Files.size(path));
            }
        }
        sizes.forEach((path, size) -> System.out.println(size + " " + (path.length() > 60 ? path.length() : path)));
        try (Stream<Path> found = Files.find(root, 9, (p, a) -> a.isRegularFile() && a.size() > 300)) {
            System.out.println("found " + found.count());
        }
    }

    private static void links() throws IOException {
        Path target = root.resolve("empty");
        Path link = Files.createSymbolicLink(root.resolve("link"), target);
        Path relative = Files.createSymbolicLink(root.resolve("relative"), Path.of("a0/../grün €.txt"));
        Path dangling = Files.createSymbolicLink(root.resolve("dangling"), Path.of("/no/such/thing"));
        Path loop = Files.createSymbolicLink(root.resolve("loop"), Path.of("loop"));
        System.out.println(relative(Files.readSymbolicLink(link)) + " " + Files.readString(relative)
            + " " + Files.exists(dangling) + " " + Files.exists(dangling, LinkOption.NOFOLLOW_LINKS)
            + " " + Files.exists(loop) + " " + Files.isSymbolicLink(loop));
        System.out.println(relative(relative.toRealPath()) + " " + relative(link.toRealPath()));
        Files.writeString(link.resolve("through.txt"), "through a link");
        System.out.println(Files.readString(target.resolve("through.txt")));
        Path up = Files.createSymbolicLink(target.resolve("up"), Path.of(".."));
        int loops = 0;
        StringBuilder seen = new StringBuilder();
        int[] count = new int[2];
        Files.walkFileTree(root, java.util.Set.of(FileVisitOption.FOLLOW_LINKS), 20, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes a) {
                count[0]++;
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException e) {
                count[1] += e instanceof FileSystemLoopException ? 1 : 100;
                return FileVisitResult.CONTINUE;
            }
        });
        System.out.println("files " + count[0] + ", loops and failures " + count[1]);
        Files.delete(up);

        Path hard = Files.createLink(root.resolve("hard"), relative.toRealPath());
        Files.writeString(hard, "written through a hard link");
        System.out.println(Files.readString(relative) + " " + Files.isSameFile(hard, relative)
            + " " + Files.getAttribute(hard, "unix:nlink"));
        for (Path path : new Path[] {link, relative, dangling, loop, hard}) {
            Files.delete(path);
        }
        System.out.println(Files.getAttribute(root.resolve("grün €.txt"), "unix:nlink"));
    }

    private static void attributes() throws IOException {
        Path file = Files.writeString(root.resolve("attributes"), "0123456789");
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-x--x"));
        FileTime time = FileTime.fromMillis(1_234_567_890_123L);
        Files.setLastModifiedTime(file, time);
        Files.setAttribute(file, "lastAccessTime", FileTime.fromMillis(1_000_000_000_000L));
        PosixFileAttributes a = Files.readAttributes(file, PosixFileAttributes.class);
        System.out.println(PosixFilePermissions.toString(a.permissions()) + " " + a.size() + " "
            + a.lastModifiedTime() + " " + a.isRegularFile() + " " + Files.isExecutable(file));
        System.out.println("changed later: " + (((FileTime) Files.getAttribute(file, "unix:ctime")).compareTo(time) > 0));
        System.out.println("owner is the parent's: " + Files.getOwner(file).equals(Files.getOwner(root)));
        System.out.println(String.format("%o", (Integer) Files.getAttribute(file, "unix:mode")));
        System.out.println("same device: "
            + Files.getAttribute(file, "unix:dev").equals(Files.getAttribute(root, "unix:dev"))
            + ", other inode: " + !Files.getAttribute(file, "unix:ino").equals(Files.getAttribute(root, "unix:ino")));
        Path made = Files.createFile(root.resolve("made"),
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("r--------")));
        System.out.println(PosixFilePermissions.toString(Files.getPosixFilePermissions(made)) + " "
            + made.toFile().length() + " " + made.toFile().setWritable(true) + " "
            + PosixFilePermissions.toString(Files.getPosixFilePermissions(made)));
        System.out.println("space: " + (Files.getFileStore(root).getUsableSpace() > 0) + " "
            + (root.toFile().getTotalSpace() >= root.toFile().getFreeSpace()));
        Files.delete(file);
        Files.delete(made);
    }

    private static void moves() throws IOException {
        Path from = Files.writeString(root.resolve("from"), "moved");
        Path to = Files.writeString(root.resolve("to"), "replaced");
        Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
        System.out.println(Files.exists(from) + " " + Files.readString(to));
        // JDK 17 copies whole microseconds.
        Files.setLastModifiedTime(to, FileTime.from(1_700_000_000_123_456L, TimeUnit.MICROSECONDS));
        Files.copy(to, from, StandardCopyOption.COPY_ATTRIBUTES);
        System.out.println(Files.mismatch(from, to) + " " + Files.getLastModifiedTime(from).equals(Files.getLastModifiedTime(to)));
        Path directory = Files.move(root.resolve("a1"), root.resolve("a9"));
        try (Stream<Path> tree = Files.walk(directory)) {
            System.out.println("moved with its " + tree.count());
        }
        Files.move(directory, root.resolve("a1"));
        Path big = root.resolve("big");
        byte[] content = new byte[3_000_000];
        new java.util.Random(1).nextBytes(content);
        Files.write(big, content);
        Path other = Files.createTempFile("crema", ".copy");
        Files.copy(big, other, StandardCopyOption.REPLACE_EXISTING);
        System.out.println("copied " + Files.mismatch(big, other) + " " + Files.size(other));
        Files.delete(other);
        Files.delete(big);
        Files.delete(from);
        Files.delete(to);
    }

    private static void mistakes() throws Exception {
        Path file = Files.writeString(root.resolve("file"), "x");
        attempt("missing", () -> Files.readString(root.resolve("missing")));
        attempt("below a file", () -> Files.readString(file.resolve("x")));
        attempt("is there", () -> Files.createFile(file));
        attempt("directory is there", () -> Files.createDirectory(root.resolve("empty")));
        attempt("not empty", () -> {
            Files.delete(root.resolve("a0"));
            return null;
        });
        attempt("move over", () -> Files.move(file, root.resolve("a0"), StandardCopyOption.REPLACE_EXISTING));
        attempt("into itself", () -> Files.move(root.resolve("a0"), root.resolve("a0/b0/x"), StandardCopyOption.ATOMIC_MOVE));
        attempt("no link", () -> Files.readSymbolicLink(file));
        attempt("no directory", () -> Files.newDirectoryStream(file));
        attempt("a directory", () -> Files.newOutputStream(root.resolve("empty")));
        attempt("read a directory", () -> Files.newInputStream(root.resolve("empty")).read());
        attempt("name too long", () -> Files.createFile(root.resolve("n".repeat(256))));
        attempt("loop", () -> {
            Path loop = Files.createSymbolicLink(root.resolve("loop"), Path.of("loop"));
            try {
                return Files.readString(loop);
            } finally {
                Files.delete(loop);
            }
        });
        attempt("classic", () -> new java.io.FileInputStream(root.resolve("nothing").toFile()));
        Files.delete(file);
    }

    private static void attempt(String name, Callable<Object> action) throws Exception {
        try {
            System.out.println(name + ": " + action.call());
        } catch (FileAlreadyExistsException | NoSuchFileException | DirectoryNotEmptyException | NotDirectoryException
                | NotLinkException | AtomicMoveNotSupportedException e) {
            System.out.println(name + ": " + e.getClass().getSimpleName());
        } catch (FileSystemException e) {
            System.out.println(name + ": " + e.getReason());
        } catch (IOException e) {
            System.out.println(name + ": " + e.getMessage().replace(root.toString(), "ROOT"));
        }
    }

    /** Many entries in one directory, some taken away while others are added. */
    private static void listing() throws IOException {
        Path directory = Files.createDirectory(root.resolve("many"));
        for (int i = 0; i < 1000; i++) {
            Files.createFile(directory.resolve("entry-" + i));
        }
        for (int i = 0; i < 1000; i += 3) {
            Files.delete(directory.resolve("entry-" + i));
        }
        String[] names = directory.toFile().list();
        java.util.Arrays.sort(names);
        System.out.println(names.length + " " + java.util.Arrays.hashCode(names));
    }

    private static void delete(Path path) throws IOException {
        try (Stream<Path> tree = Files.walk(path)) {
            for (Path p : (Iterable<Path>) tree.sorted(java.util.Comparator.reverseOrder())::iterator) {
                Files.delete(p);
            }
        }
    }
}
