import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;

/** Bytes of which the i-th is i modulo 251. */
final class Pattern {
    private Pattern() {
    }

    static void write(OutputStream out, long length) throws IOException {
        byte[] block = new byte[251 * 64];
        for (int i = 0; i < block.length; i++) {
            block[i] = (byte) (i % 251);
        }
        for (long sent = 0; sent < length;) {
            int count = (int) Math.min(block.length, length - sent);
            out.write(block, 0, count);
            sent += count;
        }
    }

    /** The length, if all is right. */
    static long check(InputStream in) throws IOException {
        byte[] block = new byte[64 << 10];
        long at = 0;
        int expected = 0;
        for (int count; (count = in.read(block)) > 0; at += count) {
            for (int i = 0; i < count; i++) {
                if ((block[i] & 255) != expected) {
                    throw new IOException("byte " + (at + i) + " is " + (block[i] & 255) + ", not " + expected);
                }
                expected = expected == 250 ? 0 : expected + 1;
            }
        }
        return at;
    }

    static InputStream of(long length) {
        return new InputStream() {
            private long at;
            private int next;

            @Override
            public int read() {
                if (at == length) {
                    return -1;
                }
                int value = next;
                next = next == 250 ? 0 : next + 1;
                at++;
                return value;
            }

            @Override
            public int read(byte[] bytes, int offset, int wanted) {
                int count = (int) Math.min(wanted, length - at);
                for (int i = 0; i < count; i++) {
                    bytes[offset + i] = (byte) read();
                }
                return count == 0 && wanted > 0 ? -1 : count;
            }
        };
    }
}
