package crema.http;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;

/**
 * One connection: takes bytes in, in pieces of any size, and answers each request in its turn.
 *
 * <p>As long as an answer has not gone out, nothing more is read: a client that does not read gets no more of our memory.
 */
final class Connection {
    private static final long IDLE_LIMIT_MS = 120_000;
    /** Of one long answer, before others get their turn. */
    private static final int TURN_BYTES = 1 << 20;

    private final SocketChannel channel;
    private final Loop loop;
    private final RequestParser parser = new RequestParser();
    private SelectionKey key;
    private long lastActiveMs;
    /** Read, but not yet looked at; null if nothing. */
    private byte[] unread;
    /** Answered, but not yet taken by the socket; null if nothing. */
    private ByteBuffer unsent;
    /** A long answer that is still being made; null if there is none. */
    private Body body;
    private boolean closing;

    Connection(SocketChannel channel, Loop loop) {
        this.channel = channel;
        this.loop = loop;
        lastActiveMs = loop.nowMs;
    }

    void register(Selector selector) throws IOException {
        key = channel.register(selector, SelectionKey.OP_READ, this);
    }

    /** Goes on as far as the socket lets it. */
    void ready() {
        lastActiveMs = loop.nowMs;
        try {
            int turn = 0;
            while (true) {
                loop.output.clear();
                if (unsent != null) {
                    turn += channel.write(unsent);
                    if (unsent.hasRemaining()) {
                        wait(SelectionKey.OP_WRITE);
                        return;
                    }
                    unsent = null;
                }
                if (body != null) {
                    if (turn > TURN_BYTES) {
                        wait(SelectionKey.OP_WRITE);
                        return;
                    }
                    if (body.fill(loop.output)) {
                        body = null;
                    }
                    turn += flush();
                    continue;
                }
                if (closing) {
                    close();
                    return;
                }
                if (!takeInput()) {
                    return;
                }
                turn += flush();
            }
        } catch (IOException e) {
            // The client has gone; that is its right.
            close();
        }
    }

    /** Reads, and answers what is complete into the output buffer. False if there is nothing to do until the selector says so. */
    private boolean takeInput() throws IOException {
        ByteBuffer input = loop.input;
        input.clear();
        boolean fresh = unread == null;
        if (fresh) {
            int length = channel.read(input);
            if (length < 0) {
                close();
                return false;
            }
            if (length == 0) {
                wait(SelectionKey.OP_READ);
                return false;
            }
        } else {
            input.put(unread);
            unread = null;
        }
        input.flip();
        // An answer needs room, and answers come in order: no other begins before a long one has ended.
        while (input.hasRemaining() && body == null && !closing
                && loop.output.remaining() >= Answers.LARGEST_SHORT_BYTES) {
            Request request = parser.take(input);
            if (request == null) {
                if (parser.wantsContinue()) {
                    loop.output.put(Answers.CONTINUE);
                }
                continue;
            }
            Statistics.answered();
            body = Answers.answer(request, loop.output);
            closing = !request.keepAlive();
        }
        if (input.hasRemaining() && !closing) {
            unread = new byte[input.remaining()];
            input.get(unread);
        }
        return true;
    }

    private int flush() throws IOException {
        ByteBuffer output = loop.output.flip();
        int length = output.hasRemaining() ? channel.write(output) : 0;
        if (output.hasRemaining()) {
            unsent = ByteBuffer.allocate(output.remaining()).put(output).flip();
        }
        return length;
    }

    private void wait(int operation) {
        if (key.interestOps() != operation) {
            key.interestOps(operation);
        }
    }

    void closeIfIdle() {
        if (loop.nowMs - lastActiveMs > IDLE_LIMIT_MS) {
            close();
        }
    }

    private void close() {
        if (channel.isOpen()) {
            Statistics.closed();
            close(channel);
        }
    }

    static void close(SocketChannel channel) {
        try {
            channel.close();
        } catch (IOException e) {
            // There is nothing left to close.
        }
    }
}
