"""DNS servers beside each other, and ours against itself. Read scripts/bench-dns for how to call it.

Each server in turn is pinned to core 0 and asked by dnsperf on core 1. What is compared is the server's own CPU time
(user + system, from /proc) per answer: unlike answers per second it does not depend on how fast the asking side is.

  udp      one name with eight A records, beside other servers and beside a bare echo
  tcp      the same over 100 connections that pipeline
  signed   the same with DO, from cached signatures, against the same without
  scale    100,000 agents in 10,000 groups in Redis, 20,000 heartbeats a second, against 8 agents
  latency  quantiles at half load, with a publish every 10 ms and without
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import bench_dns_servers as servers
from bench_dns_servers import ADDRESSES, APEX, NAME, Absent, find, free_port

START = 60  # seconds for a server to answer
TICKS = os.sysconf("SC_CLK_TCK")
summary = []


def say(what, value):
    summary.append(f"=> {what} | {value}")


def times(stat):
    """User and system seconds, and the session, of a stat file of /proc; None if it is gone."""
    try:
        text = pathlib.Path(stat).read_text()
    except OSError:
        return None
    fields = text.rsplit(") ", 1)[1].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS, int(fields[3])


def session_cpu(session):
    """Of all processes of a session: some servers answer in a grandchild."""
    found = [times(stat) for stat in pathlib.Path("/proc").glob("[0-9]*/stat")]
    of_session = [one for one in found if one and one[2] == session]
    return sum(one[0] for one in of_session), sum(one[1] for one in of_session)


def worker_cpu(pid):
    """Of fingerpost's UDP workers alone: what follows the registry is left out."""
    user = system = 0.0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().startswith("dns-udp"):
                one = times(task / "stat")
                user, system = user + one[0], system + one[1]
    return user, system


def answers(port, name=NAME, want=ADDRESSES, more=()):
    ran = subprocess.run([find("dig"), "@127.0.0.1", "-p", str(port), name, "A", "+short", "+tries=1", "+time=1", *more],
                         capture_output=True, text=True, check=False)
    got = [line for line in ran.stdout.split("\n") if re.fullmatch(r"[0-9.]+", line)]
    return sorted(got) == sorted(want) if want else len(got) > 0


@contextlib.contextmanager
def running(command, fill, folder, ready):
    """Runs a server on core 0 until `ready` says that it answers."""
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([find("taskset"), "-c", "0", *command], stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + START
            filled = fill is None
            while not (filled and ready()):
                if server.poll() is not None or time.monotonic() > end:
                    raise Absent("does not answer:\n" + (folder / "log").read_text()[-2000:])
                if not filled:
                    with contextlib.suppress(OSError):
                        fill()
                        filled = True
                time.sleep(0.05)
            yield server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # what it left behind; the id stays taken until wait()
            server.wait()


def dnsperf(port, queries, seconds, *more):
    run = [find("taskset"), "-c", "1", find("dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-l",
           str(seconds), *more]
    ran = subprocess.run(run, capture_output=True, text=True, check=True)
    completed = int(re.search(r"Queries completed:\s+(\d+)", ran.stdout).group(1))
    lost = int(re.search(r"Queries lost:\s+(\d+)", ran.stdout).group(1))
    if completed == 0:
        raise Absent("no query was answered:\n" + ran.stdout[-1000:])
    return completed, lost, ran.stdout


def cost(cpu, port, queries, seconds, *more):
    """Microseconds of user and system CPU per answer, and answers a second; after a second to warm up."""
    dnsperf(port, queries, 1, *more)
    before = cpu()
    completed, _, _ = dnsperf(port, queries, seconds, *more)
    after = cpu()
    return tuple((a - b) / completed * 1e6 for a, b in zip(after, before)) + (completed / seconds,)


UDP = ("-c", "8", "-q", "200")
TCP = ("-m", "tcp", "-c", "100", "-q", "2000")


def one(prepare, seconds, load, queries=f"{NAME} A\n", ready=answers):
    """Measures one server from its start to its end."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, port = pathlib.Path(temporary), free_port()
        folder.chmod(0o755)
        command, fill = prepare(folder, port)
        (folder / "queries").write_text(queries)
        with running(command, fill, folder, lambda: ready(port)) as pid:
            return cost(lambda: session_cpu(pid), port, folder / "queries", seconds, *load)


def table(title, rows, seconds, load, ours="fingerpost", ready=None):
    print(f"\n{title}, {seconds} s each")
    print(f"{'server':<12}{'user':>8}{'system':>8}{'µs CPU/answer':>15}{'answers/s':>12}{'ours/theirs':>13}")
    base = None
    for name, prepare in rows.items():
        try:
            user, system, rate = one(prepare, seconds, load, ready=(ready or {}).get(name, answers))
        except Absent as absent:
            print(f"{name:<12}  left out: {absent}")
            continue
        total = user + system
        base = total if name == ours else base
        ratio = f"{base / total:.2f}" if base else ""
        print(f"{name:<12}{user:>8.2f}{system:>8.2f}{total:>15.2f}{rate:>12.0f}{ratio:>13}", flush=True)
        beside = f", ours/theirs {ratio}" if ratio and name != ours else ""
        say(f"{title}: {name}, CPU per answer", f"{user:.2f} + {system:.2f} us{beside}")


def peers(program, peer):
    return {
        "fingerpost": lambda folder, port: servers.fingerpost(program, folder, port),
        "gdnsd": servers.gdnsd,
        "knot": servers.knot,
        "nsd": servers.nsd,
        "powerdns": servers.powerdns,
        "hickory": lambda _, port: servers.hickory(peer, port),
    }


def udp(args):
    rows = peers(args.program, args.hickory)
    rows["echo"] = lambda _, port: servers.echo(args.echo, port)
    table("UDP, eight A records", rows, args.seconds, UDP, ready={"echo": echoes})


def echoes(port):
    """Whether a packet comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        with contextlib.suppress(OSError):
            asking.sendto(b"\0" * 12, ("127.0.0.1", port))
            return len(asking.recv(512)) == 12
    return False


def tcp(args):
    rows = {name: row for name, row in peers(args.program, None).items() if name in ("fingerpost", "knot", "nsd")}
    table("TCP, 100 connections that pipeline", rows, args.seconds, TCP)


def signed(args):
    prepare = {
        "unsigned": lambda folder, port: servers.fingerpost(args.program, folder, port),
        "signed": lambda folder, port: servers.fingerpost(args.program, folder, port, signed=True),
    }
    print(f"\nDO set, with and without signatures, {args.seconds} s each")
    totals = {}
    for name, make in prepare.items():
        user, system, rate = one(make, args.seconds, (*UDP, "-D"))
        totals[name] = user + system
        print(f"{name:<12}{user:>8.2f}{system:>8.2f}{totals[name]:>15.2f}{rate:>12.0f}", flush=True)
    say("signed answer, CPU against the unsigned one", f"{totals['signed'] / totals['unsigned']:.2f}")


def resp(*words):
    """A command as Redis reads it."""
    words = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Fleet:
    """Agents in a real Redis, kept alive by heartbeats."""

    def __init__(self, port, groups, each):
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.agents = [(group, agent) for group in range(groups) for agent in range(each)]
        self.stop = threading.Event()
        self.reader = threading.Thread(target=self.drain, daemon=True)
        self.reader.start()

    def drain(self):
        with contextlib.suppress(OSError):
            while self.connection.recv(1 << 16):
                pass

    def heartbeat(self, group, agent, weight=100):
        body = f'{{"v":1,"zone":"us-east-1{"abc"[agent % 3]}","addresses":["10.{group >> 8}.{group & 255}.{agent}"],' \
               f'"ports":{{"kafka":9092}},"weight":{weight}}}'
        return resp("SET", f"fingerpost:agent:{{prod}}:vpc-{group}:a-{agent}", body, "PX", "600000")

    def fill(self):
        for start in range(0, len(self.agents), 1000):
            self.connection.sendall(b"".join(self.heartbeat(*agent) for agent in self.agents[start:start + 1000]))

    def beat(self, rate):
        """Renews leases, so many a second, until stopped; counts them."""
        count, at, start = 0, 0, time.monotonic()
        batch = max(1, rate // 100)
        while not self.stop.is_set():
            chunk = [self.agents[(at + n) % len(self.agents)] for n in range(batch)]
            at += batch
            self.connection.sendall(b"".join(self.heartbeat(*agent) for agent in chunk))
            count += batch
            self.stop.wait(max(0.0, start + count / rate - time.monotonic()))
        self.rate = count / (time.monotonic() - start)

    def change(self, every):
        """Changes a record of the asked group each so many seconds until stopped."""
        weight = 100
        while not self.stop.wait(every):
            weight = 300 - weight
            self.connection.sendall(self.heartbeat(1, 0, weight))


@contextlib.contextmanager
def background(target, *args):
    thread = threading.Thread(target=target, args=args)
    thread.start()
    try:
        yield
    finally:
        target.__self__.stop.set()
        thread.join()


@contextlib.contextmanager
def with_fleet(args, groups, each):
    """fingerpost on a real Redis that holds such a fleet: its pid, its port, the fleet and a folder."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder, port, redis = pathlib.Path(temporary), free_port(), free_port()
        store = subprocess.Popen([find("taskset"), "-c", "1", find("redis-server"), "--port", str(redis), "--bind",
                                  "127.0.0.1", "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        stack.callback(store.wait)
        stack.callback(store.terminate)
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", redis)).close()
                break
            time.sleep(0.05)
        fleet = Fleet(redis, groups, each)
        fleet.fill()
        config = servers.configure(folder, port, free_port(), registry=f"redis://127.0.0.1:{redis}")
        last = f"vpc-{groups - 1}.prod.{APEX}"
        command = [args.program, "serve", "--config", config]
        pid = stack.enter_context(running(command, None, folder, lambda: answers(port, last, want=None)))
        yield pid, port, fleet, folder


def scale(args):
    print(f"\nworkers' CPU per answer, fleets of two sizes in Redis, {args.seconds} s each")
    found = {}
    for name, groups, each, rate in [("8 agents", 2, 8, 0), ("100,000 agents", 10_000, 10, 0),
                                     ("100,000 agents, 20,000 heartbeats/s", 10_000, 10, 20_000)]:
        with with_fleet(args, groups, each) as (pid, port, fleet, folder):
            asked = random.Random(1).sample(range(groups), min(groups, 2_000))
            (folder / "queries").write_text("".join(f"vpc-{group}.prod.{APEX} A\n" for group in asked))
            measure = lambda: cost(lambda: worker_cpu(pid), port, folder / "queries", args.seconds, *UDP)
            if rate:
                with background(fleet.beat, rate):
                    user, system, answered = measure()
                name += f" (sent: {fleet.rate:.0f})"
            else:
                user, system, answered = measure()
            found[name] = user + system
            print(f"{name:<55}{user:>8.2f}{system:>8.2f}{user + system:>10.2f}{answered:>12.0f}", flush=True)
    small, *large = found.items()
    for name, total in large:
        say(f"UDP workers' CPU per answer with {name}, against {small[0]}", f"{total / small[1]:.2f}")


def latency(args):
    with with_fleet(args, 100, 8) as (_, port, fleet, folder):
        queries = folder / "queries"
        queries.write_text(f"{NAME} A\n")
        completed, _, _ = dnsperf(port, queries, 2, *UDP)
        half = completed // 4  # of two seconds, half of it
        print(f"\nlatency over UDP at {half} queries/s (half of what it can), {args.seconds} s each")
        quiet = quantiles(dnsperf(port, queries, args.seconds, "-v", "-Q", str(half))[2])
        with background(fleet.change, 0.01):
            busy = quantiles(dnsperf(port, queries, args.seconds, "-v", "-Q", str(half))[2])
        for name, values in [("no changes", quiet), ("a publish every 10 ms", busy)]:
            shown = "  ".join(f"p{q} {value * 1e6:.0f} us" for q, value in values.items())
            print(f"{name:<24}{shown}", flush=True)
            say(f"latency at half load, {name}", shown)
        say("p99.9 with a publish every 10 ms, against without", f"{busy['99.9'] / quiet['99.9']:.2f}")


def quantiles(output):
    times = sorted(float(line.rsplit(" ", 1)[1]) for line in output.split("\n") if line.startswith("> NOERROR"))
    if len(times) < 1000:
        raise Absent("dnsperf told too few latencies")
    return {q: times[int(len(times) * float(q) / 100)] for q in ("50", "99", "99.9")}


MODES = {"udp": udp, "tcp": tcp, "signed": signed, "scale": scale, "latency": latency}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=os.path.abspath, help="the fingerpost binary")
    parser.add_argument("modes", nargs="*", choices=[*MODES, []], help="what to measure; everything if left out")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--hickory", type=os.path.abspath, help="the peer of benches/peers/hickory")
    parser.add_argument("--echo", type=os.path.abspath, help="the bench program of dns")
    args = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: one core only: the server and dnsperf would share it")
    for mode in args.modes or MODES:
        try:
            MODES[mode](args)
        except Absent as absent:
            print(f"{mode}: left out: {absent}")
    print("\n" + "\n".join(summary))


if __name__ == "__main__":
    main()
