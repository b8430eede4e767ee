"""DNS servers beside each other: CPU time per answer for a name with eight A records, UDP, one worker each.

    scripts/bench_peers.py PATH/TO/fingerpost [SECONDS] [PATH/TO/hickory-peer]

Each server in turn is pinned to core 0 and asked by dnsperf on core 1. What is compared is the server's own CPU time
(user + system, from /proc/PID/stat) per answer: unlike answers per second it does not depend on how fast the
asking side is. Peers that are not installed are named and left out (scripts/setup --peers installs them)."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

NAME = "vpc-1.prod.kafka.example"
ADDRESSES = [f"10.0.1.{n}" for n in range(11, 19)]
ZONE = """$ORIGIN kafka.example.
$TTL 5
@ IN SOA ns1 hostmaster 1 3600 600 86400 2
@ IN NS ns1
ns1 IN A 127.0.0.1
""" + "".join(f"vpc-1.prod IN A {address}\n" for address in ADDRESSES)
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"
START = 20  # seconds for a server to answer


class Absent(Exception):
    """A server that is not installed, or can't do what is compared."""


def find(tool):
    found = shutil.which(tool, path=PATH)
    if not found:
        raise Absent(f"{tool} is not installed")
    return found


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return udp.getsockname()[1]


def fingerpost(program, folder, port):
    """The group has its eight agents by HTTP heartbeats into the memory registry: the real path of an answer."""
    admin = free_port()
    (folder / "fingerpost.toml").write_text(f"""
[registry]
url = "memory:"
[dns]
listen = ["127.0.0.1:{port}"]
workers = 1
[[dns.zone]]
apex = "kafka.example"
[[cluster]]
name = "prod"
topics = {{ source = "static", list = [{{ name = "orders", partitions = 1 }}] }}
[admin]
listen = "127.0.0.1:{admin}"
""")

    def fill():
        import json
        import urllib.request
        for n, address in enumerate(ADDRESSES):
            url = f"http://127.0.0.1:{admin}/v1/clusters/prod/groups/vpc-1/agents/a-{n}"
            body = json.dumps({"v": 1, "zone": "us-east-1a", "addresses": [address], "ports": {"kafka": 9092}})
            request = urllib.request.Request(
                f"{url}?lease=10m", data=body.encode(), method="PUT", headers={"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=5).close()

    return [program, "serve", "--config", str(folder / "fingerpost.toml")], fill


def nsd(folder, port):
    (folder / "zone").write_text(ZONE)
    (folder / "nsd.conf").write_text(f"""
server:
    server-count: 1
    ip-address: 127.0.0.1
    port: {port}
    username: ""
    zonesdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    database: ""
    xfrdfile: "{folder}/xfrd"
    zonelistfile: "{folder}/zones.list"
    round-robin: yes
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: kafka.example
    zonefile: zone
""")
    return [find("nsd"), "-d", "-c", str(folder / "nsd.conf")], None


def knot(folder, port):
    (folder / "kafka.example.zone").write_text(ZONE)
    (folder / "knot.conf").write_text(f"""
server:
    listen: 127.0.0.1@{port}
    rundir: "{folder}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
log:
  - target: stderr
    any: error
template:
  - id: default
    storage: "{folder}"
    file: "%s.zone"
zone:
  - domain: kafka.example
""")
    return [find("knotd"), "-c", str(folder / "knot.conf")], None


def gdnsd(folder, port):
    (folder / "zones").mkdir()
    (folder / "zones" / "kafka.example").write_text(ZONE)
    (folder / "run").mkdir()
    (folder / "state").mkdir()
    (folder / "config").write_text(
        f"options => {{ listen => 127.0.0.1:{port}, udp_threads => 1, tcp_threads => 1,"
        f" run_dir => \"{folder}/run\", state_dir => \"{folder}/state\" }}\n")
    return [find("gdnsd"), "-c", str(folder), "start"], None


def hickory(program, port):
    if not program:
        raise Absent("benches/peers/hickory was not built")
    return [program, str(port), *ADDRESSES], None


def cpu_seconds(session):
    """User and system time of all processes of a session: some servers answer in a grandchild."""
    total, ticks = 0, os.sysconf("SC_CLK_TCK")
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        fields = text.rsplit(") ", 1)[1].split()
        if int(fields[3]) == session:
            total += int(fields[11]) + int(fields[12])
    return total / ticks


def answers(port):
    """Whether the server gives all eight addresses."""
    ran = subprocess.run([find("dig"), "@127.0.0.1", "-p", str(port), NAME, "A", "+short", "+tries=1", "+time=1"],
                         capture_output=True, text=True, check=False)
    return sorted(ran.stdout.split()) == sorted(ADDRESSES)


def measure(command, fill, folder, port, seconds):
    log = (folder / "log").open("w")
    server = subprocess.Popen([find("taskset"), "-c", "0", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              start_new_session=True)
    try:
        end = time.monotonic() + START
        filled = fill is None
        while not (filled and answers(port)):
            if server.poll() is not None or time.monotonic() > end:
                raise Absent("does not answer:\n" + (folder / "log").read_text()[-2000:])
            if not filled:
                try:
                    fill()
                    filled = True
                except OSError:
                    pass
            time.sleep(0.05)
        (folder / "queries").write_text(f"{NAME} A\n")
        run = [find("taskset"), "-c", "1", find("dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d",
               str(folder / "queries"), "-c", "8", "-q", "200", "-l"]
        subprocess.run([*run, "1"], capture_output=True, check=True)  # warm
        before = cpu_seconds(server.pid)
        ran = subprocess.run([*run, str(seconds)], capture_output=True, text=True, check=True)
        used = cpu_seconds(server.pid) - before
        completed = int(re.search(r"Queries completed:\s+(\d+)", ran.stdout).group(1))
        return used / completed * 1e6, completed / seconds
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(server.pid, signal.SIGKILL)  # what it left behind; the id stays taken until wait()
        except ProcessLookupError:
            pass
        server.wait()
        log.close()


def main():
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    program, seconds = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    peer = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else None
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: one core only: the server and dnsperf would share it")
    servers = {"fingerpost": lambda f, p: fingerpost(program, f, p), "gdnsd": gdnsd, "knot": knot, "nsd": nsd,
               "hickory": lambda _, p: hickory(peer, p)}
    print(f"{NAME}: 8 A records, UDP, one worker on core 0, dnsperf on core 1, {seconds} s each")
    print(f"{'server':<12}{'µs CPU/answer':>15}{'answers/s':>12}{'ours/theirs':>13}")
    ours, summary = None, []
    for name, prepare in servers.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder, port = pathlib.Path(temporary), free_port()
            folder.chmod(0o755)
            try:
                command, fill = prepare(folder, port)
                cost, rate = measure(command, fill, folder, port, seconds)
            except Absent as absent:
                print(f"{name:<12}  left out: {absent}")
                continue
        if name == "fingerpost":
            ours = cost
        ratio = f"{ours / cost:>13.2f}" if ours else f"{'':>13}"
        print(f"{name:<12}{cost:>15.2f}{rate:>12.0f}{ratio}", flush=True)
        beside = f", ours/theirs {ours / cost:.2f}" if ours and name != "fingerpost" else ""
        summary.append(f"=> {name}, one worker, CPU per answer | {cost:.2f} us{beside}")
    print("\n".join(summary))


if __name__ == "__main__":
    main()
