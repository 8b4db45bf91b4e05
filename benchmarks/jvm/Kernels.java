import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.zip.Deflater;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * Computations of the kinds that SPECjvm and SciMark have. Each returns a checksum that is the same on every machine, so that two sides can be
 * seen to have done the same.
 */
enum Kernels {
    /** Discrete Fourier transform of 2^12 complex numbers, there and back. */
    fft {
        @Override
        long run() {
            int n = 1 << 12;
            double[] re = new double[n];
            double[] im = new double[n];
            for (int i = 0; i < n; i++) {
                re[i] = i % 17;
            }
            transform(re, im, -1);
            transform(re, im, 1);
            long sum = 0;
            for (int i = 0; i < n; i++) {
                sum += Math.round(re[i] / n);
            }
            return sum;
        }

        private void transform(double[] re, double[] im, int sign) {
            int n = re.length;
            for (int i = 1, j = 0; i < n; i++) {
                int bit = n >> 1;
                for (; (j & bit) != 0; bit >>= 1) {
                    j ^= bit;
                }
                j |= bit;
                if (i < j) {
                    double t = re[i];
                    re[i] = re[j];
                    re[j] = t;
                    t = im[i];
                    im[i] = im[j];
                    im[j] = t;
                }
            }
            for (int length = 2; length <= n; length <<= 1) {
                double angle = sign * 2 * Math.PI / length;
                double stepRe = Math.cos(angle);
                double stepIm = Math.sin(angle);
                for (int i = 0; i < n; i += length) {
                    double wRe = 1;
                    double wIm = 0;
                    for (int k = i; k < i + length / 2; k++) {
                        int other = k + length / 2;
                        double tRe = re[other] * wRe - im[other] * wIm;
                        double tIm = re[other] * wIm + im[other] * wRe;
                        re[other] = re[k] - tRe;
                        im[other] = im[k] - tIm;
                        re[k] += tRe;
                        im[k] += tIm;
                        double next = wRe * stepRe - wIm * stepIm;
                        wIm = wRe * stepIm + wIm * stepRe;
                        wRe = next;
                    }
                }
            }
        }
    },

    /** Decomposition of a matrix of 96 by 96 into two triangular ones, with pivots. */
    lu {
        @Override
        long run() {
            int n = 96;
            SplittableRandom random = new SplittableRandom(7);
            double[][] a = new double[n][n];
            for (double[] row : a) {
                Arrays.setAll(row, i -> random.nextDouble());
            }
            long swaps = 0;
            for (int k = 0; k < n; k++) {
                int pivot = k;
                for (int i = k + 1; i < n; i++) {
                    if (Math.abs(a[i][k]) > Math.abs(a[pivot][k])) {
                        pivot = i;
                    }
                }
                if (pivot != k) {
                    double[] row = a[k];
                    a[k] = a[pivot];
                    a[pivot] = row;
                    swaps++;
                }
                for (int i = k + 1; i < n; i++) {
                    double factor = a[i][k] /= a[k][k];
                    for (int j = k + 1; j < n; j++) {
                        a[i][j] -= factor * a[k][j];
                    }
                }
            }
            return swaps;
        }
    },

    /** Product of a sparse matrix and a vector: reads all over memory. */
    sparse {
        @Override
        long run() {
            int n = 4000;
            int each = 16;
            long[] y = new long[n];
            int column = 1;
            for (int i = 0; i < n; i++) {
                for (int k = 0; k < each; k++) {
                    column = (int) ((column * 48271L + 11) % n);
                    y[i] += (long) (i ^ k) * (column & 63);
                }
            }
            return Arrays.stream(y).sum();
        }
    },

    /** SHA-256 of 64 KiB. */
    sha256 {
        @Override
        long run() throws Exception {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(new byte[64 << 10]);
            return digest[0] << 8 | digest[1];
        }
    },

    /** AES-GCM of 64 KiB. */
    aes {
        @Override
        long run() throws Exception {
            Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
            cipher.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(new byte[16], "AES"), new GCMParameterSpec(128, new byte[12]));
            return Arrays.hashCode(cipher.doFinal(new byte[64 << 10]));
        }
    },

    /** Deflate of 64 KiB of text. */
    deflate {
        private final byte[] text = text(64 << 10);

        @Override
        long run() {
            Deflater deflater = new Deflater();
            deflater.setInput(text);
            deflater.finish();
            byte[] out = new byte[128 << 10];
            int length = deflater.deflate(out);
            deflater.end();
            return length;
        }
    },

    /** Words of a text counted in a map. */
    words {
        private final String text = new String(text(32 << 10), StandardCharsets.US_ASCII);

        @Override
        long run() {
            Map<String, Integer> counts = new HashMap<>();
            for (String word : text.split(" ")) {
                counts.merge(word, 1, Integer::sum);
            }
            return counts.size();
        }
    },

    /** A sort of 20,000 numbers. */
    sort {
        @Override
        long run() {
            int[] numbers = new SplittableRandom(5).ints(20_000).toArray();
            Arrays.sort(numbers);
            return numbers[10_000];
        }
    },

    /** A parallel stream over 200,000 numbers. */
    parallel_stream {
        @Override
        long run() {
            return IntStream.range(0, 200_000).parallel().filter(i -> (i * 31 & 7) == 3).mapToLong(i -> (long) i * i % 1009).sum();
        }
    },

    /** A parallel sort of 100,000 numbers. */
    parallel_sort {
        @Override
        long run() {
            long[] numbers = new SplittableRandom(6).longs(100_000).toArray();
            Arrays.parallelSort(numbers);
            return numbers[50_000];
        }
    };

    abstract long run() throws Exception;

    private static byte[] text(int length) {
        SplittableRandom random = new SplittableRandom(3);
        byte[] text = new byte[length];
        for (int i = 0; i < length; i++) {
            text[i] = (byte) (random.nextInt(5) == 0 ? ' ' : 'a' + random.nextInt(1 + random.nextInt(20)));
        }
        return text;
    }
}
