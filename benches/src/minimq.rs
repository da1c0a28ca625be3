//! Rows of minimq, which uses MQTT 5: the same packets, with the bytes for properties that MQTT 5 needs.
//!
//! Its codec is not public. The rows use the functions for its fuzzers, which drop the decoded packet.

use minimq::{Buffers, ConfigBuilder, Connection, Publication, QoS, fuzzing};

use crate::line::{CONNACK_5, Client, Connected, Line, PAYLOAD, once, publish_5};
use crate::measure::Jobs;
use crate::packets::TOPIC;

/// Tags of the packets that `fuzzing::encode_packet` writes.
const PUBLISH: u8 = 1;
const PUBACK: u8 = 6;

/// Adds every packet that a client decodes or encodes, if the functions for fuzzers support it.
pub fn codec(jobs: &mut Jobs) {
    let decoded: [(&str, Vec<u8>); 7] = [
        ("PUBLISH QoS 0, 64 B", publish_5(0, &PAYLOAD)),
        ("PUBLISH QoS 1, 1 KiB", publish_5(1, &[b'x'; 1 << 10])),
        ("PUBLISH QoS 0, 64 KiB", publish_5(0, &[b'x'; 1 << 16])),
        ("CONNACK", CONNACK_5.into()),
        ("PUBACK", vec![0x40, 2, 0, 77]),
        ("SUBACK x 4", vec![0x90, 7, 0, 77, 0, 1, 1, 1, 1]),
        ("PINGRESP", vec![0xD0, 0]),
    ];
    for (kind, bytes) in decoded {
        jobs.add(
            format!("decode/{kind}/minimq"),
            || (),
            move |()| fuzzing::parse_received_packet(std::hint::black_box(&bytes)),
        );
    }
    let encoded = [
        ("PUBLISH QoS 0, 64 B", PUBLISH, 0, 64),
        ("PUBLISH QoS 1, 1 KiB", PUBLISH, 1, 1 << 10),
        ("PUBLISH QoS 0, 64 KiB", PUBLISH, 0, 1 << 16),
        ("PUBACK", PUBACK, 0, 0),
    ];
    for (kind, tag, qos, len) in encoded {
        let payload = vec![b'x'; len];
        let mut out = vec![0; 1 << 17];
        jobs.add(
            format!("encode/{kind}/minimq"),
            || (),
            move |()| {
                fuzzing::encode_packet(&mut out, tag, TOPIC, &payload, qos, false, 0);
                std::hint::black_box(&out);
            },
        );
    }
}

/// A client of minimq on a connection. Its session exists until the program ends.
pub struct Minimq(Connection<'static, 'static, Line>);

impl Minimq {
    /// Connects with a receive buffer of this size.
    pub fn connected(rx: usize) -> Connected<Self> {
        let buffers = Buffers::new(vec![0; rx].leak(), vec![0; 4096].leak());
        let config = ConfigBuilder::new(buffers).keepalive_interval(0);
        let config = config.client_id("bench").expect("it is short");
        let session = Box::leak(Box::new(minimq::Session::new(config)));
        let line = Line::default();
        line.receive(&CONNACK_5);
        let connection = once(session.connect(line.clone())).expect("all bytes are in memory");
        let client = Self(connection.expect("it is accepted"));
        line.take_sent_len();
        Connected::new(client, line, publish_5)
    }
}

impl Client for Minimq {
    fn handle(&mut self) {
        while let Some(progress) = once(self.0.poll()) {
            std::hint::black_box(progress.expect("nothing is wrong"));
        }
    }

    fn send(&mut self, line: &Line, qos: usize) -> usize {
        let level = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][qos];
        let publication = Publication::bytes(TOPIC, &PAYLOAD).qos(level);
        let published = once(self.0.publish(publication)).expect("the transport accepts all bytes");
        published.expect("there is room");
        line.acknowledge(qos, || self.handle())
    }
}
