import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.PortUnreachableException;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.DatagramChannel;
import java.nio.channels.MembershipKey;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.Collections;
import java.util.List;
import java.util.stream.Collectors;

/** Interfaces, datagrams, groups, and threads that wait for them, over the loopback. */
public final class Datagrams {
    private static final int PATIENCE_MS = 20_000;

    private static void print(String name, Object value) {
        System.out.println(name + ": " + value);
    }

    public static void main(String[] args) throws Exception {
        interfaces();
        datagrams();
        refusal();
        group();
        close();
        interrupt();
        stream();
    }

    private static void interfaces() throws Exception {
        NetworkInterface loopback = NetworkInterface.getByName("lo");
        print("index", loopback.getIndex());
        print("is up", loopback.isUp());
        print("is the loopback", loopback.isLoopback());
        print("MTU", loopback.getMTU());
        List<String> addresses = loopback.getInterfaceAddresses().stream()
                .map(address -> address.getAddress().getHostAddress() + "/" + address.getNetworkPrefixLength())
                .sorted()
                .collect(Collectors.toList());
        print("addresses", addresses);
        print("by address", NetworkInterface.getByInetAddress(InetAddress.getByName("127.0.0.1")).getName());
        print("in the list", Collections.list(NetworkInterface.getNetworkInterfaces()).contains(loopback));
        print("reachable", InetAddress.getByName("127.0.0.1").isReachable(PATIENCE_MS));
        print("reachable by IPv6", InetAddress.getByName("::1").isReachable(PATIENCE_MS));
        print("localhost", InetAddress.getByName("localhost"));
    }

    private static void datagrams() throws Exception {
        try (DatagramSocket receiver = new DatagramSocket(0); DatagramSocket sender = new DatagramSocket()) {
            receiver.setSoTimeout(PATIENCE_MS);
            sender.connect(InetAddress.getLoopbackAddress(), receiver.getLocalPort());
            sender.send(new DatagramPacket("hello".getBytes(), 5));
            DatagramPacket packet = new DatagramPacket(new byte[16], 16);
            receiver.receive(packet);
            print("received", new String(packet.getData(), 0, packet.getLength()) + " " + packet.getAddress());
            receiver.setSoTimeout(50);
            try {
                receiver.receive(packet);
                print("time-out", "none");
            } catch (SocketTimeoutException expected) {
                print("time-out", "yes");
            }
            receiver.setTrafficClass(16);
            print("traffic class", receiver.getTrafficClass());
        }
    }

    private static void refusal() throws Exception {
        int port;
        try (DatagramSocket closed = new DatagramSocket()) {
            port = closed.getLocalPort();
        }
        try (DatagramSocket socket = new DatagramSocket()) {
            socket.setSoTimeout(PATIENCE_MS);
            socket.connect(InetAddress.getLoopbackAddress(), port);
            socket.send(new DatagramPacket(new byte[1], 1));
            socket.receive(new DatagramPacket(new byte[1], 1));
            print("refused", "no");
        } catch (PortUnreachableException expected) {
            print("refused", "yes");
        }
    }

    private static void group() throws Exception {
        NetworkInterface loopback = NetworkInterface.getByName("lo");
        InetAddress group = InetAddress.getByName("239.1.2.3");
        try (DatagramChannel channel = DatagramChannel.open(StandardProtocolFamily.INET);
                Selector selector = Selector.open()) {
            channel.setOption(StandardSocketOptions.SO_REUSEADDR, true);
            channel.bind(new InetSocketAddress(0));
            MembershipKey membership = channel.join(group, loopback);
            channel.setOption(StandardSocketOptions.IP_MULTICAST_IF, loopback);
            int port = ((InetSocketAddress) channel.getLocalAddress()).getPort();
            channel.send(ByteBuffer.wrap("all".getBytes()), new InetSocketAddress(group, port));
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_READ);
            print("selected", selector.select(PATIENCE_MS));
            ByteBuffer data = ByteBuffer.allocate(16);
            print("from the group", channel.receive(data) != null && data.position() == 3);
            membership.drop();
            print("membership", membership.isValid());
        }
    }

    private static void close() throws Exception {
        DatagramSocket socket = new DatagramSocket();
        Thread waiter = waiter("closed", () -> socket.receive(new DatagramPacket(new byte[1], 1)));
        socket.close();
        waiter.join();
    }

    private static void interrupt() throws Exception {
        try (DatagramChannel channel = DatagramChannel.open().bind(null)) {
            Thread waiter = waiter("interrupted", () -> channel.receive(ByteBuffer.allocate(1)));
            waiter.interrupt();
            waiter.join();
            print("still open", channel.isOpen());
        }
    }

    private interface Wait {
        void run() throws Exception;
    }

    /** Starts a thread that waits, and prints what ends it. */
    private static Thread waiter(String name, Wait wait) throws InterruptedException {
        Thread thread = new Thread(() -> {
            try {
                wait.run();
                print(name, "received");
            } catch (Exception end) {
                print(name, end.getClass().getSimpleName());
            }
        });
        thread.start();
        // Either order ends the same way; most often the thread waits by then.
        Thread.sleep(200);
        return thread;
    }

    private static void stream() throws Exception {
        try (ServerSocket server = new ServerSocket(0);
                Socket client = new Socket("localhost", server.getLocalPort());
                Socket accepted = server.accept()) {
            client.getOutputStream().write(42);
            print("by TCP", accepted.getInputStream().read());
        }
    }
}
