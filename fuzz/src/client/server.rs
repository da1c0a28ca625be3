//! A correct server for one client. It keeps the session over all connections.

use std::collections::{HashMap, VecDeque};

use umqtt::codec::{Delivery, Packet, PacketId};

use super::super::wire::Wire;
use super::ledger::{Ledger, payload};

/// Maximum number of messages in flight to the client.
const WINDOW: usize = 3;

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) ledger: Ledger,
    /// It has sent arbitrary bytes.
    pub(crate) is_hostile: bool,
    has_session: bool,
    queue: VecDeque<usize>,
    in_flight: Vec<Out>,
    /// Messages at QoS 2 that were not released.
    received: HashMap<PacketId, usize>,
    last_id: u8,
    link: Link,
}

/// A message in flight to the client.
struct Out {
    id: u8,
    number: usize,
    released: bool,
}

/// The present connection.
#[derive(Default)]
struct Link {
    wire: Wire,
    refuses: bool,
    open: bool,
    closed: bool,
    /// The client has sent DISCONNECT.
    left: bool,
}

impl Server {
    /// Begins a new connection. The server may refuse it because it is busy.
    pub(crate) fn accept(&mut self, refuses: bool) {
        self.link = Link {
            refuses,
            ..Link::default()
        };
    }

    pub(crate) fn has_closed(&self) -> bool {
        self.link.closed
    }

    /// Returns `true` if no message is pending. A client never releases a message that it discarded before PUBREC.
    pub(crate) fn is_at_rest(&self) -> bool {
        let may_be_discarded = |number: &usize| self.ledger.ups[*number].may_be_discarded;
        self.queue.is_empty()
            && self.in_flight.is_empty()
            && self.received.values().all(may_be_discarded)
    }

    pub(crate) fn offer(&mut self, number: usize) {
        self.queue.push_back(number);
    }

    /// Returns the answer of the server to these bytes.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        let mut wire = std::mem::take(&mut self.link.wire);
        wire.take(bytes, |packet| {
            if self.link.left || !self.link.closed {
                self.packet(packet, &mut answers);
            }
        });
        self.link.wire = wire;
        answers
    }

    /// Sends new messages, as far as the window allows.
    pub(crate) fn pump(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.link.open && self.in_flight.len() < WINDOW {
            let Some(number) = self.queue.pop_front() else {
                break;
            };
            let id = match self.ledger.downs[number].qos {
                0 => 0,
                _ => self.free_id(),
            };
            out.extend(self.publish(number, id, false));
            if id > 0 {
                let released = false;
                self.in_flight.push(Out {
                    id,
                    number,
                    released,
                });
            }
        }
        out
    }

    fn free_id(&mut self) -> u8 {
        while self.last_id == 0 || self.in_flight.iter().any(|out| out.id == self.last_id) {
            self.last_id = self.last_id.wrapping_add(1) % 8;
        }
        self.last_id
    }

    fn publish(&self, number: usize, id: u8, dup: bool) -> Vec<u8> {
        let down = &self.ledger.downs[number];
        let topic = format!("d/{number}");
        let id: &[u8] = if id == 0 { &[] } else { &[0, id] };
        let payload = payload(number, down.len);
        let len = 2 + topic.len() + id.len() + payload.len();
        let mut packet = vec![0x30 | u8::from(dup) << 3 | down.qos << 1];
        if len > 127 {
            packet.push((len % 128) as u8 | 0x80);
        }
        packet.push((len >> if len > 127 { 7 } else { 0 }) as u8);
        packet.extend([0, topic.len() as u8]);
        [&packet, topic.as_bytes(), id, &payload].concat()
    }

    fn packet(&mut self, packet: &Packet<'_>, answers: &mut Vec<u8>) {
        let answer = |first: u8, id: PacketId| {
            let [high, low] = id.get().to_be_bytes();
            [first, 2, high, low]
        };
        assert!(!self.link.left, "{packet:?} after DISCONNECT");
        match packet {
            Packet::Connect(_) => answers.extend(self.connect()),
            Packet::Publish(publish) => match publish.delivery {
                Delivery::AtMostOnce => {
                    self.ledger.arrived(publish);
                }
                Delivery::AtLeastOnce { packet_id, .. } => {
                    self.ledger.arrived(publish);
                    answers.extend(answer(0x40, packet_id));
                }
                Delivery::ExactlyOnce { packet_id, .. } => {
                    if !self.received.contains_key(&packet_id) {
                        let number = self.ledger.arrived(publish);
                        self.received.insert(packet_id, number);
                    }
                    answers.extend(answer(0x50, packet_id));
                }
            },
            Packet::Pubrel(pubrel) => {
                self.received.remove(&pubrel.packet_id);
                answers.extend(answer(0x70, pubrel.packet_id));
            }
            Packet::Puback(ack) => self.done(ack.packet_id, 1, false),
            Packet::Pubrec(ack) => {
                let out = self.in_flight.iter_mut();
                if let Some(out) = out.into_iter().find(|out| is(out, ack.packet_id)) {
                    out.released = true;
                }
                answers.extend(answer(0x62, ack.packet_id));
            }
            Packet::Pubcomp(ack) => self.done(ack.packet_id, 2, true),
            Packet::Subscribe(subscribe) => {
                let [high, low] = subscribe.packet_id().get().to_be_bytes();
                answers.extend([0x90, 3, high, low, 1]);
            }
            Packet::Unsubscribe(unsubscribe) => {
                answers.extend(answer(0xB0, unsubscribe.packet_id()));
            }
            Packet::Pingreq => answers.extend([0xD0, 0]),
            Packet::Disconnect => {
                self.link.open = false;
                self.link.closed = true;
                self.link.left = true;
            }
            other => panic!("{other:?} from a client"),
        }
        answers.extend(self.pump());
    }

    /// [MQTT-4.4.0-1] Resends unacknowledged messages.
    fn connect(&mut self) -> Vec<u8> {
        if self.link.refuses {
            self.link.closed = true;
            return vec![0x20, 2, 0, 3];
        }
        let mut answers = vec![0x20, 2, u8::from(self.has_session), 0];
        self.has_session = true;
        self.link.open = true;
        for out in &self.in_flight {
            answers.extend(match out.released {
                true => vec![0x62, 2, 0, out.id],
                false => self.publish(out.number, out.id, true),
            });
        }
        answers
    }

    /// Handles the final acknowledgement of a message.
    fn done(&mut self, id: PacketId, qos: u8, released: bool) {
        let found = self
            .in_flight
            .iter()
            .position(|out| is(out, id) && out.released == released);
        match found {
            Some(at) => {
                let out = self.in_flight.remove(at);
                let down = &self.ledger.downs[out.number];
                let is_right = down.qos == qos && (down.seen > 0 || down.skipped);
                assert!(
                    is_right || self.is_hostile,
                    "an answer of the wrong kind, or to a message that was not delivered"
                );
            }
            // A PUBREL that was sent twice is answered twice.
            None => assert!(qos == 2 || self.is_hostile, "a PUBACK that answers nothing"),
        }
    }
}

fn is(out: &Out, id: PacketId) -> bool {
    u16::from(out.id) == id.get()
}
