package crema.http;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;

/**
 * What the server answers.
 *
 * <ul>
 * <li>GET / greets.
 * <li>GET /bytes/N sends N bytes, see {@link Body#pattern}.
 * <li>POST /echo sends back what it gets, up to 1 MiB.
 * <li>POST /digest says the length and the SHA-256 of what it gets, of any length.
 * <li>GET /stats tells of connections, requests, descriptors, threads and memory; POST /gc collects garbage before it does.
 * </ul>
 */
final class Answers {
    /** No head, and no body that is made at once, is longer. */
    static final int LARGEST_SHORT_BYTES = 2048;
    static final byte[] CONTINUE = ascii("HTTP/1.1 100 Continue\r\n\r\n");

    private static final byte[] HELLO = ascii("Hello from Crema\n");
    private static final byte[] HELLO_HEAD = head(200, "text/plain", HELLO.length, true);
    private static final long LARGEST_BYTES = 1L << 40;

    private Answers() {
    }

    /** Puts the head, and the body if it is short; otherwise returns the body. */
    static Body answer(Request request, ByteBuffer output) {
        if (request.status() != 200) {
            return refuse(request.status(), request, output);
        }
        String path = request.path();
        boolean get = request.method().equals("GET");
        boolean post = request.method().equals("POST");
        if (get && path.equals("/")) {
            if (request.keepAlive()) {
                output.put(HELLO_HEAD).put(HELLO);
                return null;
            }
            return text(new String(HELLO, StandardCharsets.US_ASCII), request, output);
        }
        if (get && path.startsWith("/bytes/")) {
            long length = parse(path.substring("/bytes/".length()));
            if (length < 0) {
                return refuse(400, request, output);
            }
            output.put(head(200, "application/octet-stream", length, request.keepAlive()));
            return length == 0 ? null : Body.pattern(length);
        }
        if (post && path.equals("/echo")) {
            byte[] content = request.content();
            output.put(head(200, "application/octet-stream", content.length, request.keepAlive()));
            return content.length == 0 ? null : Body.of(content);
        }
        if (post && path.equals("/digest")) {
            String sum = request.digest() == null ? "" : HexFormat.of().formatHex(request.digest());
            return text(request.contentLength() + " " + sum + "\n", request, output);
        }
        if (get && path.equals("/stats")) {
            return text(Statistics.text(), request, output);
        }
        if (post && path.equals("/gc")) {
            System.gc();
            return text(Statistics.text(), request, output);
        }
        return refuse(get || post ? 404 : 405, request, output);
    }

    private static Body text(String text, Request request, ByteBuffer output) {
        byte[] bytes = ascii(text);
        output.put(head(200, "text/plain", bytes.length, request.keepAlive())).put(bytes);
        return null;
    }

    private static Body refuse(int status, Request request, ByteBuffer output) {
        byte[] bytes = ascii(reason(status) + "\n");
        output.put(head(status, "text/plain", bytes.length, request.keepAlive())).put(bytes);
        return null;
    }

    private static byte[] head(int status, String type, long length, boolean keepAlive) {
        return ascii("HTTP/1.1 " + status + " " + reason(status) + "\r\nContent-Type: " + type + "\r\nContent-Length: "
                + length + (keepAlive ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n"));
    }

    private static String reason(int status) {
        return switch (status) {
            case 200 -> "OK";
            case 400 -> "Bad Request";
            case 404 -> "Not Found";
            case 405 -> "Method Not Allowed";
            case 413 -> "Content Too Large";
            case 431 -> "Request Header Fields Too Large";
            case 501 -> "Not Implemented";
            case 505 -> "HTTP Version Not Supported";
            default -> throw new IllegalArgumentException("status " + status);
        };
    }

    private static long parse(String text) {
        if (text.isEmpty() || text.length() > 15 || !text.chars().allMatch(c -> c >= '0' && c <= '9')) {
            return -1;
        }
        long number = Long.parseLong(text);
        return number <= LARGEST_BYTES ? number : -1;
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
