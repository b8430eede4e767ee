"""The DNS servers that scripts/bench-dns compares: how each is configured to give the same answer, a name with eight A
records, with one worker. Theirs is static data; ours comes from heartbeats."""

import json
import os
import random
import shutil
import socket
import subprocess
import urllib.request

APEX = "kafka.example"
NAME = f"vpc-1.prod.{APEX}"
ADDRESSES = [f"10.0.1.{n}" for n in range(11, 19)]
ZONE = f"""$ORIGIN {APEX}.
$TTL 5
@ IN SOA ns1 hostmaster 1 3600 600 86400 2
@ IN NS ns1
ns1 IN A 127.0.0.1
""" + "".join(f"vpc-1.prod IN A {address}\n" for address in ADDRESSES)
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"


class Absent(Exception):
    """A server that is not installed, or can't do what is compared."""


def find(tool):
    found = shutil.which(tool, path=PATH)
    if not found:
        raise Absent(f"{tool} is not installed")
    return found


def free_port():
    """A port that is free over UDP and TCP, below those that the system gives to whoever connects."""
    for port in random.sample(range(20_000, 32_000), 1_000):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue
    raise Absent("no port is free")


def configure(folder, port, admin, registry="memory:", zone=""):
    """Writes fingerpost's configuration; `zone` are further lines of the zone."""
    (folder / "fingerpost.toml").write_text(f"""
[registry]
url = "{registry}"
[dns]
listen = ["127.0.0.1:{port}"]
workers = 1
tcp_connections = 4096
[[dns.zone]]
apex = "{APEX}"
{zone}
[[cluster]]
name = "prod"
topics = {{ source = "static", list = [{{ name = "orders", partitions = 1 }}] }}
[admin]
listen = "127.0.0.1:{admin}"
""")
    return str(folder / "fingerpost.toml")


def heartbeats(admin):
    """Eight agents by HTTP heartbeats into the memory registry: the real path of an answer."""
    for n, address in enumerate(ADDRESSES):
        url = f"http://127.0.0.1:{admin}/v1/clusters/prod/groups/vpc-1/agents/a-{n}?lease=10m"
        body = json.dumps({"v": 1, "zone": "us-east-1a", "addresses": [address], "ports": {"kafka": 9092}})
        request = urllib.request.Request(url, data=body.encode(), method="PUT",
                                         headers={"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()


def fingerpost(program, folder, port, signed=False):
    admin, zone = free_port(), ""
    if signed:
        keys = folder / "keys"
        keys.mkdir()
        subprocess.run([program, "keys", "generate", "--zone", APEX, "--dir", str(keys)], check=True,
                       stdout=subprocess.DEVNULL)
        zone = f'dnssec = {{ keys = "{keys}" }}'
    config = configure(folder, port, admin, zone=zone)
    return [program, "serve", "--config", config], lambda: heartbeats(admin)


def echo(program, port):
    """Our socket loop, which sends each packet back: what the kernel takes by itself."""
    if not program:
        raise Absent("the bench of dns was not built")
    return [program, "--echo", f"127.0.0.1:{port}"], None


def nsd(folder, port):
    (folder / "zone").write_text(ZONE)
    (folder / "nsd.conf").write_text(f"""
server:
    server-count: 1
    tcp-count: 400
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
    name: {APEX}
    zonefile: zone
""")
    return [find("nsd"), "-d", "-c", str(folder / "nsd.conf")], None


def knot(folder, port):
    (folder / f"{APEX}.zone").write_text(ZONE)
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
  - domain: {APEX}
""")
    return [find("knotd"), "-c", str(folder / "knot.conf")], None


def gdnsd(folder, port):
    (folder / "zones").mkdir()
    (folder / "zones" / APEX).write_text(ZONE)
    (folder / "run").mkdir()
    (folder / "state").mkdir()
    (folder / "config").write_text(
        f"options => {{ listen => 127.0.0.1:{port}, udp_threads => 1, tcp_threads => 1,"
        f" run_dir => \"{folder}/run\", state_dir => \"{folder}/state\" }}\n")
    return [find("gdnsd"), "-c", str(folder), "start"], None


def powerdns(folder, port):
    (folder / "zone").write_text(ZONE)
    (folder / "named.conf").write_text(f'zone "{APEX}" {{ type master; file "{folder}/zone"; }};\n')
    (folder / "pdns.conf").write_text(f"""
launch=bind
bind-config={folder}/named.conf
local-address=127.0.0.1
local-port={port}
socket-dir={folder}
receiver-threads=1
distributor-threads=1
guardian=no
daemon=no
disable-syslog=yes
loglevel=3
""")
    return [find("pdns_server"), f"--config-dir={folder}"], None


def hickory(program, port):
    if not program:
        raise Absent("benches/peers/hickory was not built")
    return [program, str(port), *ADDRESSES], None
