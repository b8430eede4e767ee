// Asks the cluster to collect client metrics (KIP-714). In a class of its own, since older clients lack it.

import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;

final class ClientMetrics {
    /** Every client shall push everything, as often as a broker may ask for it. */
    static void subscribe(Admin admin) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.CLIENT_METRICS, "all");
        var changes = List.of(
            new AlterConfigOp(new ConfigEntry("interval.ms", "100"), AlterConfigOp.OpType.SET),
            new AlterConfigOp(new ConfigEntry("metrics", "*"), AlterConfigOp.OpType.SET));
        admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
        Client.print("{\"event\":\"subscribed\"}");
    }
}
