package crema.http;

import java.nio.ByteBuffer;

/** What follows the head of an answer, when it is too long to be made at once. */
interface Body {
    /** Puts as much as fits. True if that was the rest. */
    boolean fill(ByteBuffer output);

    /** Byte number i is i modulo 251, a prime: what is lost or doubled in between shows. */
    static Body pattern(long length) {
        return new Body() {
            private long at;

            @Override
            public boolean fill(ByteBuffer output) {
                int count = (int) Math.min(output.remaining(), length - at);
                int value = (int) (at % 251);
                for (int i = 0; i < count; i++) {
                    output.put((byte) value);
                    value = value == 250 ? 0 : value + 1;
                }
                at += count;
                return at == length;
            }
        };
    }

    static Body of(byte[] bytes) {
        ByteBuffer rest = ByteBuffer.wrap(bytes);
        return output -> {
            int count = Math.min(output.remaining(), rest.remaining());
            output.put(rest.slice().limit(count));
            rest.position(rest.position() + count);
            return !rest.hasRemaining();
        };
    }
}
