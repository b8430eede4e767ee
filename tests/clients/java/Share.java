// Consumes as a member of a share group (KIP-932). In a class of its own, since older clients lack it.

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;

final class Share {
    static void consume() throws Exception {
        String group = Client.option("group", "test");
        // Where a share group starts is the broker's setting, not the client's.
        try (Admin admin = Admin.create(Client.common())) {
            var resource = new ConfigResource(ConfigResource.Type.GROUP, group);
            var entry = new ConfigEntry("share.auto.offset.reset", "earliest");
            var change = new AlterConfigOp(entry, AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all().get();
        }
        Properties settings = Client.common();
        settings.put("group.id", group);
        long wanted = Client.number("count", Long.MAX_VALUE);
        long deadline = System.currentTimeMillis() + Client.number("timeout", 60) * 1000;
        long seen = 0;
        try (var consumer = new KafkaShareConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(Client.option("topic", "")));
            while (seen < wanted && !Client.stopping && System.currentTimeMillis() < deadline) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    Client.record(record);
                    seen++;
                }
            }
        }
        Client.enough(seen, wanted);
        Client.done(seen);
    }
}
