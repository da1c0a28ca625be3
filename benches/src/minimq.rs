//! Rows of minimq, which uses MQTT 5: the same packets, with the bytes for properties that MQTT 5 needs.
//!
//! Its codec is not public. The rows use the functions for its fuzzers, which drop the decoded packet.

use minimq::{Buffers, ConfigBuilder, Connection, Publication, fuzzing};
use umqtt::codec::QoS;

use crate::line::{CONNACK_5, Client, Line, OnLine, once, publish_5};
use crate::measure::Jobs;
use crate::packets::TOPIC;
use crate::peer::{Connected, Log, Outcome, PAYLOAD};

/// Tags of the packets that `fuzzing::encode_packet` writes.
const PUBLISH: u8 = 1;
const PUBACK: u8 = 6;
/// Packet id of these packets.
const FUZZING_ID: u16 = 1;
const MAX_FIXED_HEADER_LEN: usize = 5;

/// Adds every packet that a client decodes or encodes, if the functions for fuzzers support it.
pub fn codec(jobs: &mut Jobs) {
    let decoded: [(&str, Vec<u8>); 7] = [
        ("PUBLISH QoS 0, 64 B", publish_5(0, 0, &PAYLOAD)),
        ("PUBLISH QoS 1, 1 KiB", publish_5(1, 9, &[b'x'; 1 << 10])),
        ("PUBLISH QoS 0, 64 KiB", publish_5(0, 0, &[b'x'; 1 << 16])),
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
        let encode =
            move |out: &mut [u8]| fuzzing::encode_packet(out, tag, TOPIC, &payload, qos, false, 0);
        encode(&mut out);
        let expected = match tag {
            PUBLISH => publish_5(qos, FUZZING_ID, &vec![b'x'; len]),
            // With a reason code.
            _ => vec![0x40, 3, 0, FUZZING_ID as u8, 0],
        };
        // The body is written first, after room for the longest fixed header.
        let start = MAX_FIXED_HEADER_LEN - header_len(&expected);
        assert!(out[start..].starts_with(&expected), "{kind}");
        jobs.add(
            format!("encode/{kind}/minimq"),
            || (),
            move |()| {
                encode(&mut out);
                std::hint::black_box(&out);
            },
        );
    }
}

/// Returns the length of the fixed header.
fn header_len(packet: &[u8]) -> usize {
    let continued = packet[1..].iter().take_while(|&&byte| byte >= 0x80);
    2 + continued.count()
}

/// A client of minimq on a connection. Its session exists until the program ends.
pub struct Minimq(Connection<'static, 'static, Line>);

impl Minimq {
    /// Connects with a receive buffer of this size.
    pub fn connected(rx: usize) -> Connected<OnLine<Self>> {
        let buffers = Buffers::new(vec![0; rx].leak(), vec![0; 4096].leak());
        let config = ConfigBuilder::new(buffers).keepalive_interval(0);
        let config = config.client_id("bench").expect("it is short");
        let session = Box::leak(Box::new(minimq::Session::new(config)));
        let line = Line::default();
        line.receive(&CONNACK_5);
        let connection = once(session.connect(line.clone())).expect("all bytes are in memory");
        let client = Self(connection.expect("it is accepted"));
        line.take_sent(&mut Log::default());
        Connected::new(OnLine { client, line }, publish_5)
    }
}

impl Client for Minimq {
    fn handle(&mut self, outcome: &mut Outcome) {
        while let Some(progress) = once(self.0.poll()) {
            let progress = std::hint::black_box(progress.expect("nothing is wrong"));
            if let Some(message) = progress {
                outcome.deliver(message.payload());
            }
        }
    }

    fn send(&mut self, line: &Line, qos: QoS, log: &mut Log) -> Outcome {
        let level = match qos {
            QoS::AtMostOnce => minimq::QoS::AtMostOnce,
            QoS::AtLeastOnce => minimq::QoS::AtLeastOnce,
            QoS::ExactlyOnce => minimq::QoS::ExactlyOnce,
        };
        let publication = Publication::bytes(TOPIC, &PAYLOAD).qos(level);
        let published = once(self.0.publish(publication)).expect("the transport accepts all bytes");
        published.expect("there is room");
        line.acknowledge(qos, log, |outcome| self.handle(outcome))
    }
}
