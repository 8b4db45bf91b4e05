import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** {@code KafkaLoad ADDRESS PORT THREADS SECONDS RATE}: each producer sends records of 1 KiB and waits until the broker has each. */
public final class KafkaLoad {
    private KafkaLoad() {
    }

    public static void main(String[] args) throws Exception {
        byte[] value = new byte[1024];
        Load.run("operations", args, number -> {
            Properties properties = new Properties();
            properties.putAll(Map.of("bootstrap.servers", args[0] + ":" + args[1], "acks", "all", "linger.ms", "0",
                "request.timeout.ms", "120000", "delivery.timeout.ms", "240000", "max.block.ms", "240000"));
            KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
            String topic = "bench-" + number;
            // Makes the topic.
            producer.send(new ProducerRecord<>(topic, value)).get(Duration.ofMinutes(4).toSeconds(), TimeUnit.SECONDS);
            long[] last = {-1};
            return step -> {
                RecordMetadata metadata = producer.send(new ProducerRecord<>(topic, value)).get(240, TimeUnit.SECONDS);
                if (metadata.offset() <= last[0]) {
                    throw new IllegalStateException("offset " + metadata.offset() + " after " + last[0]);
                }
                last[0] = metadata.offset();
            };
        });
    }
}
