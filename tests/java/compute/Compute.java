import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.Future;
import java.util.concurrent.RecursiveTask;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.IntBinaryOperator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.LongStream;

/**
 * Work of many kinds on many threads; each part prints a checksum that depends on nothing but the
 * size, which is the first argument.
 */
public class Compute {
    public static void main(String[] args) throws Throwable {
        int size = Integer.parseInt(args[0]);
        print("parallel streams", parallelStreams(size));
        print("fork and join", forkJoin(size));
        print("big integers", bigIntegers(size));
        print("strings", strings(size));
        print("method handles", methodHandles(size));
        print("reflection", reflection(size));
        print("floating point", floatingPoint(size));
        print("matrix", matrix(size));
        print("executors", executors(size));
        print("collections", collections(size));
        print("digest", digest(size));
    }

    private static void print(String name, long checksum) {
        System.out.printf("%-16s %016x%n", name, checksum);
    }

    private static long mix(long h, long value) {
        h ^= value;
        h *= 0x9E3779B97F4A7C15L;
        return h ^ (h >>> 29);
    }

    private static long parallelStreams(int size) {
        long primes = IntStream.range(2, size * 1000).parallel().filter(Compute::isPrime).asLongStream().sum();
        Map<Integer, Long> groups = LongStream.range(0, size * 2000L).parallel().boxed()
            .collect(Collectors.groupingByConcurrent(n -> (int) (n * n % 97), Collectors.summingLong(n -> n)));
        long h = primes;
        for (int i = 0; i < 97; i++) {
            h = mix(h, groups.getOrDefault(i, -1L));
        }
        int[] numbers = new Random(42).ints(size * 5000L).toArray();
        Arrays.parallelSort(numbers);
        // An associative operation: where the array is divided depends on the number of CPUs.
        Arrays.parallelPrefix(numbers, (a, b) -> a * b + a + b);
        return mix(h, Arrays.hashCode(numbers));
    }

    private static boolean isPrime(int n) {
        for (int d = 2; d * d <= n; d++) {
            if (n % d == 0) {
                return false;
            }
        }
        return true;
    }

    private static long forkJoin(int size) {
        class Fibonacci extends RecursiveTask<Long> {
            private final int n;

            Fibonacci(int n) {
                this.n = n;
            }

            @Override
            protected Long compute() {
                if (n < 10) {
                    return plain(n);
                }
                Fibonacci left = new Fibonacci(n - 1);
                left.fork();
                return new Fibonacci(n - 2).compute() + left.join();
            }

            private long plain(int k) {
                return k < 2 ? k : plain(k - 1) + plain(k - 2);
            }
        }
        int n = 18 + Math.min(12, 32 - Integer.numberOfLeadingZeros(size));
        ForkJoinPool pool = new ForkJoinPool(4);
        try {
            return pool.invoke(new Fibonacci(n)) * 1_000_003L;
        } finally {
            pool.shutdown();
        }
    }

    private static long bigIntegers(int size) {
        BigInteger factorial = BigInteger.ONE;
        for (int i = 2; i < size * 30; i++) {
            factorial = factorial.multiply(BigInteger.valueOf(i));
        }
        BigInteger m = BigInteger.ONE.shiftLeft(521).subtract(BigInteger.ONE);
        BigInteger power = BigInteger.valueOf(3);
        for (int i = 0; i < size; i++) {
            power = power.modPow(BigInteger.valueOf(65537), m).add(BigInteger.valueOf(i));
        }
        long h = factorial.mod(m).longValue();
        h = mix(h, power.longValue());
        h = mix(h, factorial.toString().hashCode());
        return mix(h, m.isProbablePrime(10) ? 1 : 0);
    }

    private static long strings(int size) {
        StringBuilder all = new StringBuilder();
        for (int i = 0; i < size * 200; i++) {
            all.append(i).append(i % 3 == 0 ? "é" : i % 7 == 0 ? "€" : "-").append(String.format("%04x,", i));
        }
        String text = all.toString();
        Map<String, Integer> counts = new HashMap<>();
        for (String part : text.split("[,-]")) {
            counts.merge(part.toUpperCase().intern(), 1, Integer::sum);
        }
        long h = counts.size();
        for (String key : counts.keySet().stream().sorted().toList()) {
            h = mix(h, key.hashCode() * 31L + counts.get(key));
        }
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        h = mix(h, Arrays.hashCode(utf8));
        h = mix(h, new String(utf8, StandardCharsets.UTF_8).equals(text) ? 1 : 0);
        return mix(h, text.replaceAll("([0-9a-f]{4}),", "<$1>").hashCode());
    }

    static int add(int a, int b) {
        return a + b;
    }

    private static long methodHandles(int size) throws Throwable {
        MethodHandles.Lookup lookup = MethodHandles.lookup();
        MethodType type = MethodType.methodType(int.class, int.class, int.class);
        MethodHandle add = lookup.findStatic(Compute.class, "add", type);
        MethodHandle addFive = MethodHandles.insertArguments(add, 1, 5);
        MethodHandle twice = MethodHandles.filterReturnValue(addFive, addFive);
        MethodHandle isSeven = lookup
            .findVirtual(Integer.class, "equals", MethodType.methodType(boolean.class, Object.class))
            .bindTo(7).asType(MethodType.methodType(boolean.class, int.class));
        MethodHandle minusSeven = MethodHandles.dropArguments(MethodHandles.constant(int.class, -7), 0, int.class);
        MethodHandle guarded = MethodHandles.guardWithTest(isSeven, minusSeven, twice);
        IntBinaryOperator[] operators = {(a, b) -> a - b, (a, b) -> a * b, Math::max, Integer::sum};
        long h = 0;
        for (int i = 0; i < size * 20_000; i++) {
            h = h * 31 + (int) guarded.invokeExact(i & 15);
            h += operators[i & 3].applyAsInt(i, (int) h);
        }
        return h;
    }

    /** Called by reflection and through a proxy. */
    public interface Shape {
        double area(double side);
    }

    private static long reflection(int size) throws Exception {
        Shape shape = (Shape) Proxy.newProxyInstance(Compute.class.getClassLoader(), new Class<?>[] {Shape.class},
            (proxy, method, arguments) -> (Double) arguments[0] * method.getName().length());
        Method area = Shape.class.getMethod("area", double.class);
        double sum = 0;
        for (int i = 0; i < size * 2000; i++) {
            sum += (Double) area.invoke(shape, i * 0.5);
        }
        long h = Double.doubleToLongBits(sum);
        for (String name : Arrays.stream(Math.class.getMethods()).filter(m -> m.getParameterCount() == 1)
                .map(Method::toString).sorted().toList()) {
            h = mix(h, name.hashCode());
        }
        return h;
    }

    private static long floatingPoint(int size) {
        double sum = 0;
        float single = 0;
        for (int i = 1; i < size * 20_000; i++) {
            // StrictMath: Math's intrinsics may differ in the last place between CPUs.
            sum += Math.sqrt(i) / (1.0 + i % 17) - Math.fma(i, 1e-9, 0.25);
            single += 1.0f / i;
            if (i % 1000 == 0) {
                sum += StrictMath.sin(i) + StrictMath.exp(-i * 1e-3) + StrictMath.pow(i, 0.3);
            }
        }
        return mix(Double.doubleToLongBits(sum), Float.floatToIntBits(single));
    }

    private static long matrix(int size) {
        int n = 64 + size;
        long[][] a = new long[n][n];
        long[][] b = new long[n][n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                a[i][j] = i * 31L + j;
                b[i][j] = i ^ j * 17L;
            }
        }
        long[][] c = new long[n][n];
        IntStream.range(0, n).parallel().forEach(i -> {
            for (int k = 0; k < n; k++) {
                long x = a[i][k];
                for (int j = 0; j < n; j++) {
                    c[i][j] += x * b[k][j];
                }
            }
        });
        return Arrays.deepHashCode(c);
    }

    private static long executors(int size) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        LongAdder adder = new LongAdder();
        ConcurrentHashMap<Integer, Long> map = new ConcurrentHashMap<>();
        List<Callable<Long>> tasks = IntStream.range(0, 64).<Callable<Long>>mapToObj(t -> () -> {
            long local = t;
            for (int i = 0; i < size * 200; i++) {
                local = mix(local, i);
                adder.increment();
                map.merge(i % 101, 1L, Long::sum);
            }
            return local;
        }).toList();
        long h = 0;
        for (Future<Long> future : pool.invokeAll(tasks)) {
            h = mix(h, future.get());
        }
        CompletableFuture<Long> chain = CompletableFuture.completedFuture(1L);
        for (int i = 0; i < 200; i++) {
            long step = i;
            chain = chain.thenApplyAsync(x -> mix(x, step), pool);
        }
        h = mix(h, chain.get());
        pool.shutdown();
        return mix(mix(h, adder.sum()), map.values().stream().mapToLong(Long::longValue).sum());
    }

    private static long collections(int size) {
        java.util.TreeMap<String, List<Integer>> tree = new java.util.TreeMap<>();
        Random random = new Random(7);
        for (int i = 0; i < size * 1000; i++) {
            tree.computeIfAbsent(Integer.toString(random.nextInt(5000), 36), k -> new java.util.ArrayList<>()).add(i);
        }
        long h = 0;
        for (Map.Entry<String, List<Integer>> e : tree.entrySet()) {
            h = mix(h, e.getKey().hashCode());
            h = mix(h, e.getValue().hashCode());
        }
        java.util.PriorityQueue<Long> queue = new java.util.PriorityQueue<>();
        for (int i = 0; i < size * 500; i++) {
            queue.add(random.nextLong());
            if (i % 3 == 0) {
                h = mix(h, queue.remove());
            }
        }
        return h;
    }

    private static long digest(int size) throws Exception {
        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        byte[] block = new byte[4096];
        for (int i = 0; i < size * 20; i++) {
            Arrays.fill(block, (byte) i);
            sha.update(block);
        }
        java.util.zip.Deflater deflater = new java.util.zip.Deflater(6);
        byte[] input = new byte[size * 1000];
        new Random(3).nextBytes(input);
        for (int i = 0; i < input.length; i++) {
            input[i] &= 15;
        }
        deflater.setInput(input);
        deflater.finish();
        byte[] output = new byte[input.length * 2 + 100];
        int length = deflater.deflate(output);
        return mix(Arrays.hashCode(sha.digest()), Arrays.hashCode(Arrays.copyOf(output, length)));
    }
}
