//! Rows of the session: received and sent messages with all their acknowledgements, and a stream of packets.

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::{
    Connection, Version,
    common::Cursor,
    connection::Event as CoreEvent,
    packet::{GenericPacket, GenericPacketTrait, Qos, v3_1_1},
    role::Client,
};
use tokio_util::codec::Decoder;
use umqtt::codec::{Connect, Delivery, Packet, PacketId, Puback, Pubcomp, Pubrec, Pubrel, QoS};
use umqtt::{Event, Instant, Message, Session, Storage};

use crate::floor;
use crate::measure::Jobs;
use crate::minimq::Minimq;
use crate::mqttrust::Mqttrust;
use crate::packets::{self, TOPIC};
use crate::peer::{self, Connected, LEVELS, Log, Outcome, PAYLOAD, Peer};
use crate::rust_mqtt::RustMqtt;

const NOW: Instant = Instant::from_millis(0);
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// Sizes of the reads in which the stream is received.
pub const READS: [usize; 4] = [1, 7, 64, 1460];
/// Number of repetitions in the stream.
const REPEATED: usize = 200;
/// Packets in one repetition.
const PACKETS: usize = 5;
/// The expected outcome of a client that receives the stream.
pub const STREAMED: Outcome = Outcome {
    messages: REPEATED * 4,
    payload: REPEATED * (64 + 16 + 300 + 64),
    // PUBACK, PUBREC and PUBCOMP.
    sent: REPEATED * 3 * 4,
};

pub fn add(jobs: &mut Jobs) {
    for qos in LEVELS {
        peer::add_receive(jobs, qos, "umqtt", connected(256));
        peer::add_receive(jobs, qos, "mqtt-protocol-core", Core::connected());
        peer::add_receive(jobs, qos, "mqttrust", Mqttrust::connected(incoming));
        peer::add_receive(jobs, qos, "minimq", Minimq::connected(256));
        peer::add_receive(jobs, qos, "rust-mqtt", RustMqtt::connected());
    }
    for qos in LEVELS {
        peer::add_send(jobs, qos, "umqtt", connected(256));
        peer::add_send(jobs, qos, "mqtt-protocol-core", Core::connected());
        peer::add_send(jobs, qos, "mqttrust", Mqttrust::connected(incoming));
        peer::add_send(jobs, qos, "minimq", Minimq::connected(256));
        peer::add_send(jobs, qos, "rust-mqtt", RustMqtt::connected());
    }
    let bytes: &'static [u8] = stream().leak();
    for read in READS {
        let row = format!("session/stream of 1,000 packets, reads of {read} B");
        let mut ours = connected(2048);
        jobs.add_checked(format!("{row}/umqtt"), STREAMED, move || {
            take(&mut ours.peer, bytes, read)
        });
        let mut core = Core::connected();
        jobs.add_checked(format!("{row}/mqtt-protocol-core"), STREAMED, move || {
            take(&mut core.peer, bytes, read)
        });
        let row = format!("session/decode stream of 1,000 packets, reads of {read} B");
        let mut add = |who: &str, decode: fn(&[u8], usize) -> usize| {
            let name = format!("{row}/{who}");
            jobs.add_checked(name, REPEATED * PACKETS, move || decode(bytes, read));
        };
        add("umqtt", |bytes, read| decode(bytes, read, umqtt));
        add("floor", |bytes, read| decode(bytes, read, floor::next));
        add("mqttrs", |bytes, read| decode(bytes, read, mqttrs));
        add("mqttbytes", |bytes, read| {
            decode_from(bytes, read, mqttbytes)
        });
        add("rmqtt-codec", |bytes, read| {
            let mut codec = rmqtt_codec::v3::Codec::new(0);
            decode_from(bytes, read, |kept| codec.decode(kept).expect("it is valid"))
        });
        add("rumqttc-v4-next", |bytes, read| {
            decode_from(bytes, read, rumqttc)
        });
    }
}

/// Returns how often each client delivers a message at QoS 2 that it receives twice.
pub fn deliveries_of_repeated() -> [(&'static str, usize); 5] {
    [
        ("umqtt", connected(256).deliveries_of_repeated()),
        (
            "mqtt-protocol-core",
            Core::connected().deliveries_of_repeated(),
        ),
        (
            "mqttrust",
            Mqttrust::connected(incoming).deliveries_of_repeated(),
        ),
        ("minimq", Minimq::connected(256).deliveries_of_repeated()),
        ("rust-mqtt", RustMqtt::connected().deliveries_of_repeated()),
    ]
}

/// Receives bytes in reads of this size.
pub fn take(peer: &mut impl Peer, bytes: &[u8], read: usize) -> Outcome {
    let (mut outcome, mut log) = (Outcome::default(), Log::default());
    for read in bytes.chunks(read) {
        peer.put(read, &mut outcome, &mut log);
    }
    outcome
}

fn delivery(qos: QoS, packet_id: PacketId) -> Delivery {
    let dup = false;
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
    }
}

/// Returns an encoded PUBLISH.
pub fn incoming(qos: u8, number: u16, payload: &[u8]) -> Vec<u8> {
    let qos = QoS::try_from(qos).expect("it is one");
    let publish = packets::publish(delivery(qos, packets::id(number)), payload);
    packets::encoded(&Packet::Publish(publish))
}

/// Returns the stream, which repeats these packets: PUBLISH at QoS 0 of 64 B and of 300 B, QoS 1 of 16 B, QoS 2 of
/// 64 B, and its PUBREL.
pub fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 1..=REPEATED as u16 {
        bytes.extend(incoming(0, number, &PAYLOAD));
        bytes.extend(incoming(1, number, &PAYLOAD[..16]));
        bytes.extend(incoming(0, number, &[b'x'; 300]));
        bytes.extend(incoming(2, number, &PAYLOAD));
        bytes.extend(Pubrel::new(packets::id(number)).to_bytes());
    }
    bytes
}

/// A session of umqtt, which exists until the program ends.
pub struct Ours(Session<'static>);

/// Returns a connected session with a receive buffer of 256 or 2,048 bytes.
pub fn connected(rx: usize) -> Connected<Ours> {
    let session = match rx {
        256 => Session::new(Box::leak(Box::new(Storage::<256, 4096, 8>::new()))),
        _ => Session::new(Box::leak(Box::new(Storage::<2048, 4096, 8>::new()))),
    };
    Connected::new(Ours::connected(session), incoming)
}

impl Ours {
    pub fn connected(session: Session<'static>) -> Self {
        let mut ours = Self(session);
        let options = Connect {
            keep_alive: Connect::NO_KEEP_ALIVE,
            ..Connect::new("bench")
        };
        ours.0.connect(&options, NOW).expect("it fits");
        ours.flush(&mut Log::default());
        ours.fill(&CONNACK);
        let events = ours.events(&mut Outcome::default());
        assert_eq!(events, 1, "it is connected");
        ours
    }

    /// Publishes a message that is not acknowledged.
    pub fn leave_open(&mut self) {
        let message = Message {
            qos: QoS::AtLeastOnce,
            ..Message::new(TOPIC, b"")
        };
        self.0.publish(&message).expect("there is room");
        self.flush(&mut Log::default());
    }

    fn fill(&mut self, bytes: &[u8]) {
        self.0.space()[..bytes.len()].copy_from_slice(bytes);
        self.0.commit(bytes.len());
    }

    fn events(&mut self, outcome: &mut Outcome) -> usize {
        let mut events = 0;
        while let Some(ready) = self.0.poll(NOW).expect("nothing is wrong") {
            let event = self.0.event(ready).expect("nothing is wrong");
            if let Some(Event::Message(message)) = std::hint::black_box(event) {
                outcome.deliver(message.payload);
            }
            events += 1;
        }
        events
    }

    fn flush(&mut self, log: &mut Log) -> usize {
        let mut sent = 0;
        loop {
            let pending = std::hint::black_box(self.0.pending(NOW));
            let len = pending.len();
            if len == 0 {
                return sent;
            }
            log.sent(pending);
            self.0.consume(len, NOW);
            sent += len;
        }
    }
}

impl Peer for Ours {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8], outcome: &mut Outcome, log: &mut Log) {
        log.received(bytes);
        self.fill(bytes);
        self.events(outcome);
        outcome.sent += self.flush(log);
    }

    fn send(&mut self, qos: QoS, log: &mut Log) -> Outcome {
        let message = Message {
            qos,
            ..Message::new(TOPIC, &PAYLOAD)
        };
        let id = self.0.publish(&message).expect("there is room");
        let mut outcome = Outcome::default();
        outcome.sent += self.flush(log);
        match (qos, id) {
            (QoS::AtLeastOnce, Some(id)) => {
                self.put(&Puback::new(id).to_bytes(), &mut outcome, log);
            }
            (QoS::ExactlyOnce, Some(id)) => {
                self.put(&Pubrec::new(id).to_bytes(), &mut outcome, log);
                self.put(&Pubcomp::new(id).to_bytes(), &mut outcome, log);
            }
            _ => {}
        }
        outcome
    }
}

/// The same work on the connection of mqtt-protocol-core, which returns packets to be written as events.
struct Core(Connection<Client>);

impl Core {
    fn connected() -> Connected<Self> {
        let mut connection = Connection::new(Version::V3_1_1);
        connection.set_auto_pub_response(true);
        let connect = v3_1_1::Connect::builder()
            .client_id("bench")
            .expect("it is valid");
        let _ = connection.checked_send(connect.build().expect("it is valid"));
        let mut core = Self(connection);
        core.receive(&CONNACK, &mut Outcome::default(), &mut Log::default());
        Connected::new(core, incoming)
    }

    fn receive(&mut self, bytes: &[u8], outcome: &mut Outcome, log: &mut Log) {
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 {
            handle(self.0.recv(&mut cursor), outcome, log);
        }
    }
}

impl Peer for Core {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8], outcome: &mut Outcome, log: &mut Log) {
        log.received(bytes);
        self.receive(bytes, outcome, log);
    }

    fn send(&mut self, qos: QoS, log: &mut Log) -> Outcome {
        let level = Qos::try_from(qos as u8).expect("it is one");
        let publish = v3_1_1::Publish::builder()
            .topic_name(TOPIC)
            .expect("it is valid");
        let mut publish = publish.qos(level).payload(&PAYLOAD[..]);
        let mut number = 0;
        if qos != QoS::AtMostOnce {
            number = self.0.acquire_packet_id().expect("one is free");
            publish = publish.packet_id(number);
        }
        let events = self.0.checked_send(publish.build().expect("it is valid"));
        let mut outcome = Outcome::default();
        handle(events, &mut outcome, log);
        if qos == QoS::AtLeastOnce {
            let puback = Puback::new(packets::id(number));
            self.put(&puback.to_bytes(), &mut outcome, log);
        } else if qos == QoS::ExactlyOnce {
            let id = packets::id(number);
            self.put(&Pubrec::new(id).to_bytes(), &mut outcome, log);
            self.put(&Pubcomp::new(id).to_bytes(), &mut outcome, log);
        }
        outcome
    }
}

/// Encodes the packets that the connection wants to send, and takes the delivered messages.
fn handle(events: Vec<CoreEvent>, outcome: &mut Outcome, log: &mut Log) {
    for event in std::hint::black_box(events) {
        match event {
            CoreEvent::RequestSendPacket { packet, .. } => {
                let bytes = std::hint::black_box(packet.to_continuous_buffer());
                log.sent(&bytes);
                outcome.sent += bytes.len();
            }
            CoreEvent::NotifyPacketReceived(GenericPacket::V3_1_1Publish(publish)) => {
                outcome.deliver(publish.payload().as_slice());
            }
            CoreEvent::NotifyError(error) => panic!("{error:?}"),
            _ => {}
        }
    }
}

/// Decodes a stream that is received in reads of this size. `one` decodes the packet at the start and returns its
/// length.
fn decode(bytes: &[u8], read: usize, one: impl Fn(&[u8]) -> Option<usize>) -> usize {
    let (mut kept, mut packets) = (Vec::with_capacity(4096), 0);
    for read in bytes.chunks(read) {
        kept.extend_from_slice(read);
        let mut at = 0;
        while let Some(used) = one(&kept[at..]) {
            at += used;
            packets += 1;
        }
        kept.drain(..at);
    }
    packets
}

fn umqtt(bytes: &[u8]) -> Option<usize> {
    let (packet, used) = Packet::decode(bytes).expect("it is valid")?;
    std::hint::black_box(packet);
    Some(used)
}

/// Decodes with mqttrs. It does not return the length of the packet, so the fixed header is read once more.
fn mqttrs(bytes: &[u8]) -> Option<usize> {
    let packet = mqttrs::decode_slice(bytes).expect("it is valid")?;
    std::hint::black_box(packet);
    let (mut length, mut used) = (0, 1);
    loop {
        let byte = bytes[used];
        length |= usize::from(byte & 0x7F) << (7 * (used - 1));
        used += 1;
        if byte < 0x80 {
            return Some(used + length);
        }
    }
}

/// Decodes a stream with a crate that takes the packet at the start out of its buffer. `next` decodes one packet.
fn decode_from<P>(
    bytes: &[u8],
    read: usize,
    mut next: impl FnMut(&mut BytesMut) -> Option<P>,
) -> usize {
    let (mut kept, mut packets) = (BytesMut::with_capacity(4096), 0);
    for read in bytes.chunks(read) {
        kept.extend_from_slice(read);
        while let Some(packet) = next(&mut kept) {
            std::hint::black_box(packet);
            packets += 1;
        }
    }
    packets
}

fn mqttbytes(kept: &mut BytesMut) -> Option<mqttbytes::v4::Packet> {
    match mqttbytes::v4::read(kept, usize::MAX) {
        Ok(packet) => Some(packet),
        Err(mqttbytes::Error::InsufficientBytes(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

fn rumqttc(kept: &mut BytesMut) -> Option<rumqttc::Packet> {
    match rumqttc::Packet::read(kept, usize::MAX) {
        Ok(packet) => Some(packet),
        Err(rumqttc::Error::InsufficientBytes(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}
