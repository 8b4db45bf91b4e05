public class Hello {
    public static void main(String[] args) {
        System.out.println("Hello, " + (args.length > 0 ? String.join(" ", args) : "world") + "!");
    }
}
