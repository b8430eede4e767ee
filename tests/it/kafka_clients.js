// What kafkajs sees of a listener: prints one JSON object.
// Usage: kafka_clients.js HOST:PORT CLIENT_ID
const { Kafka, logLevel } = require("kafkajs");

async function main() {
  const [bootstrap, clientId] = process.argv.slice(2);
  const kafka = new Kafka({ brokers: [bootstrap], clientId, logLevel: logLevel.ERROR });
  const admin = kafka.admin();
  await admin.connect();
  const cluster = await admin.describeCluster();
  const metadata = await admin.fetchTopicMetadata();
  await admin.disconnect();
  const topics = metadata.topics.map((topic) => [topic.name, topic.partitions.length]);
  console.log(
    JSON.stringify({
      brokers: cluster.brokers.map((broker) => `${broker.host}:${broker.port}`).sort(),
      cluster_id: cluster.clusterId,
      controller: cluster.controller,
      topics: Object.fromEntries(topics),
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
