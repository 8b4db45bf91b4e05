import java.io.File;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.AsynchronousFileChannel;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.Random;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.zip.CRC32;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;
import java.util.zip.ZipFile;

/** What is in files: random access, maps, locks, temporary files, jars, channels. */
public class Content {
    private static Path root;

    public static void main(String[] args) throws Exception {
        root = Files.createTempDirectory(Files.createDirectories(Path.of(args[0])), "content");
        randomAccess();
        channels();
        mapped();
        locks();
        temporary();
        jars();
        asynchronous();
        runtimeImage();
        concurrent();
        Files.delete(root);
    }

    private static long crc(Path file) throws Exception {
        CRC32 crc = new CRC32();
        crc.update(Files.readAllBytes(file));
        return crc.getValue();
    }

    private static void randomAccess() throws Exception {
        Path path = root.resolve("random");
        try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
            Random random = new Random(5);
            byte[] model = new byte[200_000];
            for (int i = 0; i < 2000; i++) {
                int at = random.nextInt(model.length - 500);
                byte[] piece = new byte[1 + random.nextInt(499)];
                random.nextBytes(piece);
                file.seek(at);
                file.write(piece);
                System.arraycopy(piece, 0, model, at, piece.length);
            }
            file.setLength(model.length);
            byte[] back = new byte[model.length];
            file.seek(0);
            file.readFully(back);
            System.out.println("random access: " + java.util.Arrays.equals(model, back) + " " + file.read());
            file.setLength(1000);
            file.seek(5000);
            file.writeUTF("behind a hole");
            file.seek(3000);
            System.out.println("hole: " + file.readLong() + ", length " + file.length());
            file.getFD().sync();
        }
        System.out.printf("crc %08x%n", crc(path));
        try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "r")) {
            file.write(1);
        } catch (java.io.IOException e) {
            System.out.println("read only: " + e.getMessage());
        }
        Files.delete(path);
    }

    private static void channels() throws Exception {
        Path path = root.resolve("channel");
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE,
                StandardOpenOption.READ)) {
            ByteBuffer[] parts = {ByteBuffer.wrap("one ".getBytes()), ByteBuffer.allocateDirect(8), ByteBuffer.wrap("three".getBytes())};
            parts[1].putLong(0x20202020_20202020L).flip();
            System.out.println("gathered " + channel.write(parts) + " at " + channel.position());
            ByteBuffer[] scattered = {ByteBuffer.allocate(4), ByteBuffer.allocateDirect(100)};
            System.out.println("scattered " + channel.position(0).read(scattered));
            channel.write(ByteBuffer.wrap("at".getBytes()), 100_000);
            System.out.println("size " + channel.size() + ", at the end " + channel.read(ByteBuffer.allocate(1), 200_000));
            channel.truncate(50_000);
            System.out.println("truncated to " + channel.size());
            channel.force(true);
            Path copy = root.resolve("copy");
            try (FileChannel to = FileChannel.open(copy, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                System.out.println("transferred " + channel.transferTo(0, 60_000, to) + " " + to.transferFrom(channel.position(0), 50_000, 100));
            }
            System.out.printf("crc %08x%n", crc(copy));
            Files.delete(copy);
        }
        try (FileChannel append = FileChannel.open(path, StandardOpenOption.APPEND)) {
            append.write(ByteBuffer.wrap("appended".getBytes()));
            System.out.println("appended: " + Files.size(path));
        }
        try (FileChannel last = FileChannel.open(path, StandardOpenOption.DELETE_ON_CLOSE)) {
            System.out.println("open: " + last.isOpen());
        }
        System.out.println("deleted on close: " + Files.notExists(path));
    }

    private static void mapped() throws Exception {
        Path path = root.resolve("mapped");
        Files.write(path, new byte[100_000]);
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer shared = channel.map(FileChannel.MapMode.READ_WRITE, 0, 100_000);
            MappedByteBuffer own = channel.map(FileChannel.MapMode.PRIVATE, 0, 100_000);
            MappedByteBuffer read = channel.map(FileChannel.MapMode.READ_ONLY, 4095, 10);
            for (int i = 0; i < 100_000; i++) {
                shared.put(i, (byte) (i * 7));
            }
            own.put(5000, (byte) 99);
            System.out.println("seen through read(2): " + (readAt(channel, 5000) == (byte) (5000 * 7)));
            channel.write(ByteBuffer.wrap(new byte[] {1, 2, 3}), 4095);
            System.out.println("written seen in maps: " + shared.get(4096) + " " + read.get(2) + " own page kept: " + own.get(5000));
            System.out.println("loaded: " + shared.load().limit());
            shared.force();
            MappedByteBuffer beyond = channel.map(FileChannel.MapMode.READ_WRITE, 99_990, 50_000);
            beyond.put(49_999, (byte) 5);
            System.out.println("grown to " + channel.size());
        }
        System.out.printf("crc %08x%n", crc(path));
        Files.delete(path);
    }

    private static byte readAt(FileChannel channel, long at) throws Exception {
        ByteBuffer one = ByteBuffer.allocate(1);
        channel.read(one, at);
        return one.get(0);
    }

    private static void locks() throws Exception {
        Path path = Files.createFile(root.resolve("locked"));
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE);
             FileChannel other = FileChannel.open(path, StandardOpenOption.WRITE)) {
            FileLock lock = channel.lock(10, 20, false);
            FileLock second = other.tryLock(40, 5, false);
            System.out.println("locks: " + lock.isValid() + " " + lock.isShared() + " " + second.isValid());
            try {
                other.tryLock(15, 1, false);
                System.out.println("overlap allowed");
            } catch (OverlappingFileLockException e) {
                System.out.println("overlap refused");
            }
            lock.release();
            second.release();
            try (FileLock shared = channel.lock(0, Long.MAX_VALUE, true)) {
                System.out.println("shared: " + shared.isShared() + " " + shared.isValid());
            }
            System.out.println("released: " + lock.isValid() + " " + second.isValid());
        }
        Files.delete(path);
    }

    private static void temporary() throws Exception {
        Path file = Files.createTempFile(root, "pre", ".suf");
        Path directory = Files.createTempDirectory(root, null);
        File old = File.createTempFile("old", null, directory.toFile());
        System.out.println(file.getFileName().toString().matches("pre\\d+\\.suf") + " "
            + java.nio.file.attribute.PosixFilePermissions.toString(Files.getPosixFilePermissions(file)) + " "
            + java.nio.file.attribute.PosixFilePermissions.toString(Files.getPosixFilePermissions(directory)) + " "
            + old.delete() + " " + directory.toFile().delete() + " " + file.toFile().delete());
        // Unlinked while open: the content lives as long as the file is open.
        Path gone = root.resolve("gone");
        try (RandomAccessFile open = new RandomAccessFile(gone.toFile(), "rw")) {
            Files.delete(gone);
            open.writeInt(77);
            open.seek(0);
            System.out.println("unlinked: " + open.readInt() + " " + Files.exists(gone));
        }
    }

    private static void jars() throws Exception {
        Path jar = root.resolve("a.jar");
        Manifest manifest = new Manifest();
        manifest.getMainAttributes().putValue("Manifest-Version", "1.0");
        manifest.getMainAttributes().putValue("Main-Class", "x.Y");
        try (JarOutputStream out = new JarOutputStream(Files.newOutputStream(jar), manifest)) {
            for (int i = 0; i < 100; i++) {
                JarEntry entry = new JarEntry("dir" + i % 7 + "/entry" + i);
                entry.setTime(1_000_000_000_000L);
                out.putNextEntry(entry);
                out.write(("text of entry " + i + " ").repeat(i * 10).getBytes());
                out.closeEntry();
            }
        }
        CRC32 crc = new CRC32();
        try (JarFile file = new JarFile(jar.toFile())) {
            System.out.println(file.size() + " " + file.getManifest().getMainAttributes().getValue("Main-Class"));
            for (JarEntry entry : (Iterable<JarEntry>) file.stream()::iterator) {
                try (InputStream in = file.getInputStream(entry)) {
                    crc.update(in.readAllBytes());
                }
            }
        }
        System.out.printf("crc %08x%n", crc.getValue());
        try (FileSystem zip = FileSystems.newFileSystem(jar, Map.of())) {
            Files.writeString(zip.getPath("/added"), "added through the zip file system");
            Files.delete(zip.getPath("/dir3/entry3"));
        }
        try (ZipFile file = new ZipFile(jar.toFile())) {
            System.out.println(file.size() + " " + new String(file.getInputStream(file.getEntry("added")).readAllBytes())
                + " " + file.getEntry("dir3/entry3"));
        }
        Path gzip = root.resolve("x.gz");
        try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(gzip))) {
            out.write(Files.readAllBytes(jar));
        }
        try (InputStream in = new GZIPInputStream(Files.newInputStream(gzip))) {
            System.out.println("gzip: " + java.util.Arrays.equals(in.readAllBytes(), Files.readAllBytes(jar)));
        }
        Files.write(gzip, new byte[] {1, 2, 3});
        try (ZipFile file = new ZipFile(gzip.toFile())) {
            System.out.println("opened");
        } catch (java.util.zip.ZipException e) {
            System.out.println(e.getMessage());
        }
        Files.delete(gzip);
        Files.delete(jar);
    }

    private static void asynchronous() throws Exception {
        Path path = root.resolve("async");
        try (AsynchronousFileChannel channel = AsynchronousFileChannel.open(path, StandardOpenOption.CREATE,
                StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            java.util.List<java.util.concurrent.Future<Integer>> writes = new java.util.ArrayList<>();
            for (int i = 0; i < 50; i++) {
                writes.add(channel.write(ByteBuffer.wrap(("block " + i + "\n").repeat(100).getBytes()), i * 1000L));
            }
            long sum = 0;
            for (java.util.concurrent.Future<Integer> write : writes) {
                sum += write.get();
            }
            ByteBuffer back = ByteBuffer.allocate(100);
            System.out.println("asynchronous " + sum + " " + channel.read(back, 49_000).get() + " " + channel.size());
        }
        System.out.printf("crc %08x%n", crc(path));
        Files.delete(path);
    }

    /** The JDK's own classes, through the file system that its image is. */
    private static void runtimeImage() throws Exception {
        Path base = FileSystems.getFileSystem(java.net.URI.create("jrt:/")).getPath("/modules/java.base/java/util/zip");
        CRC32 crc = new CRC32();
        try (java.util.stream.Stream<Path> files = Files.walk(base)) {
            for (Path file : (Iterable<Path>) files.filter(Files::isRegularFile).sorted()::iterator) {
                crc.update(Files.readAllBytes(file));
            }
        }
        System.out.printf("jrt crc %08x%n", crc.getValue());
    }

    /** Several threads write and read parts of one file. */
    private static void concurrent() throws Exception {
        Path path = root.resolve("concurrent");
        Thread[] threads = new Thread[4];
        java.util.concurrent.atomic.AtomicInteger wrong = new java.util.concurrent.atomic.AtomicInteger();
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            for (int t = 0; t < threads.length; t++) {
                int id = t;
                threads[t] = new Thread(() -> {
                    try {
                        for (int i = 0; i < 200; i++) {
                            byte[] block = new byte[1500];
                            java.util.Arrays.fill(block, (byte) (id * 31 + i));
                            long at = (i * 4L + id) * block.length;
                            channel.write(ByteBuffer.wrap(block), at);
                            ByteBuffer back = ByteBuffer.allocate(block.length);
                            while (back.hasRemaining() && channel.read(back, at + back.position()) > 0) {
                                Thread.onSpinWait();
                            }
                            if (!java.util.Arrays.equals(block, back.array())) {
                                wrong.incrementAndGet();
                            }
                        }
                    } catch (java.io.IOException e) {
                        throw new AssertionError(e);
                    }
                });
                threads[t].start();
            }
            for (Thread thread : threads) {
                thread.join();
            }
        }
        System.out.printf("concurrent: %d wrong, crc %08x%n", wrong.get(), crc(path));
        Files.delete(path);
    }
}
