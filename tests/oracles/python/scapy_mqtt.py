"""Decodes packets of umqtt with scapy. Also writes packets of scapy, valid ones and damaged ones.

  scapy_mqtt.py decode <LINES          adds the fields that scapy decodes
  scapy_mqtt.py generate SEED COUNT    writes packets of scapy
"""

import random
import sys

from scapy.config import conf
from scapy.contrib import mqtt

from wire import damage, lines, write

# By default, scapy stops at 100 topics or codes.
conf.max_list_count = 1 << 20

ACKS = {4: "puback", 5: "pubrec", 6: "pubrel", 7: "pubcomp", 11: "unsuback"}
BARE = {12: "pingreq", 13: "pingresp", 14: "disconnect"}


def octets(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def fields(packet):
    """Returns the fields of a packet, as in src/fields.rs."""
    kind = packet.type
    if kind in BARE:
        return {"type": BARE[kind]}
    body = packet.payload
    if kind in ACKS:
        return {"type": ACKS[kind], "id": body.msgid}
    return READERS[kind](packet, body)


def connect(_, body):
    will = body.willflag == 1 and {
        "topic": octets(body.willtopic).hex(),
        "message": octets(body.willmsg).hex(),
        "qos": body.willQOSflag,
        "retain": body.willretainflag == 1,
    }
    return {
        "type": "connect",
        "client_id": octets(body.clientId).hex(),
        "clean": body.cleansess == 1,
        "keep_alive": body.klive,
        "will": will or None,
        "user_name": octets(body.username).hex() if body.usernameflag else None,
        "password": octets(body.password).hex() if body.passwordflag else None,
    }


def publish(packet, body):
    return {
        "type": "publish",
        "topic": octets(body.topic).hex(),
        "qos": packet.QOS,
        "retain": packet.RETAIN == 1,
        "dup": packet.DUP == 1,
        "id": body.msgid if packet.QOS else None,
        "payload": octets(body.value).hex(),
    }


READERS = {
    1: connect,
    2: lambda _, body: {
        "type": "connack",
        "session_present": body.sessPresentFlag == 1,
        "code": body.retcode,
    },
    3: publish,
    8: lambda _, body: {
        "type": "subscribe",
        "id": body.msgid,
        "filters": [[octets(t.topic).hex(), t.QOS] for t in body.topics],
    },
    9: lambda _, body: {"type": "suback", "id": body.msgid, "codes": body.retcodes},
    10: lambda _, body: {
        "type": "unsubscribe",
        "id": body.msgid,
        "filters": [octets(t.topic).hex() for t in body.topics],
    },
}


def decode(data):
    """Decodes the first packet with scapy, which checks almost nothing except that the packet is complete."""
    try:
        header = mqtt.MQTT(data)
        ahead = next(at for at in range(1, len(data)) if data[at] < 128) + 1
        end = ahead + header.len
        if len(data) < end:
            return "incomplete"
        return fields(mqtt.MQTT(data[:end]))
    except Exception as error:  # With any exception, scapy has rejected the packet.
        return f"{type(error).__name__}"


CHARACTERS = list("abcXYZ 019$-_.//é€\ufeff") + ["😀"]
# Values that the specification forbids at some places.
STRANGE = ["+", "#", "\0", "\x1f"]


def text(rng):
    alphabet = CHARACTERS + (STRANGE if rng.randrange(20) == 0 else [])
    length = 100 + rng.randrange(200) if rng.randrange(40) == 0 else rng.randrange(12)
    return "".join(rng.choices(alphabet, k=length)).encode()


def name(rng):
    return text(rng) or b"t"


def payload(rng):
    return rng.randbytes(300 if rng.randrange(40) == 0 else rng.randrange(12))


def topic_filter(rng):
    return rng.choice([b"", b"+/"]) + name(rng) + rng.choice([b"", b"/#"])


def make(rng, number):
    """Returns a random packet of scapy. Its type depends on the number."""
    kind = 1 + number % 14
    packet_id = rng.randint(1, 65535)
    if kind in BARE:
        return mqtt.MQTT(type=kind)
    if kind in ACKS:
        layer = getattr(mqtt, "MQTT" + ACKS[kind].capitalize())
        return mqtt.MQTT(type=kind, QOS=1 if kind == 6 else 0) / layer(msgid=packet_id)
    if kind == 1:
        return mqtt.MQTT(type=1) / make_connect(rng)
    if kind == 2:
        code = rng.randrange(6)
        present = rng.randrange(2) if code == 0 else 0
        return mqtt.MQTT(type=2) / mqtt.MQTTConnack(sessPresentFlag=present, retcode=code)
    if kind == 3:
        qos = rng.randrange(3)
        header = mqtt.MQTT(type=3, QOS=qos, DUP=rng.randrange(2) if qos else 0, RETAIN=rng.randrange(2))
        extra = {"msgid": packet_id} if qos else {}
        return header / mqtt.MQTTPublish(topic=name(rng), value=payload(rng), **extra)
    some = range(rng.randint(1, 4))
    if kind == 8:
        topics = [mqtt.MQTTTopicQOS(topic=topic_filter(rng), QOS=rng.randrange(3)) for _ in some]
        return mqtt.MQTT(type=8, QOS=1) / mqtt.MQTTSubscribe(msgid=packet_id, topics=topics)
    if kind == 9:
        codes = [rng.choice([0, 1, 2, 128]) for _ in some]
        return mqtt.MQTT(type=9) / mqtt.MQTTSuback(msgid=packet_id, retcodes=codes)
    topics = [mqtt.MQTTTopic(topic=topic_filter(rng)) for _ in some]
    return mqtt.MQTT(type=10, QOS=1) / mqtt.MQTTUnsubscribe(msgid=packet_id, topics=topics)


def make_connect(rng):
    client_id, will, known = text(rng), rng.randrange(2), rng.randrange(2)
    parts = {}
    if will:
        parts.update(willtopic=name(rng), willmsg=payload(rng))
        parts.update(willQOSflag=rng.randrange(3), willretainflag=rng.randrange(2))
    password = known and rng.randrange(2)
    if known:
        parts.update(username=text(rng))
    if password:
        parts.update(password=payload(rng))
    return mqtt.MQTTConnect(
        protoname=b"MQTT",
        protolevel=4,
        cleansess=1 if not client_id else rng.randrange(2),
        klive=rng.randrange(65536),
        clientId=client_id,
        willflag=will,
        usernameflag=known,
        passwordflag=password,
        **parts,
    )


def generate(seed, count):
    rng = random.Random(seed)
    for number in range(count):
        packet = make(rng, number)
        data = bytes(packet)
        if rng.randrange(2):
            write(data, fields(packet), decode(data))
        else:
            data = damage(rng, data)
            write(data, None, decode(data))


if sys.argv[1] == "decode":
    for line in lines():
        data = bytes.fromhex(line["bytes"])
        write(data, line["sent"], decode(data))
else:
    generate(int(sys.argv[2]), int(sys.argv[3]))
