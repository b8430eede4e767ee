"""The gateway beside HAProxy (TCP mode) and no proxy at all, before one real Kafka broker.

    scripts/bench_kafka.py PATH/TO/fingerpost [RECORDS] [IDLE-CONNECTIONS]

Throughput is Kafka's own ProducerPerformance and ConsumerPerformance (1,000-byte records, acks=1, three partitions), in
rounds that take the three paths in turn; the table has the medians. CPU is the proxy's own, user and system, from
/proc/PID/stat. Round trips are small requests that pass through (Heartbeat of an unknown group), each path in turn,
while a producer loads that broker through the same path at half its own top rate. Memory is the growth of RSS."""

import os
import pathlib
import random
import resource
import shutil
import socket
import statistics
import string
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBS = ROOT / ".clients/kafka/libs"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"
ROUNDS = 3
SIZE = 1000
TRIPS = 3000
MIB = 1024 * 1024


def find(tool):
    found = shutil.which(tool, path=PATH)
    if not found:
        sys.exit(f"bench-kafka: {tool} is not installed: run scripts/setup")
    return found


def free_port():
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return tcp.getsockname()[1]


def wait(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench-kafka: waited {seconds} s in vain for {what}")
        time.sleep(0.05)


def serves(port):
    with socket.socket() as tcp:
        return tcp.connect_ex(("127.0.0.1", port)) == 0


class Bed:
    """Broker, Redis, gateway and HAProxy; all end with it."""

    def __init__(self, program, folder, count):
        self.folder, self.children = folder, []
        self.paths = {name: free_port() for name in ("direct", "haproxy", "gateway")}
        self.behind = {name: free_port() for name in ("direct", "haproxy", "gateway")}
        self.behind["direct"] = self.paths["direct"]
        self.broker()
        redis = free_port()
        self.start("redis", [find("redis-server"), "--port", str(redis), "--bind", "127.0.0.1", "--save", ""])
        wait("Redis", lambda: serves(redis))
        gateway, haproxy = self.paths["gateway"], self.paths["haproxy"]
        self.pids = {"gateway": self.start("gateway", [
            program, "agent", "--cluster", "prod", "--group", "vpc-1", "--agent", "a-1", "--zone", "us-east-1a",
            "--listen", f"127.0.0.1:{gateway}", "--upstream", f"127.0.0.1:{self.behind['gateway']}",
            "--registry", f"redis://127.0.0.1:{redis}"])}
        (folder / "haproxy.cfg").write_text(f"""
global
    maxconn {count + 500}
    nbthread 2
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
listen kafka
    bind 127.0.0.1:{haproxy}
    server broker 127.0.0.1:{self.behind['haproxy']}
""")
        self.pids["haproxy"] = self.start("haproxy", [find("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")])
        for port in (gateway, haproxy):
            wait(f"port {port}", lambda port=port: serves(port))
        time.sleep(2)  # the agent is in its own registry

    def broker(self):
        controller = free_port()
        names = {"direct": "PLAINTEXT", "haproxy": "HAPROXY", "gateway": "GATEWAY"}
        listeners = ",".join(f"{names[n]}://127.0.0.1:{p}" for n, p in self.behind.items())
        # Each path's clients are told of that path; the gateway tells its own address, whatever stands here.
        told = ",".join(f"{names[n]}://127.0.0.1:{p}" for n, p in self.paths.items())
        (self.folder / "server.properties").write_text(f"""
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,HAPROXY:PLAINTEXT,GATEWAY:PLAINTEXT
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={told}
log.dirs={self.folder}/data
num.partitions=3
offsets.topic.replication.factor=1
auto.create.topics.enable=true
group.initial.rebalance.delay.ms=0
""")
        java = [find("java"), "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{LIBS}/*"]
        cluster = "".join(random.choices(string.ascii_letters, k=21)) + "A"
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "--standalone", "--cluster-id", cluster,
                        "--config", str(self.folder / "server.properties")], check=True, capture_output=True)
        self.start("broker", [*java, "kafka.Kafka", str(self.folder / "server.properties")])
        wait("the broker", lambda: serves(self.paths["direct"]))
        time.sleep(2)

    def start(self, name, command):
        log = (self.folder / f"{name}.log").open("w")
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.children.append(child)
        return child.pid

    def stop(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()

    def cpu(self, path):
        if path not in self.pids:
            return 0.0
        fields = pathlib.Path(f"/proc/{self.pids[path]}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self, path):
        for line in pathlib.Path(f"/proc/{self.pids[path]}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def tool(self, path, name, *arguments):
        command = [find("java"), "-Xmx300m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{LIBS}/*",
                   f"org.apache.kafka.tools.{name}", "--bootstrap-server", f"127.0.0.1:{self.paths[path]}", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def produce(bed, path, topic, records, rate=-1):
    return bed.tool(path, "ProducerPerformance", "--topic", topic, "--num-records", str(records), "--record-size",
                    str(SIZE), "--throughput", str(rate), "--command-property", "acks=1")


def ended(child):
    out, err = child.communicate()
    if child.returncode != 0 or not out.strip():
        sys.exit(f"bench-kafka: {' '.join(child.args[-12:])}\n{out}{err}")
    return out.strip().splitlines()[-1]


def throughput(bed, path, records, results):
    """One round of one path: MiB/s and the proxy's CPU seconds per MiB, for producing and consuming."""
    topic = f"bench-{path}-{len(results[path])}"
    mib = records * SIZE / MIB
    before = bed.cpu(path)
    line = ended(produce(bed, path, topic, records))
    made = float(line.split("records/sec")[0].split(",")[-1].strip().split()[0]) * SIZE / MIB
    middle = bed.cpu(path)
    line = ended(bed.tool(path, "ConsumerPerformance", "--topic", topic, "--num-records", str(records),
                          "--hide-header"))
    # start, end, data, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s
    taken = float(line.split(",")[8])
    results[path].append((made, (middle - before) / mib, taken, (bed.cpu(path) - middle) / mib))


def request(api, version, correlation, body):
    header = struct.pack(">hhih5s", api, version, correlation, 5, b"bench")
    return struct.pack(">i", len(header) + len(body)) + header + body


def trip(connection, message):
    start = time.perf_counter()
    connection.sendall(message)
    length = struct.unpack(">i", exactly(connection, 4))[0]
    exactly(connection, length)
    return (time.perf_counter() - start) * 1000


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def round_trips(bed, loaded, rate):
    """Milliseconds of small round trips on all paths, in turn, while a producer loads one path."""
    load = produce(bed, loaded, f"load-{loaded}", int(rate * 12), int(rate)) if loaded else None
    if load:
        time.sleep(3)
    # Heartbeat v0: group, generation, member.
    message = request(12, 0, 7, struct.pack(">h4sih1s", 4, b"none", 1, 1, b"m"))
    connections = {path: connect(port) for path, port in bed.paths.items()}
    times = {path: [] for path in bed.paths}
    for n in range(TRIPS):
        for path, connection in connections.items():
            times[path].append(trip(connection, message))
        if load and load.poll() is not None:
            break
    for connection in connections.values():
        connection.close()
    if load:
        ended(load)
    return times


def idle(bed, path, count):
    """Bytes of the proxy per connection that has asked once and is silent."""
    before, held = bed.rss(path), []
    try:
        for n in range(count):
            connection = connect(bed.paths[path])
            trip(connection, request(18, 0, n, b""))
            held.append(connection)
        time.sleep(3)
        return (bed.rss(path) - before) / count
    finally:
        for connection in held:
            connection.close()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main():
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    program = os.path.abspath(sys.argv[1])
    records = int(sys.argv[2]) if len(sys.argv) > 2 else 300_000
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard
    if os.getuid() == 0:
        most = max(hard, 2 * count + 2000)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        most = soft
    if most < 2 * count + 500:
        count = (most - 500) // 2
        print(f"bench-kafka: {most} open files are allowed: {count} idle connections")
    with tempfile.TemporaryDirectory() as temporary:
        bed = Bed(program, pathlib.Path(temporary), count)
        try:
            measure(bed, records, count)
        finally:
            bed.stop()


def measure(bed, records, count):
    paths = list(bed.paths)
    print(f"load average before: {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores; {records} records of {SIZE} bytes, "
          f"{ROUNDS} rounds", flush=True)
    results = {path: [] for path in paths}
    ended(produce(bed, "direct", "warm-up", records // 2))
    for n in range(ROUNDS):
        for path in paths[n % 3:] + paths[:n % 3]:
            throughput(bed, path, records, results)
    median = {p: [statistics.median(column) for column in zip(*rows)] for p, rows in results.items()}
    base = median["direct"]
    print("\n| path | produce MiB/s | of direct | CPU ms/MiB | consume MiB/s | of direct | CPU ms/MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in paths:
        made, spent, taken, used = median[path]
        print(f"| {path} | {made:.1f} | {made / base[0]:.2f} | {spent * 1000:.2f} | {taken:.1f} | {taken / base[2]:.2f} | "
              f"{used * 1000:.2f} |")
    for name, at in (("produce", 1), ("consume", 3)):
        if median["haproxy"][at]:
            print(f"CPU per MiB, gateway / HAProxy, {name}: {median['gateway'][at] / median['haproxy'][at]:.2f}")
    rate = base[0] * MIB / SIZE / 2
    print(f"\n| round trip, ms | load | p50 | p99 | p99 less direct's |\n| --- | --- | --- | --- | --- |", flush=True)
    for loaded, label in ((None, "none"), ("gateway", f"{rate * SIZE / MIB:.0f} MiB/s by the gateway")):
        times = round_trips(bed, loaded, rate)
        direct = percentile(times["direct"], 0.99)
        for path in paths:
            p50, p99 = (percentile(times[path], share) for share in (0.5, 0.99))
            print(f"| {path} | {label} | {p50:.3f} | {p99:.3f} | {p99 - direct:+.3f} |")
    print(f"\n| memory per idle connection | bytes |\n| --- | --- |")
    for path in ("gateway", "haproxy"):
        print(f"| {path}, {count} connections | {idle(bed, path, count):.0f} |", flush=True)
        time.sleep(1)
    print(f"\nload average after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
