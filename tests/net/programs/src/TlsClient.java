import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.time.Duration;

import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * The JDK's HTTP client over TLS, with the server's name and certificate checked: loads a pattern, and sends one.
 *
 * <p>Arguments: the server's URL, the trust store, its password, the length in bytes.
 */
public class TlsClient {
    public static void main(String[] args) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream in = Files.newInputStream(Path.of(args[1]))) {
            store.load(in, args[2].toCharArray());
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        long length = Long.parseLong(args[3]);
        HttpClient client = HttpClient.newBuilder().sslContext(context)
                .connectTimeout(Duration.ofSeconds(60)).build();

        HttpRequest get = HttpRequest.newBuilder(URI.create(args[0] + "/bytes/" + length)).build();
        HttpResponse<InputStream> loaded = client.send(get, HttpResponse.BodyHandlers.ofInputStream());
        try (InputStream in = loaded.body()) {
            System.out.println("status " + loaded.statusCode() + ", loaded " + Pattern.check(in));
        }
        HttpRequest post = HttpRequest.newBuilder(URI.create(args[0] + "/count"))
                .POST(HttpRequest.BodyPublishers.ofInputStream(() -> Pattern.of(length))).build();
        HttpResponse<String> sent = client.send(post, HttpResponse.BodyHandlers.ofString());
        System.out.println("status " + sent.statusCode() + ", sent " + sent.body());
        boolean modern = loaded.sslSession().orElseThrow().getProtocol().equals("TLSv1.3");
        System.out.println("TLS 1.3: " + modern);
    }
}
