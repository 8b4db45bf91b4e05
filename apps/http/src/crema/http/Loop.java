package crema.http;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * A thread with a selector and the connections that it serves.
 *
 * <p>The two buffers are shared by its connections: an idle connection owns no buffer at all.
 */
final class Loop extends Thread {
    private static final int BUFFER_BYTES = 64 << 10;
    private static final long SWEEP_INTERVAL_MS = 1000;
    /** An acceptor that gets no descriptor lets others end meanwhile. */
    private static final long OUT_OF_DESCRIPTORS_PAUSE_MS = 20;

    final ByteBuffer input = ByteBuffer.allocateDirect(BUFFER_BYTES);
    final ByteBuffer output = ByteBuffer.allocateDirect(BUFFER_BYTES);
    /** The time when the selector last returned. */
    long nowMs;

    private final Selector selector = Selector.open();
    private final Queue<SocketChannel> accepted = new ConcurrentLinkedQueue<>();
    private Loop[] loops;
    private int next;

    Loop(int number) throws IOException {
        super("http-" + number);
    }

    /** Has this loop accept connections, and give them to all loops in turn. Before it is started. */
    void accept(ServerSocketChannel listener, Loop[] all) throws IOException {
        loops = all;
        listener.register(selector, SelectionKey.OP_ACCEPT);
    }

    @Override
    public void run() {
        long swept = 0;
        while (true) {
            try {
                selector.select(SWEEP_INTERVAL_MS);
            } catch (IOException e) {
                throw new IllegalStateException("the selector failed", e);
            }
            nowMs = System.nanoTime() / 1_000_000;
            for (SocketChannel channel; (channel = accepted.poll()) != null;) {
                adopt(channel);
            }
            for (SelectionKey key : selector.selectedKeys()) {
                if (!key.isValid()) {
                    continue;
                }
                if (key.isAcceptable()) {
                    acceptAll((ServerSocketChannel) key.channel());
                } else {
                    ((Connection) key.attachment()).ready();
                }
            }
            selector.selectedKeys().clear();
            if (nowMs - swept >= SWEEP_INTERVAL_MS) {
                swept = nowMs;
                for (SelectionKey key : selector.keys()) {
                    if (key.attachment() instanceof Connection) {
                        ((Connection) key.attachment()).closeIfIdle();
                    }
                }
            }
        }
    }

    private void acceptAll(ServerSocketChannel listener) {
        while (true) {
            SocketChannel channel;
            try {
                channel = listener.accept();
            } catch (IOException e) {
                System.err.println("http: accept: " + e.getMessage());
                pause();
                return;
            }
            if (channel == null) {
                return;
            }
            Loop loop = loops[next];
            next = (next + 1) % loops.length;
            if (loop == this) {
                adopt(channel);
            } else {
                loop.accepted.add(channel);
                loop.selector.wakeup();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(OUT_OF_DESCRIPTORS_PAUSE_MS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void adopt(SocketChannel channel) {
        Statistics.opened();
        try {
            channel.configureBlocking(false);
            channel.socket().setTcpNoDelay(true);
            Connection connection = new Connection(channel, this);
            connection.register(selector);
        } catch (IOException e) {
            // It has gone already.
            Statistics.closed();
            Connection.close(channel);
        }
    }
}
