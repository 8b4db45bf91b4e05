import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;

/**
 * The HTTP server of {@code crema bench net}: one thread, a selector, connections that are kept open. It answers every
 * request alike, but ends on {@code GET /end}. Prints {@code ready} when it listens on the port of its argument.
 */
public final class Server {
    private static final byte[] ANSWER = answer("Hello from the other side of the wire.\n");

    private final ByteBuffer in = ByteBuffer.allocateDirect(16 << 10);
    private final Selector selector = Selector.open();
    private boolean ended;

    private Server() throws IOException {}

    private static byte[] answer(String body) {
        String head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + body.length() + "\r\n\r\n";
        return (head + body).getBytes(StandardCharsets.US_ASCII);
    }

    public static void main(String[] args) throws IOException {
        new Server().serve(Integer.parseInt(args[0]));
    }

    private void serve(int port) throws IOException {
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress("0.0.0.0", port), 512);
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        System.out.println("ready");
        while (!ended) {
            selector.select();
            Iterator<SelectionKey> keys = selector.selectedKeys().iterator();
            while (keys.hasNext()) {
                SelectionKey key = keys.next();
                keys.remove();
                if (key.isAcceptable()) {
                    accept(listener);
                } else {
                    try {
                        read(key, (SocketChannel) key.channel());
                    } catch (IOException reset) {
                        key.channel().close();
                    }
                }
            }
        }
    }

    private void accept(ServerSocketChannel listener) throws IOException {
        for (SocketChannel channel; (channel = listener.accept()) != null; ) {
            channel.configureBlocking(false);
            channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
            // What came of a request so far, which is all of it nearly always.
            channel.register(selector, SelectionKey.OP_READ, new Request(ByteBuffer.allocateDirect(ANSWER.length).put(ANSWER)));
        }
    }

    private void read(SelectionKey key, SocketChannel channel) throws IOException {
        in.clear();
        if (channel.read(in) < 0) {
            channel.close();
            return;
        }
        in.flip();
        Request request = (Request) key.attachment();
        while (in.hasRemaining()) {
            if (!request.take(in.get())) {
                continue;
            }
            ended |= request.isEnd();
            // An answer is so small that there is room for it: the client sends no request before it has this.
            request.answer.rewind();
            while (request.answer.hasRemaining()) {
                channel.write(request.answer);
            }
        }
    }

    /** Looks for the empty line. */
    private static final class Request {
        private static final String END = "GET /end";
        final ByteBuffer answer;
        private int line;
        private int matched;
        private int position;

        Request(ByteBuffer answer) {
            this.answer = answer;
        }

        /** Returns whether this byte ends a request. */
        boolean take(byte next) {
            if (position < END.length() && position++ == matched && next == END.charAt(matched)) {
                matched++;
            }
            if (next == '\r') {
                return false;
            }
            if (next != '\n') {
                line++;
                return false;
            }
            boolean whole = line == 0;
            line = 0;
            if (whole) {
                position = 0;
            }
            return whole;
        }

        boolean isEnd() {
            boolean end = matched == END.length();
            matched = 0;
            return end;
        }
    }
}
