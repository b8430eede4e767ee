"""kcat (librdkafka of the system) behind the command line of the other clients: tests/clients/README.md.

kcat tells nothing of single deliveries: `acked` lines are printed when it ended well, without partition and offset.
"""

import json
import signal
import subprocess
import sys
import time

START = time.monotonic()
ERRORS = 0
stopping = False


def parse(words):
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
CLIENT_ID = OPTIONS.get("client-id", "kcat")
TOPIC = OPTIONS.get("topic", "")
COUNT = int(OPTIONS.get("count", 1 << 62))
TIMEOUT = float(OPTIONS.get("timeout", 60))


def show(**line):
    print(json.dumps(line, separators=(",", ":")), flush=True)


def fail(text):
    global ERRORS
    ERRORS += 1
    show(error=text)


def done(count):
    show(event="done", count=count, errors=ERRORS, ms=round((time.monotonic() - START) * 1000))


def kcat(*more):
    settings = [f"client.id={CLIENT_ID}"]
    sasl, tls = OPTIONS.get("sasl"), OPTIONS.get("tls-ca")
    security = ("sasl_" if sasl else "") + ("ssl" if tls else "plaintext")
    settings.append(f"security.protocol={security}")
    if tls:
        settings.append(f"ssl.ca.location={tls}")
    if sasl:
        settings.append("sasl.mechanism=" + ("PLAIN" if sasl == "plain" else "SCRAM-SHA-256"))
        settings.append("sasl.username=" + OPTIONS.get("user", ""))
        settings.append("sasl.password=" + OPTIONS.get("password", ""))
    if "metadata-age" in OPTIONS:
        settings.append("topic.metadata.refresh.interval.ms=" + OPTIONS["metadata-age"])
        settings.append("metadata.max.age.ms=" + OPTIONS["metadata-age"])
    words = ["kcat", "-q", "-b", OPTIONS["bootstrap"], *more]
    for setting in settings:
        words += ["-X", setting]
    return words


def start(words, **pipes):
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, **pipes)

    def stop(*_):
        global stopping
        stopping = True
        if COMMAND == "consume":
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    return child


def produce():
    more = ["-X", "acks=" + OPTIONS.get("acks", "all"), "-X", f"message.timeout.ms={TIMEOUT * 1000:.0f}"]
    if "idempotent" in OPTIONS:
        more += ["-X", "enable.idempotence=true"]
    if "transactional" in OPTIONS:
        more += ["-X", "transactional.id=" + OPTIONS["transactional"]]
    child = start(kcat("-P", "-t", TOPIC, "-K", "\t", *more), stdin=subprocess.PIPE)
    rate, size, n = float(OPTIONS.get("rate", 0)), int(OPTIONS.get("size", 100)), 0
    try:
        while n < COUNT and not stopping:
            if rate:
                time.sleep(max(0.0, START + n / rate - time.monotonic()))
            child.stdin.write(f"k{n % 16}\t" + f"{CLIENT_ID}|{n}|".ljust(size, "x") + "\n")
            if rate:
                child.stdin.flush()
            n += 1
    except BrokenPipeError:
        pass  # it says why
    _, said = child.communicate()
    if child.returncode:
        fail(said.strip() or f"kcat ended with {child.returncode}")
        return done(0)
    for seq in range(n):
        show(event="acked", seq=seq, partition=-1, offset=-1)
    done(n)


def consume():
    more = ["-X", "auto.offset.reset=earliest", "-X", "enable.partition.eof=false"]
    if "count" in OPTIONS:
        more += ["-c", OPTIONS["count"]]
    words = kcat("-u", "-f", r"%p %o %s\n", *more, "-G", OPTIONS.get("group", "test"), TOPIC)
    child = start(["timeout", "--signal=TERM", str(TIMEOUT), *words], stdout=subprocess.PIPE)
    seen = 0
    for line in child.stdout:
        partition, offset, value = line.split(" ", 2)
        producer, seq, _ = value.rsplit("|", 2)
        show(event="record", producer=producer, seq=int(seq), partition=int(partition), offset=int(offset))
        seen += 1
    said = child.stderr.read()
    child.wait()
    if "count" in OPTIONS and seen < COUNT and not stopping:
        fail(f"timed out with {seen} of {COUNT} records: {said.strip()}")
    done(seen)


def view(event):
    words = kcat("-L", "-J", *(["-t", TOPIC] if TOPIC else []))
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True, timeout=TIMEOUT).stdout)
    brokers = []
    for broker in found["brokers"]:
        host, port = broker["name"].rsplit(":", 1)
        brokers.append({"id": broker["id"], "host": host, "port": int(port), "rack": None})
    topics = [
        {
            "name": topic["topic"],
            "partitions": [
                {"id": p["partition"], "leader": p["leader"], "replicas": [r["id"] for r in p["replicas"]]}
                for p in topic["partitions"]
            ],
        }
        for topic in found["topics"]
    ]
    controller = found["controllerid"]
    show(event=event, cluster_id=None, controller=controller, brokers=brokers, topics=topics)


def main():
    try:
        if COMMAND == "produce":
            produce()
        elif COMMAND == "consume":
            consume()
        elif COMMAND == "metadata":
            view("metadata")
        elif COMMAND == "admin" and ACTION in ("describe-cluster", "describe-topics"):
            view(ACTION.replace("describe-", ""))
        else:
            fail(f"kcat can't do {COMMAND} {ACTION}")
    except subprocess.CalledProcessError as error:
        fail(error.stderr.strip() or str(error))
    except Exception as error:  # whatever reaches the application is the test's business
        fail(f"{type(error).__name__}: {error}")
    sys.exit(1 if ERRORS else 0)


main()
