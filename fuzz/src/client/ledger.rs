//! Counts the messages that both sides published, and their deliveries.

use std::collections::HashMap;

use umqtt::{
    Event, Session,
    codec::{PacketId, Publish},
};

/// A message from the client.
pub(crate) struct Up {
    pub(crate) qos: u8,
    pub(crate) len: usize,
    /// The client has reported its delivery.
    pub(crate) accepted: bool,
    /// The call that provided its payload was dropped or failed, so the client may discard it.
    pub(crate) may_be_discarded: bool,
    pub(crate) arrived: u32,
}

/// A message to the client.
pub(crate) struct Down {
    pub(crate) qos: u8,
    pub(crate) len: usize,
    /// Number of times that its last part was received.
    pub(crate) seen: u32,
    /// It was read as a stream, so its last part need not be received.
    pub(crate) skipped: bool,
}

/// Messages of both directions, by the number in the topic.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) ups: Vec<Up>,
    pub(crate) downs: Vec<Down>,
    /// The messages whose payloads are not in the send buffer.
    long: HashMap<PacketId, usize>,
    /// The message whose payload must be provided again.
    pub(crate) needed: Option<PacketId>,
    last_id: Option<PacketId>,
    /// Expected start of the next chunk.
    chunk_at: Option<(usize, usize)>,
}

pub(crate) fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| byte(number, at)).collect()
}

pub(crate) fn byte(number: usize, at: usize) -> u8 {
    (number * 31 + at * 7) as u8
}

fn number(topic: &str) -> usize {
    let (_, number) = topic.split_once('/').expect("a topic of this test");
    number.parse().expect("a number")
}

impl Ledger {
    pub(crate) fn up(&mut self, qos: u8, len: usize) -> usize {
        self.ups.push(Up {
            qos,
            len,
            accepted: false,
            may_be_discarded: false,
            arrived: 0,
        });
        self.ups.len() - 1
    }

    pub(crate) fn down(&mut self, qos: u8, len: usize) -> usize {
        let (seen, skipped) = (0, false);
        self.downs.push(Down {
            qos,
            len,
            seen,
            skipped,
        });
        self.downs.len() - 1
    }

    /// Counts a message that the server received. Returns its number.
    pub(crate) fn arrived(&mut self, publish: &Publish<'_>) -> usize {
        let number = number(publish.topic.as_str());
        let up = &mut self.ups[number];
        assert_eq!(publish.delivery.qos() as u8, up.qos);
        assert_eq!(publish.payload, payload(number, up.len));
        up.arrived += 1;
        number
    }

    /// Records that a payload, or a part of it, was provided. Only the session knows its id.
    pub(crate) fn begun(&mut self, number: usize, session: &Session<'_>) {
        let id = session.last_packet_id();
        if id != self.last_id && self.ups[number].qos > 0 {
            self.long.extend(id.map(|id| (id, number)));
        }
        self.note_id(session);
    }

    pub(crate) fn note_id(&mut self, session: &Session<'_>) {
        self.last_id = session.last_packet_id();
    }

    /// Returns the message that was begun with this id.
    pub(crate) fn begun_as(&self, id: PacketId) -> usize {
        self.long[&id]
    }

    /// Handles an event, and checks the message in it.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        let expected = self.chunk_at.take();
        match event {
            Event::Message(message) => {
                let number = number(message.topic);
                let down = &mut self.downs[number];
                assert_eq!(message.qos as u8, down.qos);
                assert_eq!(message.payload, payload(number, down.len));
                down.seen += 1;
            }
            Event::Chunk(chunk) => {
                let number = number(chunk.topic);
                let down = &mut self.downs[number];
                if chunk.offset > 0 {
                    assert_eq!(
                        expected,
                        Some((number, chunk.offset)),
                        "chunks in their order"
                    );
                }
                let end = chunk.offset + chunk.bytes.len();
                assert_eq!(chunk.total, down.len);
                assert_eq!(chunk.bytes, &payload(number, down.len)[chunk.offset..end]);
                if chunk.is_last() {
                    down.seen += 1;
                } else {
                    self.chunk_at = Some((number, end));
                }
            }
            Event::PayloadNeeded(id) => self.needed = Some(*id),
            Event::PublishDiscarded(id) | Event::DeliveryUnknown(id) => {
                panic!("{id:?} was discarded without a request")
            }
            _ => self.chunk_at = expected,
        }
    }

    /// Returns the number and the position of the message of this event, which is read as a stream.
    pub(crate) fn skip(&mut self, event: &Event<'_>) -> Option<(usize, usize)> {
        let (number, at) = match event {
            Event::Message(message) => (number(message.topic), 0),
            Event::Chunk(chunk) => (number(chunk.topic), chunk.offset),
            _ => return None,
        };
        self.downs[number].skipped = true;
        self.chunk_at = None;
        Some((number, at))
    }

    /// Records that the message is no longer read as a stream: its next chunk is an event.
    pub(crate) fn resume(&mut self, number: usize, at: usize) {
        self.chunk_at = Some((number, at));
    }

    /// Checks the counts after all deliveries are complete.
    pub(crate) fn close(&self) {
        for (number, up) in self.ups.iter().enumerate() {
            let arrived = up.arrived;
            assert!(
                up.qos == 1 || arrived <= 1,
                "message {number} was received twice"
            );
            assert!(
                up.qos == 0 || !up.accepted || arrived > 0,
                "message {number} was lost"
            );
        }
        for (number, down) in self.downs.iter().enumerate() {
            let seen = down.seen;
            assert!(
                down.qos == 1 || seen <= 1,
                "message {number} was delivered twice"
            );
            assert!(
                down.qos == 0 || down.skipped || seen > 0,
                "message {number} was not delivered"
            );
        }
    }
}
