import java.net.DatagramPacket;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.InterfaceAddress;
import java.net.MulticastSocket;
import java.net.NetworkInterface;
import java.net.NoRouteToHostException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Collections;

/**
 * Prints the addresses of the one network card, waits for those of IPv6, and tries what each way of getting addresses
 * is for. The arguments: a neighbour that answers, one that does not exist.
 */
public class Addresses {
    private static final long PATIENCE_MS = 20_000;

    public static void main(String[] args) throws Exception {
        // At once: a program need not wait for DHCP.
        System.out.println("first: " + firstIpv4());
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (countGlobalIpv6() == 0 && System.currentTimeMillis() < deadline) {
            Thread.sleep(200);
        }
        for (InterfaceAddress own : card().getInterfaceAddresses()) {
            InetAddress address = own.getAddress();
            String text = address.getHostAddress().replaceAll("%.*", "");
            System.out.println("address: " + text + "/" + own.getNetworkPrefixLength());
            System.out.println(text + " reaches itself: " + address.isReachable(10_000));
        }
        System.out.println("global IPv6: " + countGlobalIpv6());
        System.out.println("neighbour: " + InetAddress.getByName(args[0]).isReachable(10_000));
        try (Socket socket = new Socket(args[1], 80)) {
            System.out.println("nobody: connected");
        } catch (NoRouteToHostException e) {
            System.out.println("nobody: " + e.getMessage());
        }
        group("239.1.2.3");
        group("ff05::1234");
    }

    private static NetworkInterface card() throws Exception {
        for (NetworkInterface card : Collections.list(NetworkInterface.getNetworkInterfaces())) {
            if (!card.isLoopback() && card.isUp()) {
                return card;
            }
        }
        throw new IllegalStateException("there is no network card");
    }

    private static String firstIpv4() throws Exception {
        for (InterfaceAddress own : card().getInterfaceAddresses()) {
            if (!(own.getAddress() instanceof Inet6Address)) {
                return own.getAddress().getHostAddress();
            }
        }
        return "none";
    }

    /** Usable ones: the JDK can bind them. */
    private static long countGlobalIpv6() throws Exception {
        long count = 0;
        for (InterfaceAddress own : card().getInterfaceAddresses()) {
            if (own.getAddress() instanceof Inet6Address address && !address.isLinkLocalAddress()) {
                try (Socket socket = new Socket()) {
                    socket.bind(new InetSocketAddress(address, 0));
                    count++;
                } catch (java.net.BindException e) {
                    // Not yet known to be unique.
                }
            }
        }
        return count;
    }

    /** What is sent to a group comes back to its members, and to nobody who has left it. */
    private static void group(String name) throws Exception {
        InetSocketAddress group = new InetSocketAddress(InetAddress.getByName(name), 4567);
        byte[] data = "hello".getBytes(StandardCharsets.US_ASCII);
        try (MulticastSocket socket = new MulticastSocket(4567)) {
            socket.setNetworkInterface(card());
            socket.joinGroup(group, card());
            socket.setSoTimeout(10_000);
            socket.send(new DatagramPacket(data, data.length, group));
            DatagramPacket packet = new DatagramPacket(new byte[100], 100);
            socket.receive(packet);
            String text = new String(packet.getData(), 0, packet.getLength(), StandardCharsets.US_ASCII);
            System.out.println("group " + name + ": " + text);
            socket.leaveGroup(group, card());
        }
    }
}
