// The Java client of the tests (kafka-clients). Command line and output: tests/clients/README.md.

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class Client {
    static final Map<String, String> options = new HashMap<>();
    static final AtomicLong errors = new AtomicLong();
    static volatile boolean stopping = false;
    private static final CountDownLatch ended = new CountDownLatch(1);
    private static final long start = System.currentTimeMillis();

    public static void main(String[] arguments) {
        String command = arguments.length == 0 ? "" : arguments[0];
        String action = "";
        for (int at = 1; at < arguments.length; at++) {
            String word = arguments[at];
            if (!word.startsWith("--")) {
                action = word;
            } else if (at + 1 < arguments.length && !arguments[at + 1].startsWith("--")) {
                options.put(word.substring(2), arguments[++at]);
            } else {
                options.put(word.substring(2), "yes");
            }
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                ended.await(20, TimeUnit.SECONDS);
            } catch (InterruptedException interrupted) {
                // the machine is going down
            }
            System.out.flush();
            Runtime.getRuntime().halt(errors.get() == 0 ? 0 : 1); // else the exit code were the signal's
        }));
        try {
            switch (command) {
                case "produce" -> produce();
                case "consume" -> {
                    if (option("protocol", "classic").equals("share")) Share.consume();
                    else consume();
                }
                case "metadata" -> metadata();
                case "admin" -> admin(action);
                default -> throw new IllegalArgumentException("unknown command: " + command);
            }
        } catch (Exception failure) {
            error(failure);
        }
        ended.countDown();
        System.out.flush();
        Runtime.getRuntime().halt(errors.get() == 0 ? 0 : 1);
    }

    private static void produce() throws Exception {
        Properties settings = common();
        String transaction = option("transactional", "");
        settings.put("acks", option("acks", "all"));
        settings.put("enable.idempotence", String.valueOf(options.containsKey("idempotent") || !transaction.isEmpty()));
        long patience = number("timeout", 60) * 1000;
        settings.put("delivery.timeout.ms", String.valueOf(patience));
        settings.put("max.block.ms", String.valueOf(patience));
        settings.put("request.timeout.ms", String.valueOf(Math.max(1000, Math.min(30_000, patience - 100))));
        settings.put("linger.ms", "5");
        if (!transaction.isEmpty()) settings.put("transactional.id", transaction);
        long count = number("count", Long.MAX_VALUE);
        double rate = Double.parseDouble(option("rate", "0"));
        long batch = number("batch", 100);
        AtomicLong acked = new AtomicLong();
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            if (!transaction.isEmpty()) producer.initTransactions();
            for (long n = 0; n < count && !stopping; n++) {
                if (!transaction.isEmpty() && n % batch == 0) {
                    if (n > 0) producer.commitTransaction();
                    producer.beginTransaction();
                }
                pace(n, rate);
                long sequence = n;
                producer.send(new ProducerRecord<>(option("topic", ""), key(n), value(n)), (where, failure) -> {
                    if (failure != null) {
                        error(failure);
                    } else {
                        acked.incrementAndGet();
                        print("{\"event\":\"acked\",\"seq\":" + sequence + ",\"partition\":" + where.partition()
                            + ",\"offset\":" + where.offset() + "}");
                    }
                });
            }
            if (!transaction.isEmpty() && count > 0) producer.commitTransaction();
            producer.flush();
        }
        done(acked.get());
    }

    private static void consume() {
        Properties settings = common();
        settings.put("group.id", option("group", "test"));
        settings.put("group.protocol", option("protocol", "classic"));
        settings.put("auto.offset.reset", "earliest");
        settings.put("auto.commit.interval.ms", "500");
        settings.put("isolation.level", "read_committed");
        if (options.containsKey("rack")) settings.put("client.rack", option("rack", ""));
        long wanted = number("count", Long.MAX_VALUE);
        long deadline = start + number("timeout", 60) * 1000;
        long seen = 0;
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(option("topic", "")), new ConsumerRebalanceListener() {
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    print("{\"event\":\"assigned\",\"partitions\":" + strings(partitions) + "}");
                }

                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    print("{\"event\":\"revoked\",\"partitions\":" + strings(partitions) + "}");
                }
            });
            while (seen < wanted && !stopping && System.currentTimeMillis() < deadline) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    record(record);
                    seen++;
                }
            }
        }
        enough(seen, wanted);
        done(seen);
    }

    private static void metadata() throws Exception {
        try (Admin admin = Admin.create(common())) {
            var topics = options.containsKey("topic") ? List.of(option("topic", "")) : admin.listTopics().names().get();
            print("{\"event\":\"metadata\"," + cluster(admin) + ",\"topics\":" + topics(admin, topics) + "}");
        }
    }

    private static void admin(String action) throws Exception {
        try (Admin admin = Admin.create(common())) {
            switch (action) {
                case "create-topic" -> {
                    var topic = new NewTopic(option("topic", ""), (int) number("partitions", 3), (short) 1);
                    admin.createTopics(List.of(topic)).all().get();
                    print("{\"event\":\"created\",\"topic\":" + quoted(topic.name()) + "}");
                }
                case "client-metrics" -> ClientMetrics.subscribe(admin);
                case "describe-cluster" -> print("{\"event\":\"cluster\"," + cluster(admin) + "}");
                case "describe-topics" -> print("{\"event\":\"topics\",\"topics\":"
                    + topics(admin, List.of(option("topic", ""))) + "}");
                case "list-groups" -> {
                    var groups = new ArrayList<String>();
                    // listGroups is newer than the oldest client that this is run with.
                    admin.listConsumerGroups().all().get().forEach(group -> groups.add(group.groupId()));
                    print("{\"event\":\"groups\",\"groups\":" + strings(groups) + "}");
                }
                default -> throw new IllegalArgumentException("unknown action: " + action);
            }
        }
    }

    private static String cluster(Admin admin) throws Exception {
        var cluster = admin.describeCluster();
        var brokers = new ArrayList<String>();
        for (Node node : cluster.nodes().get()) {
            brokers.add("{\"id\":" + node.id() + ",\"host\":" + quoted(node.host()) + ",\"port\":" + node.port()
                + ",\"rack\":" + quoted(node.rack()) + "}");
        }
        return "\"cluster_id\":" + quoted(cluster.clusterId().get()) + ",\"controller\":"
            + cluster.controller().get().id() + ",\"brokers\":" + brokers;
    }

    private static String topics(Admin admin, Collection<String> names) throws Exception {
        var topics = new ArrayList<String>();
        for (TopicDescription topic : admin.describeTopics(names).allTopicNames().get().values()) {
            var partitions = new ArrayList<String>();
            for (var partition : topic.partitions()) {
                var replicas = partition.replicas().stream().map(Node::id).toList();
                partitions.add("{\"id\":" + partition.partition() + ",\"leader\":" + partition.leader().id()
                    + ",\"replicas\":" + replicas + "}");
            }
            topics.add("{\"name\":" + quoted(topic.name()) + ",\"partitions\":" + partitions + "}");
        }
        return topics.toString();
    }

    static Properties common() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", option("bootstrap", ""));
        settings.put("client.id", option("client-id", "java"));
        if (options.containsKey("metadata-age")) settings.put("metadata.max.age.ms", option("metadata-age", ""));
        boolean tls = options.containsKey("tls-ca");
        String sasl = option("sasl", "");
        settings.put("security.protocol", (sasl.isEmpty() ? "" : "SASL_") + (tls ? "SSL" : "PLAINTEXT"));
        if (tls) {
            settings.put("ssl.truststore.type", "PEM");
            settings.put("ssl.truststore.location", option("tls-ca", ""));
        }
        if (sasl.equals("oauthbearer")) {
            // Kafka's unsecured token, for tests: there is no login callback, so its default is taken.
            settings.put("sasl.mechanism", "OAUTHBEARER");
            settings.put("sasl.jaas.config", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
                + " required unsecuredLoginStringClaim_sub=\"" + option("user", "") + "\";");
        } else if (!sasl.isEmpty()) {
            boolean plain = sasl.equals("plain");
            String login = plain ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
            settings.put("sasl.mechanism", plain ? "PLAIN" : "SCRAM-SHA-256");
            settings.put("sasl.jaas.config", "org.apache.kafka.common.security." + login + " required username=\""
                + option("user", "") + "\" password=\"" + option("password", "") + "\";");
        }
        return settings;
    }

    static String option(String name, String otherwise) {
        return options.getOrDefault(name, otherwise);
    }

    static long number(String name, long otherwise) {
        return options.containsKey(name) ? Long.parseLong(options.get(name)) : otherwise;
    }

    private static String key(long n) {
        return "k" + n % 16;
    }

    private static String value(long n) {
        String head = option("client-id", "java") + "|" + n + "|";
        return head + "x".repeat((int) Math.max(0, number("size", 100) - head.length()));
    }

    private static void pace(long n, double rate) throws InterruptedException {
        if (rate <= 0) return;
        long due = start + (long) (n * 1000 / rate);
        while (!stopping && System.currentTimeMillis() < due) Thread.sleep(Math.min(50, due - System.currentTimeMillis() + 1));
    }

    static void record(ConsumerRecord<String, String> record) {
        int second = record.value().lastIndexOf('|');
        int first = record.value().lastIndexOf('|', second - 1);
        print("{\"event\":\"record\",\"producer\":" + quoted(record.value().substring(0, first)) + ",\"seq\":"
            + record.value().substring(first + 1, second) + ",\"partition\":" + record.partition() + ",\"offset\":"
            + record.offset() + "}");
    }

    static void enough(long seen, long wanted) {
        if (options.containsKey("count") && seen < wanted && !stopping) {
            error(new IllegalStateException("timed out with " + seen + " of " + wanted + " records"));
        }
    }

    static void done(long count) {
        print("{\"event\":\"done\",\"count\":" + count + ",\"errors\":" + errors.get() + ",\"ms\":"
            + (System.currentTimeMillis() - start) + "}");
    }

    static void error(Throwable failure) {
        errors.incrementAndGet();
        print("{\"error\":" + quoted(failure.toString()) + "}");
    }

    static void print(String line) {
        System.out.println(line);
    }

    private static String strings(Collection<?> values) {
        return values.stream().map(value -> quoted(value.toString())).toList().toString();
    }

    private static String quoted(String text) {
        if (text == null) return "null";
        var out = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') out.append('\\').append(letter);
            else if (letter < ' ') out.append(String.format("\\u%04x", (int) letter));
            else out.append(letter);
        }
        return out.append('"').toString();
    }
}
