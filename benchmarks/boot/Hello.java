/**
 * Says when it began, and ends. HotSpot's {@code nanoTime} is CLOCK_MONOTONIC ({@code os_posix.cpp}), which begins at the kernel's entry in
 * Crema and in Linux.
 */
public final class Hello {
    private Hello() {
    }

    public static void main(String[] args) {
        System.out.println(System.nanoTime());
    }
}
