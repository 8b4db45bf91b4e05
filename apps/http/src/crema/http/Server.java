package crema.http;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.channels.ServerSocketChannel;

/**
 * An HTTP/1.1 server on java.nio: one thread for each selector, no thread for a connection.
 *
 * <p>Arguments: the port (8080) and the number of threads (the number of processors). What it answers is in {@link Answers}.
 */
public final class Server {
    /** Connections that wait to be accepted. */
    private static final int BACKLOG = 4096;

    private Server() {
    }

    public static void main(String[] args) throws IOException {
        int port = args.length > 0 ? number(args[0], 65535) : 8080;
        int threads = args.length > 1 ? number(args[1], 256) : Runtime.getRuntime().availableProcessors();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(port), BACKLOG);
        listener.configureBlocking(false);
        Loop[] loops = new Loop[threads];
        for (int i = 0; i < threads; i++) {
            loops[i] = new Loop(i);
        }
        loops[0].accept(listener, loops);
        for (Loop loop : loops) {
            loop.start();
        }
        System.out.println("listening on port " + listener.socket().getLocalPort());
    }

    private static int number(String text, int largest) {
        try {
            int number = Integer.parseInt(text);
            if (number >= 1 && number <= largest) {
                return number;
            }
        } catch (NumberFormatException e) {
            // Told below.
        }
        System.err.println("http: " + text + " is not a number from 1 to " + largest);
        System.exit(2);
        throw new AssertionError();
    }
}
