//! The packets that each crate decodes and encodes.

use umqtt::codec::{
    Connack, Connect, Credentials, Delivery, Packet, PacketId, Puback, Publish, QoS, Suback,
    SubackReturnCode, Subscribe, TopicFilter, TopicName, Will,
};

/// A topic of 20 bytes.
pub const TOPIC: &str = "factory/7/line/3/tmp";

/// Two plain filters, and one with each wildcard.
pub const FILTERS: [&str; 4] = [
    "factory/7/line/3/tmp",
    "factory/+/line/3/tmp",
    "building/2/room/4/#",
    "home/kitchen/light",
];

/// Names of the codec's rows.
pub const KINDS: [&str; 9] = [
    "PUBLISH QoS 0, 64 B",
    "PUBLISH QoS 1, 1 KiB",
    "PUBLISH QoS 0, 64 KiB",
    "CONNECT, will+user+password",
    "CONNACK",
    "PUBACK",
    "SUBSCRIBE x 4",
    "SUBACK x 4",
    "PINGRESP",
];

pub fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("it is not 0")
}

/// Creates a message to the common topic.
pub fn publish(delivery: Delivery, payload: &[u8]) -> Publish<'_> {
    Publish {
        delivery,
        ..Publish::new(TopicName::new(TOPIC).expect("it is valid"), payload)
    }
}

pub fn connect() -> Connect<'static> {
    Connect {
        keep_alive: 60,
        will: Some(Will::new("sensors/7/state", b"offline")),
        credentials: Some(Credentials {
            user_name: "sensor-user",
            password: Some(b"correct horse"),
        }),
        ..Connect::new("sensor-0007")
    }
}

/// Passes the packet of this row, one of [`KINDS`], to `show`.
pub fn with<R>(kind: &str, show: impl FnOnce(Packet<'_>) -> R) -> R {
    let payload = vec![b'x'; 1 << 16];
    let filters = FILTERS.map(|filter| {
        let filter = TopicFilter::new(filter).expect("it is valid");
        (filter, QoS::AtLeastOnce)
    });
    let codes = [SubackReturnCode::Granted(QoS::AtLeastOnce); 4];
    let first = Delivery::AtLeastOnce {
        packet_id: id(77),
        dup: false,
    };
    show(match kind {
        "PUBLISH QoS 0, 64 B" => Packet::Publish(publish(Delivery::AtMostOnce, &payload[..64])),
        "PUBLISH QoS 1, 1 KiB" => Packet::Publish(publish(first, &payload[..1024])),
        "PUBLISH QoS 0, 64 KiB" => Packet::Publish(publish(Delivery::AtMostOnce, &payload)),
        "CONNECT, will+user+password" => Packet::Connect(connect()),
        "CONNACK" => Packet::Connack(Connack::Accepted {
            session_present: false,
        }),
        "PUBACK" => Packet::Puback(Puback::new(id(77))),
        "SUBSCRIBE x 4" => Packet::Subscribe(Subscribe::new(id(77), &filters).expect("not empty")),
        "SUBACK x 4" => Packet::Suback(Suback::new(id(77), &codes).expect("not empty")),
        "PINGRESP" => Packet::Pingresp,
        _ => unreachable!("there is no such row"),
    })
}

pub fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = vec![0; packet.encoded_len().expect("it is valid")];
    packet.encode(&mut bytes).expect("it fits");
    bytes
}
