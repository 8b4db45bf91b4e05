import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Random;

/**
 * Writes files as {@code powercut/writer.c} does, with what the JDK has for it: {@code PowerCut DIR GENERATION SEED}. The contents and the
 * lines that tell of what was acknowledged are the same, so that the C program checks them.
 */
public class PowerCut {
    private static final int CELL = 64;
    private static final int SLOTS = 48;
    private static final int SLOT = 3072;
    private static final int RENAMED = 4;
    private static final int APPEND_LIMIT = 512 << 10;

    private static final Object OUTPUT = new Object();

    interface Pattern {
        void write(Writer writer) throws IOException;
    }

    public static void main(String[] args) throws Exception {
        Path root = Path.of(args[0]);
        long generation = Long.parseLong(args[1]);
        long seed = Long.parseLong(args[2]);
        thread("tick", () -> {
            while (true) {
                print("tick\n");
                Thread.sleep(20);
            }
        });
        Path folder = Files.createDirectory(root.resolve("g" + generation));
        force(root);
        String[] names = {"append", "replace", "overwrite", "mapping"};
        Pattern[] patterns = {PowerCut::append, PowerCut::replace, PowerCut::overwrite, PowerCut::mapping};
        Writer[] writers = new Writer[names.length];
        for (int i = 0; i < names.length; i++) {
            Path own = Files.createDirectory(folder.resolve("t" + i));
            writers[i] = new Writer(generation, i, own, new Random(seed * 31 + i));
        }
        force(folder);
        for (int i = 0; i < names.length; i++) {
            Writer writer = writers[i];
            Pattern pattern = patterns[i];
            writer.note("pattern-" + names[i], 0, 0);
            thread(names[i], () -> pattern.write(writer));
        }
        print("writing\n");
    }

    interface Work {
        void run() throws Exception;
    }

    private static void thread(String name, Work work) {
        new Thread(() -> {
            try {
                work.run();
            } catch (Throwable e) {
                print("error: " + name + ": " + e + "\n");
                Runtime.getRuntime().halt(1);
            }
        }, name).start();
    }

    private static void print(String line) {
        byte[] bytes = line.getBytes(StandardCharsets.US_ASCII);
        synchronized (OUTPUT) {
            System.out.write(bytes, 0, bytes.length);
            System.out.flush();
        }
    }

    /** fsync of a folder. */
    private static void force(Path folder) throws IOException {
        try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
            channel.force(true);
        }
    }

    record Writer(long generation, long thread, Path folder, Random random) {
        void note(String what, long number, long value) {
            print("log " + generation + " " + thread + " " + what + " " + number + " " + value + "\n");
        }

        long file(long number) {
            return generation << 48 | thread << 40 | number;
        }
    }

    // Contents: powercut/powercut.h.

    private static long mix(long x) {
        x += 0x9e3779b97f4a7c15L;
        x = (x ^ x >>> 30) * 0xbf58476d1ce4e5b9L;
        x = (x ^ x >>> 27) * 0x94d049bb133111ebL;
        return x ^ x >>> 31;
    }

    private static byte[] cell(long file, long version, long offset) {
        ByteBuffer cell = ByteBuffer.allocate(CELL).order(ByteOrder.LITTLE_ENDIAN);
        if (version == 0) {
            return cell.array();
        }
        cell.putLong(file).putLong(version).putLong(offset);
        long start = mix(file) ^ mix(version) ^ offset;
        long sum = mix(file) ^ mix(version + 1) ^ mix(offset + 2);
        for (int i = 0; i < 4; i++) {
            long filling = mix(start + i);
            cell.putLong(filling);
            sum = mix(sum ^ filling);
        }
        return cell.putLong(sum).array();
    }

    private static ByteBuffer contents(long file, long version, long offset, int length) {
        ByteBuffer contents = ByteBuffer.allocate(length);
        while (contents.hasRemaining()) {
            long at = offset + contents.position();
            int skip = (int) (at % CELL);
            int part = Math.min(CELL - skip, contents.remaining());
            contents.put(cell(file, version, at - skip), skip, part);
        }
        return contents.flip();
    }

    private static void put(FileChannel channel, ByteBuffer contents, long offset) throws IOException {
        while (contents.hasRemaining()) {
            offset += channel.write(contents, offset);
        }
    }

    // Patterns.

    private static void append(Writer writer) throws IOException {
        for (long number = 0;; number++) {
            Path path = writer.folder().resolve("log" + number);
            try (FileChannel channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.WRITE,
                    StandardOpenOption.APPEND)) {
                long size = 0;
                boolean isNew = true;
                while (size < APPEND_LIMIT) {
                    for (int pieces = 1 + writer.random().nextInt(4); pieces > 0; pieces--) {
                        ByteBuffer piece = contents(writer.file(number), 1, size, 1 + writer.random().nextInt(6000));
                        size += piece.remaining();
                        while (piece.hasRemaining()) {
                            channel.write(piece);
                        }
                    }
                    channel.force(writer.random().nextBoolean());
                    if (isNew) {
                        force(writer.folder());
                    }
                    isNew = false;
                    writer.note("size", number, size);
                }
            }
        }
    }

    private static void replace(Writer writer) throws IOException {
        long[] versions = new long[RENAMED];
        while (true) {
            int number = writer.random().nextInt(RENAMED);
            long version = ++versions[number];
            long file = writer.file(number);
            int size = (int) (100 + Long.remainderUnsigned(mix(file ^ version << 20), 40000));
            Path path = writer.folder().resolve("name" + number);
            Path other = writer.folder().resolve("name" + number + ".new");
            try (FileChannel channel = FileChannel.open(other, StandardOpenOption.CREATE, StandardOpenOption.WRITE,
                    StandardOpenOption.TRUNCATE_EXISTING)) {
                put(channel, contents(file, version, 0, size), 0);
                channel.force(true);
            }
            Files.move(other, path, StandardCopyOption.ATOMIC_MOVE);
            force(writer.folder());
            writer.note("version", number, version);
        }
    }

    private static void overwrite(Writer writer) throws IOException {
        long[] versions = new long[SLOTS];
        // "rwd": each write is durable when it returns.
        try (RandomAccessFile file = new RandomAccessFile(writer.folder().resolve("slots").toFile(), "rwd")) {
            file.setLength(SLOTS * SLOT);
            file.getFD().sync();
            force(writer.folder());
            writer.note("slots", 0, SLOTS * SLOT);
            while (true) {
                int slot = writer.random().nextInt(SLOTS);
                put(file.getChannel(), contents(writer.file(0), ++versions[slot], slot * SLOT, SLOT), slot * SLOT);
                writer.note("slot", slot, versions[slot]);
            }
        }
    }

    private static void mapping(Writer writer) throws IOException {
        long[] versions = new long[SLOTS];
        try (FileChannel channel = FileChannel.open(writer.folder().resolve("slots"), StandardOpenOption.CREATE,
                StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, SLOTS * SLOT);
            channel.force(true);
            force(writer.folder());
            writer.note("slots", 0, SLOTS * SLOT);
            while (true) {
                int first = writer.random().nextInt(SLOTS);
                int end = Math.min(SLOTS, first + 1 + writer.random().nextInt(6));
                for (int slot = first; slot < end; slot++) {
                    map.put(slot * SLOT, contents(writer.file(0), ++versions[slot], slot * SLOT, SLOT).array());
                }
                map.force(first * SLOT, (end - first) * SLOT);
                for (int slot = first; slot < end; slot++) {
                    writer.note("slot", slot, versions[slot]);
                }
            }
        }
    }
}
