import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicLong;

/** Makes threads by the thousand, all alive at a time, then one after the other. */
public class ManyThreads {
    private static final ThreadLocal<long[]> LOCAL = ThreadLocal.withInitial(() -> new long[16]);
    private static long guarded;

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]);
        Thread[] threads = new Thread[count];
        CountDownLatch started = new CountDownLatch(count);
        CountDownLatch go = new CountDownLatch(1);
        CyclicBarrier barrier = new CyclicBarrier(count);
        AtomicLong sum = new AtomicLong();
        Object lock = new Object();
        for (int i = 0; i < count; i++) {
            int id = i;
            threads[i] = new Thread(() -> {
                try {
                    LOCAL.get()[id & 15] = id;
                    started.countDown();
                    go.await();
                    barrier.await();
                    synchronized (lock) {
                        guarded += LOCAL.get()[id & 15];
                    }
                    sum.addAndGet(id);
                } catch (Exception e) {
                    throw new AssertionError(e);
                }
            }, "worker-" + i);
            threads[i].start();
        }
        started.await();
        int alive = 0;
        for (Thread thread : threads) {
            alive += thread.isAlive() ? 1 : 0;
        }
        System.out.println("alive at a time: " + alive);
        go.countDown();
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("sums: " + sum.get() + " " + guarded);

        AtomicLong chain = new AtomicLong();
        for (int i = 0; i < count / 4; i++) {
            Thread thread = new Thread(chain::incrementAndGet);
            thread.start();
            thread.join();
        }
        System.out.println("one after the other: " + chain.get());
        System.out.println("threads left: " + (Thread.activeCount() == 1));
    }
}
