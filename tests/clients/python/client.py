"""The Python clients of the tests: --lib librdkafka (confluent-kafka), kafka-python or aiokafka.

Command line and output: tests/clients/README.md.
"""

import asyncio
import json
import logging
import signal
import sys
import time

START = time.monotonic()
ERRORS = 0
stopping = False


def parse(words):
    """The command, its action and its options."""
    command, action, options, at = (words or [""])[0], "", {}, 1
    while at < len(words):
        word = words[at]
        if not word.startswith("--"):
            action = word
        elif at + 1 < len(words) and not words[at + 1].startswith("--"):
            at += 1
            options[word[2:]] = words[at]
        else:
            options[word[2:]] = "yes"
        at += 1
    return command, action, options


COMMAND, ACTION, OPTIONS = parse(sys.argv[1:])
TOPIC = OPTIONS.get("topic", "")
GROUP = OPTIONS.get("group", "test")
CLIENT_ID = OPTIONS.get("client-id", "python")
COUNT = int(OPTIONS.get("count", 1 << 62))
TIMEOUT = float(OPTIONS.get("timeout", 60))
BATCH = int(OPTIONS.get("batch", 100))
TRANSACTION = OPTIONS.get("transactional")
IDEMPOTENT = "idempotent" in OPTIONS or bool(TRANSACTION)


def show(**line):
    print(json.dumps(line, separators=(",", ":")), flush=True)


def fail(error):
    global ERRORS
    ERRORS += 1
    show(error=str(error) or repr(error))


def done(count):
    show(event="done", count=count, errors=ERRORS, ms=round((time.monotonic() - START) * 1000))


def acked(seq, partition, offset):
    show(event="acked", seq=seq, partition=partition, offset=offset)


def record(value, partition, offset):
    producer, seq, _ = value.decode().rsplit("|", 2)
    show(event="record", producer=producer, seq=int(seq), partition=partition, offset=offset)


def moved(event, partitions):
    show(event=event, partitions=[f"{p.topic}-{p.partition}" for p in partitions])


def enough(seen):
    if "count" in OPTIONS and seen < COUNT and not stopping:
        fail(f"timed out with {seen} of {COUNT} records")


def key(n):
    return b"k%d" % (n % 16)


def value(n):
    return f"{CLIENT_ID}|{n}|".encode().ljust(int(OPTIONS.get("size", 100)), b"x")


def due(n):
    """Seconds until the n-th record may be sent."""
    rate = float(OPTIONS.get("rate", 0))
    return max(0.0, START + n / rate - time.monotonic()) if rate else 0.0


def late():
    return stopping or time.monotonic() - START > TIMEOUT


def acks():
    given = OPTIONS.get("acks", "all")
    return given if given == "all" else int(given)


def stop(*_):
    global stopping
    stopping = True


class Confluent:
    """confluent-kafka: the librdkafka of its wheel."""

    def settings(self, **more):
        found = {"bootstrap.servers": OPTIONS["bootstrap"], "client.id": CLIENT_ID, **more}
        sasl, tls = OPTIONS.get("sasl"), OPTIONS.get("tls-ca")
        found["security.protocol"] = ("sasl_" if sasl else "") + ("ssl" if tls else "plaintext")
        if tls:
            found["ssl.ca.location"] = tls
        if sasl == "oauthbearer":
            found["sasl.mechanism"] = "OAUTHBEARER"
            found["enable.sasl.oauthbearer.unsecure.jwt"] = True
            found["sasl.oauthbearer.config"] = "principal=" + OPTIONS.get("user", "")
        elif sasl:
            found["sasl.mechanism"] = "PLAIN" if sasl == "plain" else "SCRAM-SHA-256"
            found["sasl.username"] = OPTIONS.get("user", "")
            found["sasl.password"] = OPTIONS.get("password", "")
        if "metadata-age" in OPTIONS:
            age = int(OPTIONS["metadata-age"])
            found["topic.metadata.refresh.interval.ms"] = age
            found["metadata.max.age.ms"] = age
        if "debug" in OPTIONS:
            found["debug"] = OPTIONS["debug"]
        if (size := int(OPTIONS.get("size", 0))) > 1_000_000:
            found["message.max.bytes"] = size + 10_000
            found["receive.message.max.bytes"] = size + 100_000_000
        return found

    def produce(self):
        from confluent_kafka import Producer

        count = 0

        def report(n):
            def on_delivery(error, message):
                nonlocal count
                if error:
                    fail(error)
                else:
                    count += 1
                    acked(n, message.partition(), message.offset())

            return on_delivery

        more = {"transactional.id": TRANSACTION} if TRANSACTION else {}
        producer = Producer(
            self.settings(
                **{"acks": acks(), "enable.idempotence": IDEMPOTENT, "linger.ms": 5, **more},
                **{"message.timeout.ms": int(TIMEOUT * 1000)},
            )
        )
        if TRANSACTION:
            producer.init_transactions(TIMEOUT)
        n = 0
        while n < COUNT and not stopping:
            if TRANSACTION and n % BATCH == 0:
                if n:
                    producer.commit_transaction(TIMEOUT)
                producer.begin_transaction()
            while not stopping and due(n):
                producer.poll(min(0.05, due(n)))
            try:
                producer.produce(TOPIC, value(n), key(n), on_delivery=report(n))
            except BufferError:
                producer.poll(0.1)
                continue
            producer.poll(0)
            n += 1
        if TRANSACTION and n:
            producer.commit_transaction(TIMEOUT)
        if producer.flush(TIMEOUT):
            fail("records were left in the queue")
        done(count)

    def consume(self):
        from confluent_kafka import Consumer

        more = {"client.rack": OPTIONS["rack"]} if "rack" in OPTIONS else {}
        if OPTIONS.get("protocol") == "consumer":
            more["group.protocol"] = "consumer"
        consumer = Consumer(
            self.settings(**{"group.id": GROUP, "auto.offset.reset": "earliest", **more})
        )
        consumer.subscribe(
            [TOPIC],
            on_assign=lambda _, partitions: moved("assigned", partitions),
            on_revoke=lambda _, partitions: moved("revoked", partitions),
        )
        seen = 0
        while seen < COUNT and not late():
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                fail(message.error())
                continue
            record(message.value(), message.partition(), message.offset())
            seen += 1
        consumer.close()
        enough(seen)
        done(seen)

    def admin(self):
        from confluent_kafka.admin import AdminClient

        return AdminClient(self.settings())

    def view(self, **line):
        found = self.admin().list_topics(TOPIC or None, timeout=TIMEOUT)
        brokers = [
            {"id": b.id, "host": b.host, "port": b.port, "rack": None}
            for b in found.brokers.values()
        ]
        topics = [
            {
                "name": topic.topic,
                "partitions": [
                    {"id": p.id, "leader": p.leader, "replicas": p.replicas}
                    for p in topic.partitions.values()
                ],
            }
            for topic in found.topics.values()
        ]
        show(
            **line,
            cluster_id=found.cluster_id,
            controller=found.controller_id,
            brokers=brokers,
            topics=topics,
        )

    def metadata(self):
        self.view(event="metadata")

    def do(self, action):
        from confluent_kafka.admin import NewTopic

        admin = self.admin()  # held: its futures fail when it is collected
        if action == "create-topic":
            topic = NewTopic(TOPIC, int(OPTIONS.get("partitions", 3)), 1)
            for future in admin.create_topics([topic]).values():
                future.result(TIMEOUT)
            show(event="created", topic=TOPIC)
        elif action == "describe-cluster":
            found = admin.describe_cluster().result(TIMEOUT)
            brokers = [
                {"id": n.id, "host": n.host, "port": n.port, "rack": n.rack} for n in found.nodes
            ]
            show(
                event="cluster",
                cluster_id=found.cluster_id,
                controller=found.controller.id,
                brokers=brokers,
            )
        elif action == "describe-topics":
            self.view(event="topics")
        elif action == "list-groups":
            found = admin.list_consumer_groups().result(TIMEOUT)
            show(event="groups", groups=[g.group_id for g in found.valid])
        else:
            raise ValueError(f"unknown action: {action}")


class KafkaPython:
    """kafka-python."""

    def settings(self, **more):
        found = {"bootstrap_servers": OPTIONS["bootstrap"], "client_id": CLIENT_ID, **more}
        sasl, tls = OPTIONS.get("sasl"), OPTIONS.get("tls-ca")
        found["security_protocol"] = ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT")
        if tls:
            found["ssl_cafile"] = tls
        if sasl:
            found["sasl_mechanism"] = "PLAIN" if sasl == "plain" else "SCRAM-SHA-256"
            found["sasl_plain_username"] = OPTIONS.get("user", "")
            found["sasl_plain_password"] = OPTIONS.get("password", "")
        if "metadata-age" in OPTIONS:
            found["metadata_max_age_ms"] = int(OPTIONS["metadata-age"])
        return found

    def produce(self):
        from kafka import KafkaProducer

        count = 0

        def good(n):
            def on_ack(where):
                nonlocal count
                count += 1
                acked(n, where.partition, where.offset)

            return on_ack

        more = {"transactional_id": TRANSACTION} if TRANSACTION else {}
        producer = KafkaProducer(
            **self.settings(acks=acks(), enable_idempotence=IDEMPOTENT, linger_ms=5, **more)
        )
        if TRANSACTION:
            producer.init_transactions()
        n = 0
        while n < COUNT and not stopping:
            if TRANSACTION and n % BATCH == 0:
                if n:
                    producer.commit_transaction()
                producer.begin_transaction()
            while not stopping and due(n):
                time.sleep(min(0.05, due(n)))
            producer.send(TOPIC, value(n), key(n)).add_callback(good(n)).add_errback(fail)
            n += 1
        if TRANSACTION and n:
            producer.commit_transaction()
        producer.flush(TIMEOUT)
        producer.close(TIMEOUT)
        done(count)

    def consume(self):
        from kafka import ConsumerRebalanceListener, KafkaConsumer

        class Listener(ConsumerRebalanceListener):
            def on_partitions_assigned(self, assigned):
                moved("assigned", assigned)

            def on_partitions_revoked(self, revoked):
                moved("revoked", revoked)

        # Why a group moves, for the test's log.
        logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.WARNING)
        logging.getLogger("kafka.coordinator").setLevel(OPTIONS.get("debug", "INFO"))
        consumer = KafkaConsumer(
            **self.settings(
                group_id=GROUP, auto_offset_reset="earliest", isolation_level="read_committed"
            )
        )
        consumer.subscribe([TOPIC], listener=Listener())
        # Asks for the topic's metadata before it joins. A leader that learns the partitions only after it has assigned
        # none joins once more, and kafka-python 3.0.12 forgets that if poll() returns before SyncGroup is answered.
        consumer.partitions_for_topic(TOPIC)
        seen = 0
        while seen < COUNT and not late():
            for records in consumer.poll(200).values():
                for one in records:
                    record(one.value, one.partition, one.offset)
                    seen += 1
        consumer.close()
        enough(seen)
        done(seen)

    def admin(self):
        from kafka.admin import KafkaAdminClient

        return KafkaAdminClient(**self.settings())

    def cluster(self, admin):
        found = admin.describe_cluster()
        brokers = [
            {
                "id": b.get("node_id", b.get("broker_id")),
                "host": b["host"],
                "port": b["port"],
                "rack": b.get("rack"),
            }
            for b in found["brokers"]
        ]
        return {
            "cluster_id": found.get("cluster_id"),
            "controller": found.get("controller_id"),
            "brokers": brokers,
        }

    def topics(self, admin):
        return [
            {
                "name": topic.get("name", topic.get("topic")),
                "partitions": [
                    {
                        "id": p.get("partition_index", p.get("partition")),
                        "leader": p.get("leader_id", p.get("leader")),
                        "replicas": p.get("replica_nodes", p.get("replicas")),
                    }
                    for p in topic["partitions"]
                ],
            }
            for topic in admin.describe_topics([TOPIC] if TOPIC else None)
        ]

    def metadata(self):
        admin = self.admin()
        show(event="metadata", **self.cluster(admin), topics=self.topics(admin))
        admin.close()

    def do(self, action):
        from kafka.admin import NewTopic

        admin = self.admin()
        if action == "create-topic":
            admin.create_topics([NewTopic(TOPIC, int(OPTIONS.get("partitions", 3)), 1)])
            show(event="created", topic=TOPIC)
        elif action == "describe-cluster":
            show(event="cluster", **self.cluster(admin))
        elif action == "describe-topics":
            show(event="topics", topics=self.topics(admin))
        elif action == "list-groups":
            found = admin.list_groups()
            names = [g["group_id"] if isinstance(g, dict) else g[0] for g in found]
            show(event="groups", groups=names)
        else:
            raise ValueError(f"unknown action: {action}")
        admin.close()


class Aio:
    """aiokafka."""

    settings = KafkaPython.settings

    def safe(self, **more):
        found = self.settings(**more)
        if found.pop("ssl_cafile", None):
            from aiokafka.helpers import create_ssl_context

            found["ssl_context"] = create_ssl_context(cafile=OPTIONS["tls-ca"])
        return found

    def produce(self):
        asyncio.run(self._produce())

    async def _produce(self):
        from aiokafka import AIOKafkaProducer

        count = 0
        more = {"transactional_id": TRANSACTION} if TRANSACTION else {}
        producer = AIOKafkaProducer(
            **self.safe(acks=acks(), enable_idempotence=IDEMPOTENT, linger_ms=5, **more)
        )

        def report(n):
            def on_done(future):
                nonlocal count
                if future.exception():
                    fail(future.exception())
                    return
                where = future.result()
                count += 1
                acked(n, where.partition if where else -1, where.offset if where else -1)

            return on_done

        await producer.start()
        n = 0
        while n < COUNT and not stopping:
            if TRANSACTION and n % BATCH == 0:
                if n:
                    await producer.commit_transaction()
                await producer.begin_transaction()
            while not stopping and due(n):
                await asyncio.sleep(min(0.05, due(n)))
            (await producer.send(TOPIC, value(n), key(n))).add_done_callback(report(n))
            n += 1
        if TRANSACTION and n:
            await producer.commit_transaction()
        await producer.stop()
        await asyncio.sleep(0)  # the last callbacks
        done(count)

    def consume(self):
        asyncio.run(self._consume())

    async def _consume(self):
        from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

        class Listener(ConsumerRebalanceListener):
            async def on_partitions_assigned(self, assigned):
                moved("assigned", assigned)

            async def on_partitions_revoked(self, revoked):
                moved("revoked", revoked)

        consumer = AIOKafkaConsumer(
            **self.safe(
                group_id=GROUP, auto_offset_reset="earliest", isolation_level="read_committed"
            )
        )
        consumer.subscribe([TOPIC], listener=Listener())
        await consumer.start()
        seen = 0
        while seen < COUNT and not late():
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for one in records:
                    record(one.value, one.partition, one.offset)
                    seen += 1
        await consumer.stop()
        enough(seen)
        done(seen)

    def metadata(self):
        asyncio.run(self._admin("metadata"))

    def do(self, action):
        asyncio.run(self._admin(action))

    async def _admin(self, action):
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        admin = AIOKafkaAdminClient(**self.safe())
        await admin.start()
        try:
            if action == "create-topic":
                await admin.create_topics([NewTopic(TOPIC, int(OPTIONS.get("partitions", 3)), 1)])
                show(event="created", topic=TOPIC)
            elif action == "list-groups":
                show(event="groups", groups=[g[0] for g in await admin.list_consumer_groups()])
            elif action in ("metadata", "describe-cluster", "describe-topics"):
                await self._view(admin, action)
            else:
                raise ValueError(f"unknown action: {action}")
        finally:
            await admin.close()

    async def _view(self, admin, action):
        found = await admin.describe_cluster()
        brokers = [
            {"id": b["node_id"], "host": b["host"], "port": b["port"], "rack": b.get("rack")}
            for b in found["brokers"]
        ]
        topics = [
            {
                "name": topic["topic"],
                "partitions": [
                    {"id": p["partition"], "leader": p["leader"], "replicas": p["replicas"]}
                    for p in topic["partitions"]
                ],
            }
            for topic in await admin.describe_topics([TOPIC] if TOPIC else None)
        ]
        event = {"describe-cluster": "cluster", "describe-topics": "topics"}.get(action, action)
        show(
            event=event,
            cluster_id=found.get("cluster_id"),
            controller=found.get("controller_id"),
            brokers=brokers,
            topics=topics,
        )


def main():
    signal.signal(signal.SIGTERM, stop)
    try:
        libs = {"librdkafka": Confluent, "kafka-python": KafkaPython, "aiokafka": Aio}
        client = libs[OPTIONS.get("lib", "librdkafka")]()
        if COMMAND == "admin":
            client.do(ACTION)
        else:
            {"produce": client.produce, "consume": client.consume, "metadata": client.metadata}[
                COMMAND
            ]()
    except Exception as error:  # whatever reaches the application is the test's business
        fail(f"{type(error).__name__}: {error}")
    sys.exit(1 if ERRORS else 0)


main()
