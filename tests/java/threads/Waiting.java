import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Exchanger;
import java.util.concurrent.Phaser;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.Semaphore;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/** Every way to wait: park, monitors, locks, queues, sleeps, with time limits and interrupts. */
public class Waiting {
    public static void main(String[] args) throws Exception {
        int rounds = Integer.parseInt(args[0]);
        System.out.println("park: " + pingPong(rounds));
        System.out.println("monitor: " + monitor(rounds));
        System.out.println("condition: " + condition(rounds));
        System.out.println("queue: " + queue(rounds));
        System.out.println("hand-over: " + handOver(rounds / 2));
        System.out.println("exchanger: " + exchanger(rounds / 2));
        System.out.println("read-write lock: " + readWrite(rounds));
        System.out.println("phaser: " + phaser(rounds / 10));
        System.out.println("time limits: " + timeLimits());
        System.out.println("interrupts: " + interrupts());
        System.out.println("scheduled: " + scheduled());
        System.out.println("permits: " + permits());
        System.out.println("contended: " + contended(rounds * 10));
    }

    private static int pingPong(int rounds) throws InterruptedException {
        AtomicInteger turn = new AtomicInteger();
        Thread[] pair = new Thread[2];
        CountDownLatch ready = new CountDownLatch(1);
        for (int t = 0; t < 2; t++) {
            int me = t;
            pair[t] = new Thread(() -> {
                try {
                    ready.await();
                } catch (InterruptedException e) {
                    throw new AssertionError(e);
                }
                for (int i = 0; i < rounds; i++) {
                    while (turn.get() % 2 != me) {
                        LockSupport.park();
                    }
                    turn.incrementAndGet();
                    LockSupport.unpark(pair[1 - me]);
                }
            });
            pair[t].start();
        }
        ready.countDown();
        pair[0].join();
        pair[1].join();
        return turn.get();
    }

    private static int monitor(int rounds) throws InterruptedException {
        Object lock = new Object();
        int[] state = new int[1];
        Thread other = new Thread(() -> {
            synchronized (lock) {
                while (state[0] < 2 * rounds) {
                    if (state[0] % 2 == 1) {
                        state[0]++;
                        lock.notifyAll();
                    } else {
                        try {
                            lock.wait();
                        } catch (InterruptedException e) {
                            throw new AssertionError(e);
                        }
                    }
                }
            }
        });
        other.start();
        synchronized (lock) {
            while (state[0] < 2 * rounds) {
                if (state[0] % 2 == 0) {
                    state[0]++;
                    lock.notifyAll();
                } else {
                    lock.wait(60_000);
                }
            }
        }
        other.join();
        return state[0];
    }

    private static int condition(int rounds) throws InterruptedException {
        ReentrantLock lock = new ReentrantLock(true);
        Condition changed = lock.newCondition();
        int[] next = new int[1];
        int parties = 4;
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < parties; t++) {
            int me = t;
            Thread thread = new Thread(() -> {
                for (int i = 0; i < rounds / 4; i++) {
                    lock.lock();
                    try {
                        while (next[0] % parties != me) {
                            changed.awaitUninterruptibly();
                        }
                        next[0]++;
                        changed.signalAll();
                    } finally {
                        lock.unlock();
                    }
                }
            });
            threads.add(thread);
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return next[0];
    }

    private static long queue(int rounds) throws InterruptedException {
        ArrayBlockingQueue<Integer> queue = new ArrayBlockingQueue<>(3);
        Thread producer = new Thread(() -> {
            try {
                for (int i = 0; i < rounds; i++) {
                    queue.put(i);
                }
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        });
        producer.start();
        long sum = 0;
        for (int i = 0; i < rounds; i++) {
            sum = sum * 31 + queue.take();
        }
        producer.join();
        return sum;
    }

    private static long handOver(int rounds) throws InterruptedException {
        SynchronousQueue<Integer> queue = new SynchronousQueue<>();
        Thread producer = new Thread(() -> {
            try {
                for (int i = 0; i < rounds; i++) {
                    while (!queue.offer(i, 10, TimeUnit.MILLISECONDS)) {
                        Thread.onSpinWait();
                    }
                }
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        });
        producer.start();
        long sum = 0;
        for (int i = 0; i < rounds; i++) {
            sum += queue.take();
        }
        producer.join();
        return sum;
    }

    private static String exchanger(int rounds) throws InterruptedException {
        Exchanger<Integer> exchanger = new Exchanger<>();
        long[] sums = new long[2];
        Thread other = new Thread(() -> {
            try {
                for (int i = 0; i < rounds; i++) {
                    sums[1] += exchanger.exchange(2 * i);
                }
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        });
        other.start();
        for (int i = 0; i < rounds; i++) {
            sums[0] += exchanger.exchange(i);
        }
        other.join();
        return sums[0] + " " + sums[1];
    }

    private static int readWrite(int rounds) throws InterruptedException {
        ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
        int[] value = new int[2];
        AtomicInteger torn = new AtomicInteger();
        Thread[] threads = new Thread[6];
        for (int t = 0; t < threads.length; t++) {
            boolean writes = t < 2;
            threads[t] = new Thread(() -> {
                for (int i = 0; i < rounds; i++) {
                    if (writes) {
                        lock.writeLock().lock();
                        value[0]++;
                        value[1]++;
                        lock.writeLock().unlock();
                    } else {
                        lock.readLock().lock();
                        if (value[0] != value[1]) {
                            torn.incrementAndGet();
                        }
                        lock.readLock().unlock();
                    }
                }
            });
            threads[t].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return value[0] + torn.get() * 1_000_000;
    }

    private static int phaser(int phases) throws InterruptedException {
        Phaser phaser = new Phaser(8);
        Thread[] threads = new Thread[8];
        for (int t = 0; t < threads.length; t++) {
            threads[t] = new Thread(() -> {
                for (int i = 0; i < phases; i++) {
                    phaser.arriveAndAwaitAdvance();
                }
            });
            threads[t].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return phaser.getPhase();
    }

    /** Each wait must take at least its time, and end. */
    private static String timeLimits() throws Exception {
        long limit = TimeUnit.MILLISECONDS.toNanos(20);
        List<Boolean> long_enough = new ArrayList<>();
        Object lock = new Object();
        ReentrantLock mutex = new ReentrantLock();
        Condition condition = mutex.newCondition();
        Semaphore none = new Semaphore(0);
        List<java.util.concurrent.Callable<?>> waits = List.of(
            () -> {
                Thread.sleep(20);
                return null;
            },
            () -> {
                // It may return early by right; then one waits for the rest.
                long end = System.nanoTime() + limit;
                for (long rest = limit; rest > 0; rest = end - System.nanoTime()) {
                    LockSupport.parkNanos(rest);
                }
                return null;
            },
            () -> {
                long end = System.currentTimeMillis() + 21;
                while (System.currentTimeMillis() < end) {
                    LockSupport.parkUntil(end);
                }
                return null;
            },
            () -> none.tryAcquire(limit, TimeUnit.NANOSECONDS),
            () -> new CountDownLatch(1).await(limit, TimeUnit.NANOSECONDS),
            () -> {
                mutex.lock();
                try {
                    return condition.awaitNanos(limit) <= 0;
                } finally {
                    mutex.unlock();
                }
            },
            () -> new ArrayBlockingQueue<Object>(1).poll(limit, TimeUnit.NANOSECONDS));
        for (java.util.concurrent.Callable<?> wait : waits) {
            long start = System.nanoTime();
            wait.call();
            long_enough.add(System.nanoTime() - start >= limit - 1_000_000);
        }
        synchronized (lock) {
            long start = System.nanoTime();
            lock.wait(20);
            long_enough.add(System.nanoTime() - start >= limit - 1_000_000);
        }
        Thread sleeper = new Thread(() -> {
            try {
                Thread.sleep(3_600_000);
            } catch (InterruptedException e) {
                // As meant.
            }
        });
        sleeper.start();
        sleeper.join(20);
        long_enough.add(sleeper.isAlive());
        sleeper.interrupt();
        sleeper.join();
        long_enough.add(!sleeper.isAlive());
        return long_enough.toString();
    }

    private static String interrupts() throws Exception {
        StringBuffer said = new StringBuffer();
        Object lock = new Object();
        Runnable[] waits = {
            () -> {
                try {
                    Thread.sleep(3_600_000);
                } catch (InterruptedException e) {
                    said.append("sleep ").append(Thread.interrupted()).append(' ');
                }
            },
            () -> {
                synchronized (lock) {
                    try {
                        lock.wait();
                    } catch (InterruptedException e) {
                        said.append("wait ");
                    }
                }
            },
            () -> {
                while (!Thread.currentThread().isInterrupted()) {
                    LockSupport.park();
                }
                said.append("park ").append(Thread.interrupted()).append(' ');
            },
            () -> {
                try {
                    new ReentrantLock().newCondition().await();
                } catch (IllegalMonitorStateException | InterruptedException e) {
                    said.append(e.getClass().getSimpleName()).append(' ');
                }
            },
            () -> {
                try {
                    new Semaphore(0).acquire();
                } catch (InterruptedException e) {
                    said.append("acquire ");
                }
            },
            () -> {
                try (java.nio.channels.Pipe.SourceChannel source = java.nio.channels.Pipe.open().source()) {
                    source.read(java.nio.ByteBuffer.allocate(1));
                } catch (java.io.IOException e) {
                    said.append(e.getClass().getSimpleName()).append(' ');
                }
            },
            () -> {
                try (java.nio.channels.Selector selector = java.nio.channels.Selector.open()) {
                    selector.select();
                    said.append("select ").append(Thread.interrupted());
                } catch (java.io.IOException e) {
                    said.append(e);
                }
            }};
        for (Runnable wait : waits) {
            Thread thread = new Thread(wait);
            thread.start();
            Thread.sleep(5);
            while (thread.isAlive()) {
                thread.interrupt();
                thread.join(1000);
            }
        }
        return said.toString();
    }

    /** One thread, and times far apart: the order is theirs, however slow the machine. */
    private static String scheduled() throws Exception {
        ScheduledThreadPoolExecutor pool = new ScheduledThreadPoolExecutor(1);
        StringBuffer order = new StringBuffer();
        CountDownLatch ticks = new CountDownLatch(5);
        java.util.concurrent.Future<?> last = pool.schedule(() -> order.append('c'), 600, TimeUnit.MILLISECONDS);
        pool.schedule(() -> order.append('a'), 10, TimeUnit.MILLISECONDS);
        pool.schedule(() -> order.append('b'), 300, TimeUnit.MILLISECONDS);
        last.get();
        pool.scheduleAtFixedRate(ticks::countDown, 1, 2, TimeUnit.MILLISECONDS);
        ticks.await();
        pool.shutdownNow();
        return order + " " + pool.awaitTermination(10, TimeUnit.SECONDS);
    }

    /** A permit given before the wait is not lost, and two are not counted. */
    private static String permits() {
        Thread me = Thread.currentThread();
        LockSupport.unpark(me);
        LockSupport.unpark(me);
        LockSupport.park();
        long start = System.nanoTime();
        long end = start + 10_000_000;
        while (System.nanoTime() < end) {
            LockSupport.parkNanos(end - System.nanoTime());
        }
        return "kept";
    }

    private static int contended(int rounds) throws InterruptedException {
        Object lock = new Object();
        int[] count = new int[1];
        Thread[] threads = new Thread[8];
        for (int t = 0; t < threads.length; t++) {
            threads[t] = new Thread(() -> {
                for (int i = 0; i < rounds; i++) {
                    synchronized (lock) {
                        count[0]++;
                    }
                }
            });
            threads[t].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        return count[0];
    }
}
