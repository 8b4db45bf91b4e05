/**
 * Holds as much as it can: adds to a list until there is an OutOfMemoryError, and says how much it had. Half of it are arrays and half are
 * small objects, as of most programs. Says how much it holds now and then, for a machine may end that has promised too much.
 */
public final class LiveSet {
    /** A node with its reference and its payload takes 24 bytes. */
    private static final int SMALL_BYTES = 24;
    private static final int SMALLS = 256;
    private static final int ARRAY_BYTES = SMALLS * SMALL_BYTES - 16;
    /** With the block itself, 32 bytes. */
    private static final int BLOCK_BYTES = 2 * SMALLS * SMALL_BYTES + 32;
    private static final int TOLD_EACH = (8 << 20) / BLOCK_BYTES;

    private static final class Small {
        final Small next;
        final int number;

        Small(Small next, int number) {
            this.next = next;
            this.number = number;
        }
    }

    private static final class Block {
        final Block next;
        final byte[] array = new byte[ARRAY_BYTES];
        final Small smalls;

        Block(Block next) {
            this.next = next;
            Small last = null;
            for (int i = 0; i < SMALLS; i++) {
                last = new Small(last, i);
            }
            smalls = last;
        }
    }

    private LiveSet() {
    }

    public static void main(String[] args) {
        Block last = null;
        long count = 0;
        try {
            while (true) {
                last = new Block(last);
                count++;
                if (count % TOLD_EACH == 0) {
                    System.out.println("holds " + (count * BLOCK_BYTES >> 20));
                }
            }
        } catch (OutOfMemoryError full) {
            int sum = last.smalls.number + last.array.length;
            last = null;
            System.out.println("checked " + sum);
        }
        System.out.printf("live_set MiB %.1f%n", count * BLOCK_BYTES / 1048576.0);
    }
}
