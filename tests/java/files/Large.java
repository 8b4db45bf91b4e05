import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;

/** A large sparse file and a large full one; arguments: a directory, and the size in MiB. */
public class Large {
    public static void main(String[] args) throws Exception {
        Path root = Files.createDirectories(Path.of(args[0]));
        long size = Long.parseLong(args[1]) << 20;
        sparse(Files.createTempFile(root, "sparse", null), size);
        full(Files.createTempFile(root, "full", null), size);
    }

    private static void sparse(Path path, long size) throws Exception {
        try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
            file.setLength(size);
            for (int i = 0; i < 16; i++) {
                file.seek(size / 16 * i + i);
                file.writeLong(i * 0x0101_0101_0101L);
            }
            long sum = 0;
            for (int i = 15; i >= 0; i--) {
                file.seek(size / 16 * i + i);
                sum = sum * 31 + file.readLong();
                file.seek(size / 16 * i + size / 32);
                sum += file.read();
            }
            System.out.println("sparse: " + file.length() + " " + sum);
            MappedByteBuffer map = file.getChannel().map(FileChannel.MapMode.READ_ONLY, size / 2, size / 2);
            System.out.println("mapped: " + map.getLong((int) (size / 16 * 3 + 11)));
        }
        Files.delete(path);
    }

    private static void full(Path path, long size) throws Exception {
        ByteBuffer block = ByteBuffer.allocateDirect(1 << 20);
        CRC32C written = new CRC32C();
        CRC32C read = new CRC32C();
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.WRITE, StandardOpenOption.READ)) {
            for (long at = 0; at < size; at += block.capacity()) {
                block.clear();
                for (int i = 0; i < block.capacity(); i += 8) {
                    block.putLong(i, at * 31 + i);
                }
                written.update(block.duplicate());
                while (block.hasRemaining()) {
                    channel.write(block);
                }
            }
            channel.force(false);
            channel.position(0);
            block.clear();
            while (channel.read(block) >= 0) {
                block.flip();
                read.update(block);
                block.clear();
            }
            System.out.println("full: " + channel.size() + ", as written: " + (written.getValue() == read.getValue())
                + ", " + written.getValue());
            channel.truncate(size / 3);
            System.out.println("truncated: " + Files.size(path));
        }
        Files.delete(path);
    }
}
