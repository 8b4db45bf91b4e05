import java.net.DatagramPacket;
import java.net.DatagramSocket;

/** Sends each datagram back to whom it came from. Argument: the port. */
public class UdpEcho {
    public static void main(String[] args) throws Exception {
        try (DatagramSocket socket = new DatagramSocket(Integer.parseInt(args[0]))) {
            System.out.println("ready");
            byte[] buffer = new byte[65535];
            while (true) {
                DatagramPacket packet = new DatagramPacket(buffer, buffer.length);
                socket.receive(packet);
                socket.send(packet);
            }
        }
    }
}
