import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;

/**
 * Clients of Kafka, on the host. The first argument says what is done, the second where the broker is (HOST:PORT):
 *
 * <ul>
 * <li>{@code write BROKER PARTITIONS}: a thread for each partition sends one record after the other until standard input ends, which is
 * when the broker is gone. Says "writing N" now and then, and at last "acknowledged A0 A1 ...", the records of each.
 * <li>{@code check BROKER A0 A1 ...}: every acknowledged record is there, in its order and with its content, and of each partition at most
 * one more. Says "checked RECORDS".
 * </ul>
 */
public class KafkaLoad {
    private static final String TOPIC = "load";
    private static final int PATIENCE_MS = 150_000;
    /** How long what was acknowledged before the broker was gone may take to be counted. */
    private static final int COUNTING_MS = 3_000;
    private static final int SAID_EACH = 20;
    private static final int LONGEST = 4000;

    private static volatile boolean stopped;

    public static void main(String[] args) throws Exception {
        long[] numbers = Arrays.stream(args).skip(2).mapToLong(Long::parseLong).toArray();
        switch (args[0]) {
            case "write" -> write(args[1], (int) numbers[0]);
            case "check" -> check(args[1], numbers);
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }

    /** A record's content, which is known from its place. */
    private static byte[] content(int partition, long number) {
        Random random = new Random(partition * 1_000_003L + number);
        byte[] content = new byte[1 + random.nextInt(LONGEST)];
        random.nextBytes(content);
        return content;
    }

    private static void write(String broker, int partitions) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker, "default.api.timeout.ms", PATIENCE_MS))) {
            admin.createTopics(List.of(new NewTopic(TOPIC, partitions, (short) 1))).all().get();
        } catch (ExecutionException exception) {
            if (!(exception.getCause() instanceof TopicExistsException)) {
                throw exception;
            }
        }
        AtomicLong written = new AtomicLong();
        AtomicLong[] acknowledged = new AtomicLong[partitions];
        List<Thread> workers = new ArrayList<>();
        // Goes on where the last run ended: what it had not acknowledged may be there or not.
        long[] first = ends(broker, partitions);
        for (int p = 0; p < partitions; p++) {
            int partition = p;
            acknowledged[p] = new AtomicLong(first[p]);
            Thread worker = new Thread(() -> {
                try {
                    send(broker, partition, acknowledged[partition], written);
                } catch (ExecutionException gone) {
                    System.err.println("partition " + partition + ": " + gone.getCause());
                } catch (InterruptedException end) {
                    Thread.currentThread().interrupt();
                }
            });
            // It may wait for an answer that does not come.
            worker.setDaemon(true);
            worker.start();
            workers.add(worker);
        }
        while (System.in.read() >= 0) {
            // Not the end yet.
        }
        stopped = true;
        long deadline = System.nanoTime() + Duration.ofMillis(COUNTING_MS).toNanos();
        for (Thread worker : workers) {
            worker.join(Math.max(1, Duration.ofNanos(deadline - System.nanoTime()).toMillis()));
        }
        StringBuilder line = new StringBuilder("acknowledged");
        for (AtomicLong count : acknowledged) {
            line.append(' ').append(count.get());
        }
        System.out.println(line);
    }

    private static void send(String broker, int partition, AtomicLong acknowledged, AtomicLong written)
            throws ExecutionException, InterruptedException {
        // Not closed at the end: the broker may be gone, and this would wait for it.
        KafkaProducer<Long, byte[]> producer = new KafkaProducer<>(
            Map.of("bootstrap.servers", broker, "acks", "all", "enable.idempotence", true, "max.block.ms", PATIENCE_MS,
                "request.timeout.ms", PATIENCE_MS, "delivery.timeout.ms", PATIENCE_MS, "linger.ms", 0),
            new LongSerializer(), new ByteArraySerializer());
        while (!stopped) {
            long number = acknowledged.get();
            producer.send(new ProducerRecord<>(TOPIC, partition, number, content(partition, number))).get();
            acknowledged.incrementAndGet();
            long all = written.incrementAndGet();
            if (all % SAID_EACH == 0) {
                System.out.println("writing " + all);
            }
        }
    }

    private static List<TopicPartition> partitions(int count) {
        return IntStream.range(0, count).mapToObj(partition -> new TopicPartition(TOPIC, partition)).toList();
    }

    private static KafkaConsumer<Long, byte[]> consumer(String broker) {
        return new KafkaConsumer<>(
            Map.of("bootstrap.servers", broker, "default.api.timeout.ms", PATIENCE_MS, "check.crcs", true),
            new LongDeserializer(), new ByteArrayDeserializer());
    }

    /** The number of the next record of each partition. */
    private static long[] ends(String broker, int count) {
        List<TopicPartition> partitions = partitions(count);
        try (KafkaConsumer<Long, byte[]> consumer = consumer(broker)) {
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            return partitions.stream().mapToLong(ends::get).toArray();
        }
    }

    private static void check(String broker, long[] acknowledged) {
        List<TopicPartition> partitions = partitions(acknowledged.length);
        long[] found = new long[acknowledged.length];
        try (KafkaConsumer<Long, byte[]> consumer = consumer(broker)) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.nanoTime() + Duration.ofMillis(PATIENCE_MS).toNanos();
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException("records do not come: " + Arrays.toString(found) + " of " + ends);
                }
                for (ConsumerRecord<Long, byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    long number = found[record.partition()]++;
                    if (record.key() != number || !Arrays.equals(record.value(), content(record.partition(), number))) {
                        throw new IllegalStateException("record " + record.partition() + "/" + number + " is not as it was written");
                    }
                }
            }
        }
        for (int partition = 0; partition < found.length; partition++) {
            if (found[partition] < acknowledged[partition] || found[partition] > acknowledged[partition] + 1) {
                throw new IllegalStateException("partition " + partition + ": " + found[partition] + " records are there, and "
                    + acknowledged[partition] + " were acknowledged");
            }
        }
        System.out.println("checked " + Arrays.stream(found).sum());
    }
}
