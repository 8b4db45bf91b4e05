package pkg;

/** The module's main class. */
public class Start {
    public static void main(String[] args) {
        System.out.println(Start.class.getModule() + " " + String.join(",", args)
            + " " + System.getProperty("jdk.module.main") + " " + System.getProperty("jdk.module.main.class"));
    }
}
