/** Ends with a status, in a way named by the first argument. */
public class Exits {
    public static void main(String[] args) throws Exception {
        int status = Integer.parseInt(args[1]);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook ran")));
        switch (args[0]) {
            case "exit" -> System.exit(status);
            case "halt" -> Runtime.getRuntime().halt(status);
            case "thread" -> {
                Thread exiter = new Thread(() -> System.exit(status));
                exiter.start();
                Thread.sleep(60_000);
            }
            default -> throw new IllegalArgumentException(args[0]);
        }
    }
}
