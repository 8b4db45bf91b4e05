package crema;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

/** Tomcat with one servlet. The only argument is the port, 8080 unless given. */
public final class Web {
    private static final int LARGEST = 1 << 30;

    private Web() {
    }

    public static void main(String[] args) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("tomcat").toString());
        tomcat.setPort(args.length > 0 ? Integer.parseInt(args[0]) : 8080);
        Connector connector = tomcat.getConnector();
        connector.setProperty("maxKeepAliveRequests", "-1");
        connector.setProperty("maxConnections", "20000");
        Context context = tomcat.addContext("", new File("/tmp").getAbsolutePath());
        Tomcat.addServlet(context, "answers", new Answers());
        context.addServletMappingDecoded("/*", "answers");
        tomcat.start();
        tomcat.getServer().await();
    }

    /** GET / greets, GET /bytes/N sends N bytes, POST /echo sends back what it gets. */
    private static final class Answers extends HttpServlet {
        private static final long serialVersionUID = 1;
        private static final byte[] HELLO = "Hello from Tomcat\n".getBytes(StandardCharsets.US_ASCII);

        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
            String path = request.getPathInfo();
            if (path.equals("/")) {
                response.setContentType("text/plain");
                response.setContentLength(HELLO.length);
                response.getOutputStream().write(HELLO);
            } else if (path.startsWith("/bytes/")) {
                sendBytes(path.substring("/bytes/".length()), response);
            } else {
                response.sendError(HttpServletResponse.SC_NOT_FOUND);
            }
        }

        @Override
        protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
            if (!request.getPathInfo().equals("/echo")) {
                response.sendError(HttpServletResponse.SC_NOT_FOUND);
                return;
            }
            if (request.getContentLengthLong() >= 0) {
                response.setContentLengthLong(request.getContentLengthLong());
            }
            try (InputStream in = request.getInputStream(); OutputStream out = response.getOutputStream()) {
                in.transferTo(out);
            }
        }

        private static void sendBytes(String number, HttpServletResponse response) throws IOException {
            int length;
            try {
                length = Integer.parseInt(number);
            } catch (NumberFormatException e) {
                length = -1;
            }
            if (length < 0 || length > LARGEST) {
                response.sendError(HttpServletResponse.SC_BAD_REQUEST);
                return;
            }
            response.setContentType("application/octet-stream");
            response.setContentLength(length);
            byte[] block = new byte[16 << 10];
            OutputStream out = response.getOutputStream();
            for (int sent = 0; sent < length;) {
                int count = Math.min(block.length, length - sent);
                for (int i = 0; i < count; i++) {
                    block[i] = (byte) (sent + i);
                }
                out.write(block, 0, count);
                sent += count;
            }
        }
    }
}
