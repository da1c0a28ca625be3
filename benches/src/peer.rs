//! The clients whose sessions are compared, and checks of the messages and packets of each run.

use umqtt::codec::QoS;

use crate::measure::Jobs;

pub const PAYLOAD: [u8; 64] = [b'x'; 64];
pub const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
/// Packet id of each received message.
pub const ID: u16 = 9;
pub const PUBREL: [u8; 4] = [0x62, 2, 0, ID as u8];

/// A connected client.
pub trait Peer {
    /// First byte of the PUBREL that it sends.
    const PUBREL: u8 = PUBREL[0];

    /// Receives bytes at once, handles them, and sends the acknowledgements.
    fn put(&mut self, bytes: &[u8], outcome: &mut Outcome, log: &mut Log);

    /// Sends [`PAYLOAD`], and handles all acknowledgements.
    fn send(&mut self, qos: QoS, log: &mut Log) -> Outcome;
}

/// The result of a run.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Outcome {
    /// Messages that were delivered, and the bytes of their payloads.
    pub messages: usize,
    pub payload: usize,
    /// Bytes that the client has sent.
    pub sent: usize,
}

impl Outcome {
    pub const fn deliver(&mut self, payload: &[u8]) {
        self.messages += 1;
        self.payload += payload.len();
    }
}

/// The packets of a client, in order. A measured run logs nothing. The type is the same in both, so that the compiler
/// inlines the same functions.
#[derive(Default)]
pub struct Log(Option<Vec<Packet>>);

impl Log {
    pub fn received(&mut self, bytes: &[u8]) {
        if let Some(packets) = &mut self.0 {
            add_packets(packets, false, bytes);
        }
    }

    pub fn sent(&mut self, bytes: &[u8]) {
        if let Some(packets) = &mut self.0 {
            add_packets(packets, true, bytes);
        }
    }
}

/// A packet on a connection. The packet id is 0 if it has none.
#[derive(PartialEq, Debug)]
struct Packet {
    is_from_client: bool,
    first: u8,
    id: u16,
}

/// Splits bytes into packets, which are PUBLISH or acknowledgements of a PUBLISH.
#[cold]
fn add_packets(log: &mut Vec<Packet>, is_from_client: bool, mut bytes: &[u8]) {
    let number = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    while let [first, length, ..] = *bytes {
        assert!(length < 0x80, "the packet is short");
        let (packet, rest) = bytes.split_at(2 + usize::from(length));
        let body = &packet[2..];
        let id = match first >> 4 {
            3 if first & 0b0110 == 0 => 0,
            3 => number(&body[2 + usize::from(number(body))..]),
            4..=7 => number(body),
            _ => panic!("a packet {first:#x}"),
        };
        log.push(Packet {
            is_from_client,
            first,
            id,
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "all packets are complete");
}

/// Returns the packets of a message: PUBLISH and its acknowledgements.
fn exchange(is_from_client: bool, qos: QoS, id: u16, pubrel: u8) -> Vec<Packet> {
    let firsts: &[u8] = match qos {
        QoS::AtMostOnce => &[0x30],
        QoS::AtLeastOnce => &[0x32, 0x40],
        QoS::ExactlyOnce => &[0x34, 0x50, pubrel, 0x70],
    };
    // Sender and receiver take turns.
    let turns = [is_from_client, !is_from_client].into_iter().cycle();
    let packets = firsts.iter().zip(turns);
    packets
        .map(|(&first, is_from_client)| Packet {
            is_from_client,
            first,
            id,
        })
        .collect()
}

/// A client, and a message at each QoS for it.
pub struct Connected<P> {
    pub peer: P,
    messages: [Vec<u8>; 3],
}

impl<P: Peer> Connected<P> {
    pub fn new(peer: P, message: fn(u8, u16, &[u8]) -> Vec<u8>) -> Self {
        let messages = LEVELS.map(|qos| message(qos as u8, ID, &PAYLOAD));
        Self { peer, messages }
    }

    /// Receives a message, with all acknowledgements.
    fn receive(&mut self, qos: QoS, log: &mut Log) -> Outcome {
        let mut outcome = Outcome::default();
        self.peer
            .put(&self.messages[qos as usize], &mut outcome, log);
        if qos == QoS::ExactlyOnce {
            self.peer.put(&PUBREL, &mut outcome, log);
        }
        outcome
    }

    /// Receives a message at QoS 2 twice before PUBREL. Returns how often it was delivered.
    pub fn deliveries_of_repeated(&mut self) -> usize {
        let mut outcome = Outcome::default();
        for bytes in [&self.messages[2], &self.messages[2], &PUBREL.to_vec()] {
            self.peer.put(bytes, &mut outcome, &mut Log::default());
        }
        outcome.messages
    }
}

/// Adds a received message. The first run checks message and packets, all others check their number.
pub fn add_receive<P: Peer + 'static>(
    jobs: &mut Jobs,
    qos: QoS,
    who: &str,
    mut client: Connected<P>,
) {
    let name = format!("session/receive QoS {}, 64 B/{who}", qos as u8);
    let id = if qos == QoS::AtMostOnce { 0 } else { ID };
    let mut log = Log(Some(Vec::new()));
    let outcome = client.receive(qos, &mut log);
    assert_eq!(
        log.0.unwrap_or_default(),
        exchange(false, qos, id, PUBREL[0]),
        "{name}"
    );
    let delivered = (outcome.messages, outcome.payload);
    assert_eq!(delivered, (1, PAYLOAD.len()), "{name}");
    jobs.add_checked(name, outcome, move || {
        client.receive(qos, &mut Log::default())
    });
}

/// Adds a sent message. The first run checks its packets, all others check the number of sent bytes.
pub fn add_send<P: Peer + 'static>(jobs: &mut Jobs, qos: QoS, who: &str, mut client: Connected<P>) {
    let name = format!("session/send QoS {}, 64 B/{who}", qos as u8);
    let mut log = Log(Some(Vec::new()));
    let outcome = client.peer.send(qos, &mut log);
    let packets = log.0.unwrap_or_default();
    let id = packets.first().map_or(0, |publish| publish.id);
    assert_eq!(id == 0, qos == QoS::AtMostOnce, "{name}: packet id {id}");
    assert_eq!(packets, exchange(true, qos, id, P::PUBREL), "{name}");
    assert_eq!(outcome.messages, 0, "{name}");
    jobs.add_checked(name, outcome, move || {
        client.peer.send(qos, &mut Log::default())
    });
}
