import java.net.DatagramPacket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.MulticastSocket;
import java.net.NetworkInterface;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;

/**
 * Multicast between two machines. {@code Group receive GROUP PORT} joins the group and answers each sender once by unicast;
 * {@code Group send GROUP PORT} sends to the group until it has an answer. Both end then.
 */
public class Group {
    public static void main(String[] args) throws Exception {
        InetAddress group = InetAddress.getByName(args[1]);
        int port = Integer.parseInt(args[2]);
        NetworkInterface device = NetworkInterface.networkInterfaces()
                .filter(Group::isOutside).findFirst().orElseThrow();
        if (args[0].equals("receive")) {
            receive(group, port, device);
        } else {
            send(group, port, device);
        }
    }

    private static boolean isOutside(NetworkInterface device) {
        try {
            return device.isUp() && !device.isLoopback() && device.supportsMulticast();
        } catch (java.net.SocketException e) {
            return false;
        }
    }

    private static void receive(InetAddress group, int port, NetworkInterface device) throws Exception {
        try (MulticastSocket socket = new MulticastSocket(port)) {
            socket.joinGroup(new InetSocketAddress(group, port), device);
            System.out.println("joined");
            DatagramPacket packet = new DatagramPacket(new byte[1500], 1500);
            socket.receive(packet);
            String text = new String(packet.getData(), 0, packet.getLength(), StandardCharsets.UTF_8);
            System.out.println("received " + text);
            socket.leaveGroup(new InetSocketAddress(group, port), device);
            byte[] answer = "answer".getBytes(StandardCharsets.UTF_8);
            // A few, for a datagram may be lost.
            for (int i = 0; i < 5; i++) {
                socket.send(new DatagramPacket(answer, answer.length, packet.getSocketAddress()));
                Thread.sleep(200);
            }
        }
    }

    private static void send(InetAddress group, int port, NetworkInterface device) throws Exception {
        try (MulticastSocket socket = new MulticastSocket()) {
            socket.setNetworkInterface(device);
            socket.setTimeToLive(4);
            socket.setSoTimeout(500);
            byte[] message = "message".getBytes(StandardCharsets.UTF_8);
            DatagramPacket answer = new DatagramPacket(new byte[1500], 1500);
            for (int i = 0; i < 200; i++) {
                socket.send(new DatagramPacket(message, message.length, group, port));
                try {
                    socket.receive(answer);
                    System.out.println(new String(answer.getData(), 0, answer.getLength(), StandardCharsets.UTF_8)
                            + " from " + answer.getAddress().getHostAddress().replaceAll("%.*", ""));
                    return;
                } catch (SocketTimeoutException e) {
                    // Once more.
                }
            }
            System.exit(1);
        }
    }
}
