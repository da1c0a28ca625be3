"""Decodes packets of umqtt with tshark. `tshark.py <LINES` adds the decoded fields to each line.

Each packet is on a separate TCP connection in a generated capture file.
"""

import itertools
import json
import struct
import subprocess
import sys
import tempfile

from wire import lines, write

# Packets in one run, to limit memory.
BATCH = 4000
# Maximum bytes of a segment.
SEGMENT = 60_000
RAW_IP = 101
KINDS = (
    "connect connack publish puback pubrec pubrel pubcomp subscribe suback unsubscribe unsuback pingreq pingresp "
    "disconnect"
).split()


def capture(packets, file):
    """Writes a capture in which a client sends each packet to port 1883."""
    file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, RAW_IP))
    for number, data in enumerate(packets):
        for at in range(0, len(data), SEGMENT):
            part = data[at:at + SEGMENT]
            tcp = struct.pack(">HHIIBBHHH", 40_000, 1883, 1 + at, 1, 5 << 4, 0x18, 8192, 0, 0) + part
            source, server = 0x0A000000 + number, 0x7F000001
            ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, source, server)
            file.write(struct.pack("<IIII", number, 0, len(ip + tcp), len(ip + tcp)) + ip + tcp)
    file.flush()


def dissect(packets):
    """Returns the raw bytes of the fields of each packet, as tshark prints them."""
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        capture(packets, file)
        command = ["tshark", "-r", file.name, "-o", "mqtt.default_version:MQTT v3.1.1"]
        # The requested layers, and the address that identifies their packet.
        command += ["-T", "jsonraw", "-J", "mqtt ip", "--no-duplicate-keys"]
        shown = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    found = [None] * len(packets)
    for frame in shown:
        layers = frame["_source"]["layers"]
        if "mqtt" in layers:
            number = int(layers["ip"]["ip.src_raw"][0], 16) - 0x0A000000
            found[number] = layers["mqtt"]
    return found


def every(tree, name):
    """Returns the values of a field that may occur several times, in hex."""
    value = tree.get(f"mqtt.{name}_raw", [])
    several = value and isinstance(value[0], list)
    return [one[0] for one in (value if several else [value] if value else [])]


def first(tree, name):
    return next(iter(every(tree, name)), None)


def number(tree, name):
    return int(first(tree, name) or "0", 16)


def fields(tree):
    """Returns the fields of a packet, as in src/fields.rs."""
    if tree is None:
        return "no MQTT"
    if isinstance(tree, list):
        return "several packets"
    if "_ws.malformed_raw" in tree or "_ws.expert_raw" in tree:
        return "malformed"
    flags = tree["mqtt.hdrflags_tree"]
    kind = KINDS[number(flags, "msgtype") - 1]
    common = {"type": kind}
    if kind == "connect":
        return common | connect(tree)
    if kind == "connack":
        present = number(tree["mqtt.conack.flags_tree"], "conack.flags.sp") == 1
        return common | {"session_present": present, "code": number(tree, "conack.val")}
    if kind == "publish":
        qos = number(flags, "qos")
        return common | {
            "topic": first(tree, "topic") or "",
            "qos": qos,
            "retain": number(flags, "retain") == 1,
            "dup": number(flags, "dupflag") == 1,
            "id": number(tree, "msgid") if qos else None,
            "payload": first(tree, "msg") or "",
        }
    if kind in ("pingreq", "pingresp", "disconnect"):
        return common
    common["id"] = number(tree, "msgid")
    if kind == "subscribe":
        levels = [int(level, 16) for level in every(tree, "sub.qos")]
        common["filters"] = [list(pair) for pair in itertools.zip_longest(every(tree, "topic"), levels)]
    if kind == "unsubscribe":
        common["filters"] = every(tree, "topic")
    if kind == "suback":
        common["codes"] = [int(code, 16) for code in every(tree, "suback.qos")]
    return common


def connect(tree):
    flags = tree["mqtt.conflags_tree"]
    will = number(flags, "conflag.willflag") == 1 and {
        "topic": first(tree, "willtopic") or "",
        "message": first(tree, "willmsg") or "",
        "qos": number(flags, "conflag.qos"),
        "retain": number(flags, "conflag.retain") == 1,
    }
    user_name, password = number(flags, "conflag.uname"), number(flags, "conflag.passwd")
    return {
        "client_id": first(tree, "clientid") or "",
        "clean": number(flags, "conflag.cleansess") == 1,
        "keep_alive": number(tree, "kalive"),
        "will": will or None,
        "user_name": (first(tree, "username") or "") if user_name else None,
        "password": (first(tree, "passwd") or "") if password else None,
    }


sent = lines()
while batch := list(itertools.islice(sent, BATCH)):
    packets = [bytes.fromhex(line["bytes"]) for line in batch]
    for line, data, tree in zip(batch, packets, dissect(packets)):
        write(data, line["sent"], fields(tree))
    print(".", end="", file=sys.stderr, flush=True)
