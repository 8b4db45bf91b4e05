import java.util.Arrays;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Puts load on a service, and tells how long its operations take: the host's end of {@code crema bench service}.
 *
 * <p>Without a rate the load is closed: each client begins its next operation when the last one is done. With a rate each operation is due
 * at a time that was known before, and how long it takes counts from then, so that a service that stops for a second is charged with all
 * operations that were due meanwhile; all that are due are done, so that the work is the same for each service. The first three fifths of
 * a closed load and the first two fifths of a paced one warm both ends up and are not counted. Prints lines {@code NAME UNIT VALUE}.
 */
final class Load {
    private static final double CLOSED_WARM_UP = 0.6;
    private static final double PACED_WARM_UP = 0.4;

    /** One client of the service, used by one thread. */
    interface Client {
        /** Does an operation and checks its answer. {@code step} counts the client's own, from 0. */
        void operate(int step) throws Exception;
    }

    /** Connects. */
    interface Clients {
        Client open(int number) throws Exception;
    }

    private Load() {
    }

    /** Reads {@code THREADS SECONDS RATE} from the arguments' end, where a rate of 0 means as fast as goes; measures and ends the process. */
    static void run(String name, String[] args, Clients clients) throws Exception {
        int threads = Integer.parseInt(args[args.length - 3]);
        double seconds = Double.parseDouble(args[args.length - 2]);
        double rate = Double.parseDouble(args[args.length - 1]);
        Worker[] workers = new Worker[threads];
        for (int i = 0; i < threads; i++) {
            workers[i] = rate > 0 ? new Paced(clients.open(i), i, threads, seconds, rate) : new Closed(clients.open(i), seconds);
        }
        AtomicReference<Exception> failure = new AtomicReference<>();
        long begin = System.nanoTime();
        for (Worker worker : workers) {
            worker.begin = begin;
            worker.thread = new Thread(() -> {
                try {
                    worker.work();
                } catch (Exception e) {
                    failure.compareAndSet(null, e);
                }
            });
            worker.thread.start();
        }
        for (Worker worker : workers) {
            worker.thread.join();
        }
        if (failure.get() != null) {
            failure.get().printStackTrace();
            System.exit(1);
        }
        long end = System.nanoTime();
        long[] all = Arrays.stream(workers).flatMapToLong(w -> Arrays.stream(w.timesNs, 0, w.count)).sorted().toArray();
        double counted = rate > 0 ? (end - begin) / 1e9 - seconds * PACED_WARM_UP : seconds * (1 - CLOSED_WARM_UP);
        System.out.printf("%s 1/s %.1f%n", name, all.length / counted);
        for (String percent : new String[] {"50", "90", "99", "99.9"}) {
            int place = (int) (Double.parseDouble(percent) / 100 * (all.length - 1));
            if (all.length > 0) {
                System.out.printf("%s_p%s us %.1f%n", name, percent, all[place] / 1e3);
            }
        }
        if (rate > 0) {
            System.out.printf("%s_done work %d%n", name, Arrays.stream(workers).mapToLong(w -> w.done).sum());
        }
        System.exit(0);
    }

    private abstract static class Worker {
        final Client client;
        Thread thread;
        long begin;
        long[] timesNs = new long[1 << 12];
        int count;
        int done;

        Worker(Client client) {
            this.client = client;
        }

        abstract void work() throws Exception;

        final void add(long timeNs) {
            if (count == timesNs.length) {
                timesNs = Arrays.copyOf(timesNs, count * 2);
            }
            timesNs[count++] = timeNs;
        }
    }

    private static final class Closed extends Worker {
        private final double seconds;

        Closed(Client client, double seconds) {
            super(client);
            this.seconds = seconds;
        }

        @Override
        void work() throws Exception {
            long start = begin + (long) (seconds * CLOSED_WARM_UP * 1e9);
            long end = begin + (long) (seconds * 1e9);
            for (long before = System.nanoTime(); before < end;) {
                client.operate(done++);
                long after = System.nanoTime();
                if (after >= start && after < end) {
                    add(after - before);
                }
                before = after;
            }
        }
    }

    private static final class Paced extends Worker {
        private final double intervalNs;
        private final double offsetNs;
        private final int total;
        private final int warmUp;

        Paced(Client client, int number, int threads, double seconds, double rate) {
            super(client);
            intervalNs = threads * 1e9 / rate;
            offsetNs = number * 1e9 / rate;
            total = (int) (seconds * rate / threads);
            warmUp = (int) (total * PACED_WARM_UP);
        }

        @Override
        void work() throws Exception {
            while (done < total) {
                long due = begin + (long) (offsetNs + done * intervalNs);
                for (long left; (left = due - System.nanoTime()) > 0;) {
                    Thread.sleep(left / 1_000_000, (int) (left % 1_000_000));
                }
                client.operate(done++);
                if (done > warmUp) {
                    add(System.nanoTime() - due);
                }
            }
        }
    }
}
