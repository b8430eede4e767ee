"""What Python's Kafka clients see of a listener: prints one JSON object per client.

Usage: kafka_clients.py HOST:PORT CLIENT_ID
"""

import json
import sys

from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient

bootstrap, client_id = sys.argv[1:3]


def librdkafka():
    admin = AdminClient({"bootstrap.servers": bootstrap, "client.id": client_id})
    metadata = admin.list_topics(timeout=10)
    described = admin.describe_cluster().result(timeout=10)
    return {
        "brokers": sorted(f"{b.host}:{b.port}" for b in metadata.brokers.values()),
        "described": sorted(f"{node.host}:{node.port}" for node in described.nodes),
        "cluster_id": metadata.cluster_id,
        "controller": metadata.controller_id,
        "topics": {name: len(topic.partitions) for name, topic in metadata.topics.items()},
        "leaders": sorted({p.leader for t in metadata.topics.values() for p in t.partitions.values()}),
    }


def kafka_python():
    admin = KafkaAdminClient(bootstrap_servers=bootstrap, client_id=client_id, request_timeout_ms=10_000)
    cluster = admin.describe_cluster()
    topics = admin.describe_topics(["orders"])
    admin.close()
    return {
        "brokers": sorted(f"{b['host']}:{b['port']}" for b in cluster["brokers"]),
        "cluster_id": cluster["cluster_id"],
        "controller": cluster["controller_id"],
        "topics": {t["name"]: len(t["partitions"]) for t in topics},
    }


print(json.dumps({"librdkafka": librdkafka(), "kafka-python": kafka_python()}))
