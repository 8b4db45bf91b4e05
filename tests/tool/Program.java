import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;

/** Does what its first argument says, so that the tool can be seen to pass everything on. */
public class Program {
    public static void main(String[] args) throws Exception {
        switch (args.length == 0 ? "hello" : args[0]) {
            case "hello" -> System.out.println("hello");
            case "show" -> {
                System.out.println(Arrays.toString(args));
                System.out.println(System.getenv("TEST_ENV") + " " + System.getProperty("test.property"));
                System.out.println(Runtime.getRuntime().availableProcessors());
                System.err.println("to standard error");
                System.exit(7);
            }
            case "echo" -> {
                var in = new BufferedReader(new InputStreamReader(System.in));
                for (String line; (line = in.readLine()) != null;) {
                    System.out.println("echo " + line);
                }
                System.out.println("end");
            }
            case "wait" -> {
                Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
                System.out.println("ready");
                Thread.sleep(Long.MAX_VALUE);
            }
            case "stay" -> {
                Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                    System.out.println("staying");
                    while (true) {
                        Thread.onSpinWait();
                    }
                }));
                System.out.println("ready");
                Thread.sleep(Long.MAX_VALUE);
            }
            case "flood" -> {
                while (true) {
                    System.out.println("flood");
                }
            }
            case "remember" -> {
                var notes = java.nio.file.Path.of("notes");
                var options = new java.nio.file.OpenOption[] {
                    java.nio.file.StandardOpenOption.CREATE, java.nio.file.StandardOpenOption.APPEND};
                java.nio.file.Files.writeString(notes, args[1] + "\n", options);
                System.out.println(java.nio.file.Files.readAllLines(notes));
            }
            case "crash" -> {
                var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
                field.setAccessible(true);
                ((sun.misc.Unsafe) field.get(null)).putAddress(0x123000, 1);
            }
            default -> throw new IllegalArgumentException(args[0]);
        }
    }
}
