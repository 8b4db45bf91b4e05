/** Run from its source. */
public class Single {
    record Point(int x, int y) {
    }

    public static void main(String[] args) {
        System.out.println(new Point(args.length, 2) + " " + String.join(",", args)
            + " " + System.getProperty("test.a") + " " + System.getProperty("sun.java.command"));
    }
}
