import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.Arrays;

/** Prints the addresses of each name, sorted. */
public class Names {
    public static void main(String[] names) {
        for (String name : names) {
            String line;
            try {
                String[] addresses = Arrays.stream(InetAddress.getAllByName(name))
                        .map(InetAddress::getHostAddress).sorted().toArray(String[]::new);
                line = addresses.length > 10 ? addresses.length + " addresses" : String.join(" ", addresses);
            } catch (UnknownHostException e) {
                line = "unknown";
            }
            System.out.println(name + ": " + line);
        }
    }
}
