#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets into fuzz/corpus/<target>/: well-formed inputs of every kind, for the engine to
begin with. The same files each time; what stands beside them (inputs that once failed) stays."""

import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent


def write(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


# --- DNS ----------------------------------------------------------------------------------------------------------

def name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".") if label) + b"\0"


def opt(size=1232, flags=0, options=b""):
    return b"\0" + struct.pack("!HHIH", 41, size, flags, len(options)) + options


def option(code, data):
    return struct.pack("!HH", code, len(data)) + data


def query(asked, qtype, qclass=1, additional=(), flags=0x0100):
    head = struct.pack("!HHHHHH", 0xABCD, flags, 1, 0, 0, len(additional))
    return head + name(asked) + struct.pack("!HH", qtype, qclass) + b"".join(additional)


FULL, TCP, V6, SIGNED, UNSYNCED = 1, 2, 4, 8, 16
A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, DS, DNSKEY, IXFR, AXFR, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 43, 48, 251, 252, 255


def dns():
    asked = {
        "group": ("vpc-1.prod.k.test", A), "group6": ("vpc-1.prod.k.test", AAAA), "other": ("vpc-2.prod.k.test", A),
        "agent": ("agent-0.vpc-1.prod.k.test", A), "agent-text": ("agent-0.vpc-1.prod.k.test", TXT),
        "text": ("vpc-1.prod.k.test", TXT), "service": ("_kafka._tcp.vpc-1.prod.k.test", SRV),
        "zone": ("az-z-a.vpc-1.prod.k.test", A), "cluster": ("prod.k.test", A), "none": ("no.such.k.test", A),
        "soa": ("k.test", SOA), "ns": ("k.test", NS), "dnskey": ("k.test", DNSKEY), "any": ("k.test", ANY),
        "alias": ("bootstrap.kafka.example", A), "static": ("ns1.kafka.example", AAAA),
        "reverse": ("1.1.0.10.in-addr.arpa", PTR), "elsewhere": ("www.example", A), "copy": ("k.test", AXFR),
        "long": (".".join(["x" * 63] * 3 + ["y" * 50, "k.test"]), A),
    }
    cookie = option(10, bytes(8))
    whole_cookie = option(10, bytes(8) + b"\1\0\0\0" + bytes(12))
    subnets = {
        "subnet4": option(8, b"\0\1\x18\0\xc0\0\2"), "subnet6": option(8, b"\0\2\x20\0\x20\1\x0d\xb8"),
        "subnet0": option(8, b"\0\1\0\0"),
    }
    for title, (asked_name, qtype) in asked.items():
        write("dns_message", title, b"\0" + query(asked_name, qtype))
        write("dns_message", title + "-all",
              bytes([FULL]) + query(asked_name, qtype, additional=[opt(4096, 0x8000, cookie + option(3, b""))]))
    group = ("vpc-1.prod.k.test", A)
    for title, options in {**subnets, "cookie": cookie, "cookies": whole_cookie, "keepalive": option(11, b""),
                           "padding": option(12, bytes(30)), "unknown": option(65001, b"abc")}.items():
        write("dns_message", title, bytes([FULL | TCP]) + query(*group, additional=[opt(options=options)]))
        write("dns_message", title + "-udp", bytes([FULL | V6]) + query(*group, additional=[opt(512, 0, options)]))
    for title, (asked_name, qtype) in {"copy": ("k.test", AXFR), "group": group, "soa": ("k.test", SOA),
                                       "news": ("k.test", IXFR)}.items():
        write("dns_message", "signed-" + title, bytes([FULL | SIGNED]) + query(asked_name, qtype, additional=[opt()]))
    write("dns_message", "version", bytes([FULL]) + query("version.bind", TXT, 3))
    write("dns_message", "who", bytes([FULL]) + query("id.server", TXT, 3, [opt()]))
    write("dns_message", "only-cookie", bytes([FULL]) + struct.pack("!HHHHHH", 1, 0, 0, 0, 0, 1) + opt(options=cookie))
    write("dns_message", "edns1", b"\0" + query(*group, additional=[opt(1232, 0x10000)]))
    write("dns_message", "unsynced", bytes([UNSYNCED]) + query(*group, additional=[opt()]))
    write("dns_message", "notify", b"\0" + query("k.test", SOA, flags=0x2400))
    write("dns_message", "response", b"\0" + query(*group, flags=0x8000))


def tsig():
    asked = query("k.test", AXFR)
    for title, hashed, length in [("sha256", "hmac-sha256", 32), ("short", "hmac-sha256", 16), ("sha512", "hmac-sha512", 64)]:
        for key in ["fp-xfer", "long.example", "unknown"]:
            data = name(hashed) + (1_800_000_000).to_bytes(6, "big") + struct.pack("!HH", 300, length) + bytes(length)
            data += struct.pack("!HHH", 0xABCD, 0, 0)
            record = name(key) + struct.pack("!HHIH", 250, 255, 0, len(data)) + data
            signed = asked[:10] + b"\0\1" + asked[12:] + record
            write("tsig", f"{title}-{key}", struct.pack("!H", len(asked)) + signed)


# --- zone files ---------------------------------------------------------------------------------------------------

def zone_files():
    for path in ["zones/kafka.example.zone", "tests/it/dns_peers/peers.example.zone", "tests/it/dns_peers/star.example.zone"]:
        write("zone_file", pathlib.Path(path).name, (HERE.parent / path).read_bytes())
    pieces = {
        "generate": "$TTL 60\n$GENERATE 1-4/2 h${0,3,x} A 192.0.2.$\n",
        "origin": "$ORIGIN sub\n@ 5 IN A 192.0.2.1\n$ORIGIN k.example.\n*.w TXT \"a\\\"b\" c\\032d\n",
        "unknown": "x TYPE65280 \\# 4 0a000001\nx CLASS1 TYPE1 \\# 4 c0000201\n",
        "types": "a MX 10 m\na CAA 0 issue \"ca.example\"\na SRV 0 0 9092 m\na SSHFP 1 1 0123456789abcdef0123456789abcdef01234567\n"
                 "a HTTPS 1 . alpn=h2 port=443\na NAPTR 1 1 \"u\" \"x\" \"!a!b!\" .\na LOC 52 0 0 N 4 0 0 E 0m\na DS 1 13 2 00\n",
        "broken": "@ SOA ( a b 1 2 3\nx A 1.2.3\n\"open\n$TTL\n$NOPE 1\n\\999 A 1.2.3.4\n",
        "dname": "@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\nd DNAME e.example.\n",
    }
    for title, text in pieces.items():
        write("zone_file", title, text.encode())


# --- Kafka --------------------------------------------------------------------------------------------------------

def text16(text):
    return struct.pack("!h", len(text)) + text.encode()


def compact(text):
    return bytes([len(text) + 1]) + text.encode()


def request(key, version, body, flexible, client="ws_az=z-a,x"):
    return struct.pack("!hhi", key, version, 77) + text16(client) + (b"\0" if flexible else b"") + body


def metadata(version, topic):
    flexible = version >= 9
    if topic is None:
        body = b"\0" if flexible else struct.pack("!i", 0 if version == 0 else -1)
    elif flexible:
        body = b"\2" + (bytes(16) if version >= 10 else b"") + compact(topic) + b"\0"
    else:
        body = struct.pack("!i", 1) + text16(topic)
    if version >= 4:
        body += b"\1"
    if 8 <= version <= 10:
        body += b"\1"
    if version >= 8:
        body += b"\1"
    return request(3, version, body + (b"\0" if flexible else b""), flexible)


def find_coordinator(version):
    flexible = version >= 3
    if version >= 4:
        body = b"\0" + b"\3" + compact("g") + compact("h") + b"\0"
    else:
        body = (compact("g") if flexible else text16("g")) + (b"\0" if version >= 1 else b"") + (b"\0" if flexible else b"")
    return request(10, version, body, flexible)


def discovery():
    """Each API that a listener answers, in each version: title and bytes, without the frame's length."""
    for version in range(14):
        yield f"metadata-{version}", metadata(version, "orders")
        yield f"metadata-all-{version}", metadata(version, None)
    for version in range(7):
        yield f"find-coordinator-{version}", find_coordinator(version)
    for version in range(6):
        body = compact("librdkafka") + compact("2.1") + b"\0" if version >= 3 else b""
        yield f"api-versions-{version}", request(18, version, body, version >= 3)
    for version in range(3):
        yield f"describe-cluster-{version}", request(60, version, b"\0" + b"\1" * version + b"\0", True)
    yield "describe-topic-partitions", request(75, 0, b"\2" + compact("orders") + b"\0" + struct.pack("!i", 10) + b"\xff\0", True)


def framed(data):
    return struct.pack("!i", len(data)) + data


def reply(body, flexible=True):
    return framed(struct.pack("!i", 77) + (b"\0" if flexible else b"") + body)


def gateway():
    broker = struct.pack("!i", 7) + compact("broker-7.inside.example") + struct.pack("!i", 19092) + b"\0" + b"\0"
    partition = b"\0\0" + struct.pack("!iii", 0, 7, 1) + (b"\2" + struct.pack("!i", 7)) * 2 + b"\1\0"
    topic = b"\0\0" + compact("orders") + bytes(16) + b"\0" + b"\2" + partition + struct.pack("!i", 0) + b"\0"
    error = struct.pack("!i", 0) + b"\0\0"
    replies = {
        "metadata-12": reply(bytes(4) + b"\2" + broker + compact("id") + struct.pack("!i", 7) + b"\2" + topic + b"\0"),
        "find-coordinator-4": reply(bytes(4) + b"\2" + compact("g") + struct.pack("!i", 7) + compact("broker-7") + struct.pack("!i", 9) + b"\0\0\0\0\0"),
        "find-coordinator-1": reply(error + b"\xff\xff" + struct.pack("!i", 7) + text16("broker-7") + struct.pack("!i", 9), False),
        "api-versions-3": reply(b"\0\0\3" + struct.pack("!hhh", 3, 0, 13) + b"\0" + struct.pack("!hhh", 1, 4, 18) + b"\0" + bytes(4) + b"\0", False),
        "describe-cluster-0": reply(error + b"\0" + compact("id") + struct.pack("!i", 7) + b"\2" + struct.pack("!i", 7) + compact("broker-7") + struct.pack("!i", 9) + b"\0\0" + struct.pack("!i", 0) + b"\0"),
    }
    asked = dict(discovery())
    for title, bytes_ in asked.items():
        if title.startswith("metadata-all") and title != "metadata-all-12":
            continue
        both(title, bytes_, replies.get(title, reply(bytes(40))))
    node = b"\0\x16\2" + struct.pack("!i", 7) + compact("broker-7") + struct.pack("!i", 9) + b"\0\0"
    leader = b"\1\0\x09" + struct.pack("!ii", 7, 4) + b"\0"
    produced = struct.pack("!ihqqq", 0, 6, 9, -1, 0) + b"\1\0" + leader
    both("produce-10", request(0, 10, b"\0" + struct.pack("!hi", -1, 1000) + b"\1\0", True),
         reply(b"\2" + compact("orders") + b"\2" + produced + b"\0" + bytes(4) + b"\1" + node))
    both("produce-0-acks", request(0, 9, b"\0" + struct.pack("!hi", 0, 1000) + b"\1\0", True), b"")
    fetched = struct.pack("!ihqqq", 0, 0, 9, 9, 0) + b"\0" + struct.pack("!i", 7) + b"\5abcd" + leader
    for version in (11, 13, 16, 18):
        both(f"fetch-{version}", request(1, version, bytes(30), version >= 12),
             reply(bytes(4) + bytes(6) + b"\2" + bytes(16) + b"\2" + fetched + b"\0" + b"\1" + node))
    for key, title in [(78, "share-fetch"), (79, "share-acknowledge")]:
        both(title, request(key, 1, bytes(30), True), reply(bytes(4) + bytes(2) + b"\0" + bytes(4) + b"\1\1\0"))
    both("heartbeat", request(12, 4, compact("g") + struct.pack("!i", 3) + compact("m") + b"\0\0", True), reply(bytes(6) + b"\0"), 0x80)
    beat = compact("g") + compact("m") + struct.pack("!i", 5)
    said = error + b"\0" + compact("m") + struct.pack("!ii", 5, 3000) + b"\xff\0"
    both("group-heartbeat", request(68, 0, beat + bytes(10), True), reply(said), 0x80)
    both("share-heartbeat", request(76, 1, beat + bytes(10), True), reply(said), 0x80)


def both(title, asked, answered, how=3):
    sent = framed(asked)
    write("gateway_reply", title, bytes([how]) + struct.pack("!H", len(sent)) + sent + answered)


if __name__ == "__main__":
    dns()
    tsig()
    zone_files()
    for case, data in discovery():
        write("kafka_request", case, data)
    gateway()
