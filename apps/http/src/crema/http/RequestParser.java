package crema.http;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * Reads requests from bytes that come in pieces (RFC 9112). What it keeps is bounded: the head, and of bodies those that are echoed.
 *
 * <p>What is ambiguous (RFC 9112, 6.3: two lengths, a length beside chunks) is refused, and the connection closed.
 */
final class RequestParser {
    private static final int LONGEST_HEAD_BYTES = 16 << 10;
    private static final int LONGEST_ECHO_BYTES = 1 << 20;
    private static final int LONGEST_CHUNK_LINE_BYTES = 256;

    private enum State {
        HEAD, CONTENT, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER
    }

    private State state = State.HEAD;
    private final ByteArrayOutputStream line = new ByteArrayOutputStream(0);
    /** Bytes of the head so far, to be bounded. */
    private int headBytes;
    private boolean started;
    private boolean wantsContinue;

    private String method;
    private String path;
    private boolean keepAlive;
    private boolean chunked;
    private boolean expectsContinue;
    private long contentLength;

    private long left;
    private long taken;
    private ByteArrayOutputStream kept;
    private MessageDigest digest;

    /** Takes the next bytes up to the end of a request. Null if all bytes were taken and none has ended. */
    Request take(ByteBuffer input) {
        while (input.hasRemaining()) {
            Request request = switch (state) {
                case HEAD -> takeHeadLine(input);
                case CONTENT, CHUNK -> takeContent(input);
                case CHUNK_SIZE -> takeChunkSize(input);
                case CHUNK_END -> takeChunkEnd(input);
                case TRAILER -> takeTrailer(input);
            };
            if (request != null) {
                return request;
            }
        }
        return null;
    }

    /** Whether the client waits for the word to go on (RFC 9110, 10.1.1). True once for each request. */
    boolean wantsContinue() {
        boolean wanted = wantsContinue;
        wantsContinue = false;
        return wanted;
    }

    /** The next line without its end, or null if it has not ended. A bare line feed ends it too (RFC 9112, 2.2). */
    private String takeLine(ByteBuffer input) {
        while (input.hasRemaining()) {
            byte b = input.get();
            headBytes++;
            if (b != '\n') {
                line.write(b);
                continue;
            }
            String text = line.toString(StandardCharsets.ISO_8859_1);
            line.reset();
            return text.endsWith("\r") ? text.substring(0, text.length() - 1) : text;
        }
        return null;
    }

    private Request takeHeadLine(ByteBuffer input) {
        String text = takeLine(input);
        if (headBytes > LONGEST_HEAD_BYTES) {
            return Request.refused(431);
        }
        if (text == null) {
            return null;
        }
        if (!started) {
            // Empty lines before a request are passed over (RFC 9112, 2.2).
            return text.isEmpty() ? null : startLine(text);
        }
        return text.isEmpty() ? endOfHead() : field(text);
    }

    private Request startLine(String text) {
        String[] words = text.split(" ", -1);
        if (words.length != 3 || words[0].isEmpty() || !words[1].startsWith("/")) {
            return Request.refused(400);
        }
        boolean modern = words[2].equals("HTTP/1.1");
        if (!modern && !words[2].equals("HTTP/1.0")) {
            return Request.refused(505);
        }
        started = true;
        method = words[0];
        path = words[1];
        keepAlive = modern;
        chunked = false;
        expectsContinue = false;
        contentLength = -1;
        return null;
    }

    private Request field(String text) {
        int colon = text.indexOf(':');
        if (colon < 1 || text.charAt(colon - 1) == ' ' || text.charAt(0) == ' ') {
            return Request.refused(400);
        }
        // Only these four matter, and the first letter tells most others apart.
        switch (text.charAt(0) | 0x20) {
            case 'c' -> {
                if (isField(text, colon, "content-length")) {
                    long length = parse(text.substring(colon + 1).strip(), 10);
                    if (length < 0 || (contentLength >= 0 && contentLength != length)) {
                        return Request.refused(400);
                    }
                    contentLength = length;
                } else if (isField(text, colon, "connection")) {
                    String value = text.substring(colon + 1).strip();
                    if (value.equalsIgnoreCase("close")) {
                        keepAlive = false;
                    } else if (value.equalsIgnoreCase("keep-alive")) {
                        keepAlive = true;
                    }
                }
            }
            case 't' -> {
                if (isField(text, colon, "transfer-encoding")) {
                    if (!text.substring(colon + 1).strip().equalsIgnoreCase("chunked")) {
                        return Request.refused(501);
                    }
                    chunked = true;
                }
            }
            case 'e' -> expectsContinue |= isField(text, colon, "expect")
                    && text.substring(colon + 1).strip().equalsIgnoreCase("100-continue");
            default -> {
                return null;
            }
        }
        return null;
    }

    private static boolean isField(String text, int colon, String name) {
        return colon == name.length() && text.regionMatches(true, 0, name, 0, colon);
    }

    private Request endOfHead() {
        if (chunked && contentLength >= 0) {
            return Request.refused(400);
        }
        taken = 0;
        kept = null;
        digest = null;
        if (!chunked && contentLength <= 0) {
            return complete();
        }
        if (method.equals("POST") && path.equals("/echo")) {
            if (contentLength > LONGEST_ECHO_BYTES) {
                return Request.refused(413);
            }
            kept = new ByteArrayOutputStream(Math.max(0, (int) contentLength));
        } else if (method.equals("POST") && path.equals("/digest")) {
            try {
                digest = MessageDigest.getInstance("SHA-256");
            } catch (NoSuchAlgorithmException e) {
                throw new IllegalStateException(e);
            }
        }
        wantsContinue = expectsContinue;
        left = contentLength;
        state = chunked ? State.CHUNK_SIZE : State.CONTENT;
        headBytes = 0;
        return null;
    }

    private Request takeContent(ByteBuffer input) {
        int count = (int) Math.min(left, input.remaining());
        if (kept != null && kept.size() + count > LONGEST_ECHO_BYTES) {
            return Request.refused(413);
        }
        ByteBuffer part = input.slice().limit(count);
        input.position(input.position() + count);
        left -= count;
        taken += count;
        if (kept != null) {
            byte[] bytes = new byte[count];
            part.get(bytes);
            kept.writeBytes(bytes);
        } else if (digest != null) {
            digest.update(part);
        }
        if (left > 0) {
            return null;
        }
        if (state == State.CONTENT) {
            return complete();
        }
        state = State.CHUNK_END;
        return null;
    }

    private Request takeChunkSize(ByteBuffer input) {
        String text = takeLine(input);
        if (headBytes > LONGEST_CHUNK_LINE_BYTES) {
            return Request.refused(400);
        }
        if (text == null) {
            return null;
        }
        headBytes = 0;
        int semicolon = text.indexOf(';');
        left = parse((semicolon < 0 ? text : text.substring(0, semicolon)).strip(), 16);
        if (left < 0) {
            return Request.refused(400);
        }
        state = left == 0 ? State.TRAILER : State.CHUNK;
        return null;
    }

    private Request takeChunkEnd(ByteBuffer input) {
        String text = takeLine(input);
        if (headBytes > 2 || (text != null && !text.isEmpty())) {
            return Request.refused(400);
        }
        if (text != null) {
            headBytes = 0;
            state = State.CHUNK_SIZE;
        }
        return null;
    }

    private Request takeTrailer(ByteBuffer input) {
        String text = takeLine(input);
        if (headBytes > LONGEST_HEAD_BYTES) {
            return Request.refused(431);
        }
        return text != null && text.isEmpty() ? complete() : null;
    }

    private Request complete() {
        state = State.HEAD;
        started = false;
        headBytes = 0;
        byte[] content = kept == null ? Request.NOTHING : kept.toByteArray();
        byte[] sum = digest == null ? null : digest.digest();
        kept = null;
        digest = null;
        return new Request(200, method, path, keepAlive, content, sum, taken);
    }

    /** A number of digits alone, or -1. */
    private static long parse(String text, int radix) {
        if (text.isEmpty() || text.length() > 15 || Character.digit(text.charAt(0), radix) < 0) {
            return -1;
        }
        try {
            return Long.parseLong(text, radix);
        } catch (NumberFormatException e) {
            return -1;
        }
    }
}
