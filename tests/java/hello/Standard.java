import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.CRC32;

/** Reads standard input to its end, says what it was, and writes to both outputs. */
public class Standard {
    public static void main(String[] args) throws IOException {
        CRC32 crc = new CRC32();
        long bytes = 0;
        long lines = 0;
        InputStream in = new BufferedInputStream(System.in, 8192);
        for (int b = in.read(); b >= 0; b = in.read()) {
            crc.update(b);
            bytes++;
            lines += b == '\n' ? 1 : 0;
        }
        System.out.printf("%d bytes, %d lines, crc %08x%n", bytes, lines, crc.getValue());
        System.out.println("again: " + System.in.read() + ", available: " + System.in.available());
        System.err.println("on standard error");
        // More than any pipe's buffer, so that somebody has to be reading.
        StringBuilder line = new StringBuilder();
        for (int i = 0; i < 4096; i++) {
            line.setLength(0);
            System.out.println(line.append("line ").append(i).append(" of a long output: ").append(i * 31L));
        }
    }
}
