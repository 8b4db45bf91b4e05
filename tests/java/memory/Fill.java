import java.util.ArrayList;
import java.util.List;

/** Takes all of the heap that it can get, however much that is, and goes on afterwards. */
public class Fill {
    private static volatile Object kept;

    private static boolean fill(int blockBytes) {
        List<byte[]> blocks = new ArrayList<>();
        try {
            while (true) {
                byte[] block = new byte[blockBytes];
                for (int i = 0; i < blockBytes; i += 4096) {
                    block[i] = 1;
                }
                blocks.add(block);
            }
        } catch (OutOfMemoryError e) {
            int count = blocks.size();
            blocks = null;
            return count > 0;
        }
    }

    public static void main(String[] args) throws Exception {
        int rounds = Integer.parseInt(args[0]);
        for (int round = 0; round < rounds; round++) {
            System.out.println("full, large blocks: " + fill(1 << 20));
            System.out.println("full, small blocks: " + fill(1 << 14));
            // Classes to load, code to compile, threads to start.
            int[] sum = new int[1];
            Thread thread = new Thread(() -> sum[0] = "a b c".repeat(1000).split(" ").length);
            thread.start();
            thread.join();
            kept = new byte[1 << 20];
            System.out.println("usable: " + sum[0] + ", max " + (Runtime.getRuntime().maxMemory() > 16 << 20));
        }
    }
}
