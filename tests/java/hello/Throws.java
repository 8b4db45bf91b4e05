/** Throws out of main: the launcher reports it and exits with 1; a hook still runs. */
public class Throws {
    public static void main(String[] args) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook ran")));
        try {
            Integer.parseInt("seven");
        } catch (NumberFormatException cause) {
            throw new IllegalStateException("thrown out of main", cause);
        }
    }
}
