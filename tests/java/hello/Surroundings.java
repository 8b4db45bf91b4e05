import java.util.Map;
import java.util.TreeMap;

/** Prints its arguments, the environment variables that begin with TEST_, and some properties. */
public class Surroundings {
    public static void main(String[] args) {
        System.out.println(args.length + " arguments");
        for (String arg : args) {
            System.out.println("[" + arg + "] " + arg.length());
        }
        for (Map.Entry<String, String> e : new TreeMap<>(System.getenv()).entrySet()) {
            if (e.getKey().startsWith("TEST_")) {
                System.out.println(e.getKey() + "=" + e.getValue());
            }
        }
        for (String name : new String[] {"test.one", "test.two", "java.version", "java.vm.name", "java.home",
            "java.class.path", "os.name", "os.arch", "file.encoding", "sun.jnu.encoding",
            "java.io.tmpdir", "line.separator", "sun.java.command", "sun.java.launcher", "java.vm.info"}) {
            String value = System.getProperty(name);
            System.out.println(name + "=" + (value == null ? null : value.replace("\n", "\\n")));
        }
    }
}
