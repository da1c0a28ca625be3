//! Rows of the session: received and sent messages with all their acknowledgements, and a stream of packets.

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::{
    Connection, Version,
    common::Cursor,
    connection::Event as CoreEvent,
    packet::{GenericPacketTrait, Qos, v3_1_1},
    role::Client,
};
use tokio_util::codec::Decoder;
use umqtt::codec::{Connect, Delivery, Packet, PacketId, Puback, Pubcomp, Pubrec, Pubrel, QoS};
use umqtt::{Instant, Message, Session, Storage};

use crate::floor;
use crate::measure::Jobs;
use crate::minimq::Minimq;
use crate::mqttrust::Mqttrust;
use crate::packets::{self, TOPIC};
use crate::rust_mqtt::RustMqtt;

const NOW: Instant = Instant::from_millis(0);
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// Sizes of the reads in which the stream is received.
pub const READS: [usize; 4] = [1, 7, 64, 1460];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

pub fn add(jobs: &mut Jobs) {
    for qos in LEVELS {
        let row = format!("receive QoS {}, 64 B", qos as u8);
        let mut ours = connected(256);
        jobs.add(
            format!("session/{row}/umqtt"),
            || (),
            move |()| ours.receive(qos),
        );
        let mut core = Core::connected();
        jobs.add(
            format!("session/{row}/mqtt-protocol-core"),
            || (),
            move |()| core.receive(qos),
        );
        let mut other = Mqttrust::connected(message);
        let name = format!("session/{row}/mqttrust");
        jobs.add(name, || (), move |()| other.receive(qos as usize));
        let mut other = Minimq::connected(256);
        let name = format!("session/{row}/minimq");
        jobs.add(name, || (), move |()| other.receive(qos as usize));
        let mut other = RustMqtt::connected();
        let name = format!("session/{row}/rust-mqtt");
        jobs.add(name, || (), move |()| other.receive(qos as usize));
    }
    for qos in LEVELS {
        let row = format!("send QoS {}, 64 B", qos as u8);
        let mut ours = connected(256);
        jobs.add(
            format!("session/{row}/umqtt"),
            || (),
            move |()| ours.send(qos),
        );
        let mut core = Core::connected();
        jobs.add(
            format!("session/{row}/mqtt-protocol-core"),
            || (),
            move |()| core.send(qos),
        );
        let mut other = Mqttrust::connected(message);
        let name = format!("session/{row}/mqttrust");
        jobs.add(name, || (), move |()| other.send(qos as usize));
        let mut other = Minimq::connected(256);
        let name = format!("session/{row}/minimq");
        jobs.add(name, || (), move |()| other.send(qos as usize));
        let mut other = RustMqtt::connected();
        let name = format!("session/{row}/rust-mqtt");
        jobs.add(name, || (), move |()| other.send(qos as usize));
    }
    let bytes: &'static [u8] = stream().leak();
    for read in READS {
        let row = format!("stream of 1,000 packets, reads of {read} B");
        let mut ours = connected(2048);
        jobs.add(
            format!("session/{row}/umqtt"),
            || (),
            move |()| ours.take(bytes, read),
        );
        let mut core = Core::connected();
        let name = format!("session/{row}/mqtt-protocol-core");
        jobs.add(name, || (), move |()| core.take(bytes, read));
        let row = format!("decode {row}");
        jobs.add(
            format!("session/{row}/umqtt"),
            || (),
            move |()| decode(bytes, read, umqtt),
        );
        let name = format!("session/{row}/floor");
        jobs.add(name, || (), move |()| decode(bytes, read, floor::next));
        jobs.add(
            format!("session/{row}/mqttrs"),
            || (),
            move |()| decode(bytes, read, mqttrs),
        );
        jobs.add(
            format!("session/{row}/mqttbytes"),
            || (),
            move |()| mqttbytes(bytes, read),
        );
        jobs.add(
            format!("session/{row}/rmqtt-codec"),
            || (),
            move |()| rmqtt(bytes, read),
        );
        jobs.add(
            format!("session/{row}/rumqttc-v4-next"),
            || (),
            move |()| rumqttc(bytes, read),
        );
    }
}

fn delivery(qos: QoS, packet_id: PacketId) -> Delivery {
    let dup = false;
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
    }
}

/// Returns an encoded PUBLISH, as it is sent to the clients on a line.
fn message(qos: u8, payload: &[u8]) -> Vec<u8> {
    incoming(QoS::try_from(qos).expect("it is one"), 9, payload)
}

/// Returns an encoded PUBLISH.
fn incoming(qos: QoS, number: u16, payload: &[u8]) -> Vec<u8> {
    let publish = packets::publish(delivery(qos, packets::id(number)), payload);
    packets::encoded(&Packet::Publish(publish))
}

/// Returns the stream, 200 times these packets: PUBLISH at QoS 0 of 64 B and of 300 B, QoS 1 of 16 B, QoS 2 of 64 B,
/// and its PUBREL.
pub fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 1..=200 {
        bytes.extend(incoming(QoS::AtMostOnce, number, &PAYLOAD));
        bytes.extend(incoming(QoS::AtLeastOnce, number, &PAYLOAD[..16]));
        bytes.extend(incoming(QoS::AtMostOnce, number, &[b'x'; 300]));
        bytes.extend(incoming(QoS::ExactlyOnce, number, &PAYLOAD));
        bytes.extend(Pubrel::new(packets::id(number)).to_bytes());
    }
    bytes
}

/// A session of umqtt, which exists until the program ends.
pub struct Ours {
    session: Session<'static>,
    /// One message at each QoS.
    messages: [Vec<u8>; 3],
}

/// Returns a connected session with a receive buffer of 256 or 2,048 bytes.
pub fn connected(rx: usize) -> Ours {
    match rx {
        256 => Ours::connected(Session::new(Box::leak(Box::new(
            Storage::<256, 4096, 8>::new(),
        )))),
        _ => Ours::connected(Session::new(Box::leak(Box::new(
            Storage::<2048, 4096, 8>::new(),
        )))),
    }
}

impl Ours {
    pub fn connected(session: Session<'static>) -> Self {
        let messages = LEVELS.map(|qos| incoming(qos, 9, &PAYLOAD));
        let mut ours = Self { session, messages };
        let options = Connect {
            keep_alive: Connect::NO_KEEP_ALIVE,
            ..Connect::new("bench")
        };
        ours.session.connect(&options, NOW).expect("it fits");
        ours.flush();
        ours.put(&CONNACK);
        assert_eq!(ours.events(), 1, "it is connected");
        ours
    }

    /// Receives a message, with all acknowledgements.
    fn receive(&mut self, qos: QoS) -> usize {
        let message = std::mem::take(&mut self.messages[qos as usize]);
        self.put(&message);
        self.messages[qos as usize] = message;
        let mut sent = self.turn();
        if qos == QoS::ExactlyOnce {
            self.put(&Pubrel::new(packets::id(9)).to_bytes());
            sent += self.turn();
        }
        sent
    }

    /// Sends a message, with all acknowledgements.
    pub fn send(&mut self, qos: QoS) -> usize {
        let message = Message {
            qos,
            ..Message::new(TOPIC, &PAYLOAD)
        };
        let id = self.session.publish(&message).expect("there is room");
        let mut sent = self.flush();
        match (qos, id) {
            (QoS::AtLeastOnce, Some(id)) => self.put(&Puback::new(id).to_bytes()),
            (QoS::ExactlyOnce, Some(id)) => {
                self.put(&Pubrec::new(id).to_bytes());
                sent += self.turn();
                self.put(&Pubcomp::new(id).to_bytes());
            }
            _ => return sent,
        }
        sent + self.turn()
    }

    /// Publishes a message that is not acknowledged.
    pub fn leave_open(&mut self) {
        let message = Message {
            qos: QoS::AtLeastOnce,
            ..Message::new(TOPIC, b"")
        };
        self.session.publish(&message).expect("there is room");
        self.flush();
    }

    /// Receives bytes in reads of this size.
    pub fn take(&mut self, bytes: &[u8], read: usize) -> usize {
        bytes
            .chunks(read)
            .map(|read| {
                self.put(read);
                self.turn()
            })
            .sum()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.session.space()[..bytes.len()].copy_from_slice(bytes);
        self.session.commit(bytes.len());
    }

    fn turn(&mut self) -> usize {
        self.events() + self.flush()
    }

    fn events(&mut self) -> usize {
        let mut events = 0;
        while let Some(ready) = self.session.poll(NOW).expect("nothing is wrong") {
            let event = self.session.event(ready).expect("nothing is wrong");
            std::hint::black_box(event);
            events += 1;
        }
        events
    }

    fn flush(&mut self) -> usize {
        let mut sent = 0;
        loop {
            let pending = std::hint::black_box(self.session.pending(NOW)).len();
            if pending == 0 {
                return sent;
            }
            self.session.consume(pending, NOW);
            sent += pending;
        }
    }
}

/// The same work on the connection of mqtt-protocol-core, which returns packets to be written as events.
struct Core {
    connection: Connection<Client>,
    messages: [Vec<u8>; 3],
}

impl Core {
    fn connected() -> Self {
        let mut connection = Connection::new(Version::V3_1_1);
        connection.set_auto_pub_response(true);
        let connect = v3_1_1::Connect::builder()
            .client_id("bench")
            .expect("it is valid");
        let _ = connection.checked_send(connect.build().expect("it is valid"));
        let messages = LEVELS.map(|qos| incoming(qos, 9, &PAYLOAD));
        let mut core = Self {
            connection,
            messages,
        };
        core.put(&CONNACK);
        core
    }

    fn receive(&mut self, qos: QoS) -> usize {
        let message = std::mem::take(&mut self.messages[qos as usize]);
        let mut sent = self.put(&message);
        self.messages[qos as usize] = message;
        if qos == QoS::ExactlyOnce {
            sent += self.put(&Pubrel::new(packets::id(9)).to_bytes());
        }
        sent
    }

    fn send(&mut self, qos: QoS) -> usize {
        let level = Qos::try_from(qos as u8).expect("it is one");
        let publish = v3_1_1::Publish::builder()
            .topic_name(TOPIC)
            .expect("it is valid");
        let mut publish = publish.qos(level).payload(&PAYLOAD[..]);
        let mut number = 0;
        if qos != QoS::AtMostOnce {
            number = self.connection.acquire_packet_id().expect("one is free");
            publish = publish.packet_id(number);
        }
        let events = self
            .connection
            .checked_send(publish.build().expect("it is valid"));
        let mut sent = written(events);
        if qos == QoS::AtLeastOnce {
            sent += self.put(&Puback::new(packets::id(number)).to_bytes());
        } else if qos == QoS::ExactlyOnce {
            sent += self.put(&Pubrec::new(packets::id(number)).to_bytes());
            sent += self.put(&Pubcomp::new(packets::id(number)).to_bytes());
        }
        sent
    }

    fn take(&mut self, bytes: &[u8], read: usize) -> usize {
        bytes.chunks(read).map(|read| self.put(read)).sum()
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 {
            sent += written(self.connection.recv(&mut cursor));
        }
        sent
    }
}

/// Encodes the packets that the connection wants to send. Returns their length.
fn written(events: Vec<CoreEvent>) -> usize {
    let mut sent = 0;
    for event in std::hint::black_box(events) {
        match event {
            CoreEvent::RequestSendPacket { packet, .. } => {
                sent += std::hint::black_box(packet.to_continuous_buffer()).len();
            }
            CoreEvent::NotifyError(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    sent
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

fn mqttbytes(bytes: &[u8], read: usize) -> usize {
    let (mut kept, mut packets) = (BytesMut::with_capacity(4096), 0);
    for read in bytes.chunks(read) {
        kept.extend_from_slice(read);
        loop {
            match mqttbytes::v4::read(&mut kept, usize::MAX) {
                Ok(packet) => {
                    std::hint::black_box(packet);
                    packets += 1;
                }
                Err(mqttbytes::Error::InsufficientBytes(_)) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    packets
}

fn rumqttc(bytes: &[u8], read: usize) -> usize {
    let (mut kept, mut packets) = (BytesMut::with_capacity(4096), 0);
    for read in bytes.chunks(read) {
        kept.extend_from_slice(read);
        loop {
            match rumqttc::Packet::read(&mut kept, usize::MAX) {
                Ok(packet) => {
                    std::hint::black_box(packet);
                    packets += 1;
                }
                Err(rumqttc::Error::InsufficientBytes(_)) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    packets
}

fn rmqtt(bytes: &[u8], read: usize) -> usize {
    let mut codec = rmqtt_codec::v3::Codec::new(0);
    let (mut kept, mut packets) = (BytesMut::with_capacity(4096), 0);
    for read in bytes.chunks(read) {
        kept.extend_from_slice(read);
        while let Some(packet) = codec.decode(&mut kept).expect("it is valid") {
            std::hint::black_box(packet);
            packets += 1;
        }
    }
    packets
}
