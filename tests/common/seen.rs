//! Events that a test keeps.

use umqtt::{Event, codec::QoS};

/// An owned event. A message that was received in chunks is one message again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// A whole message.
    Message {
        topic: String,
        payload: Vec<u8>,
        qos: QoS,
        retain: bool,
        dup: bool,
    },
    /// Chunks of an incomplete message.
    Part { topic: String, payload: Vec<u8> },
    /// Any other event, as `Debug` prints it.
    Other(String),
}

impl Seen {
    /// Returns the expected event of a message at QoS 0.
    pub(crate) fn message(topic: &str, payload: &[u8]) -> Self {
        Self::Message {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
        }
    }

    /// Returns the expected owned form of an event without borrowed text.
    pub(crate) fn other(event: Event<'_>) -> Self {
        Self::Other(format!("{event:?}"))
    }
}

/// Adds an event to the recorded ones.
pub(crate) fn record(seen: &mut Vec<Seen>, event: Event<'_>) {
    match event {
        Event::Message(message) => seen.push(Seen::Message {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            dup: message.dup,
        }),
        Event::Chunk(chunk) => {
            let mut payload = match seen.pop() {
                Some(Seen::Part { payload, .. }) => payload,
                last => {
                    seen.extend(last);
                    Vec::new()
                }
            };
            assert_eq!(chunk.offset, payload.len(), "the chunks leave a gap");
            assert!(!chunk.bytes.is_empty());
            payload.extend_from_slice(chunk.bytes);
            let topic = chunk.topic.to_owned();
            seen.push(if chunk.is_last() {
                assert_eq!(payload.len(), chunk.total);
                Seen::Message {
                    topic,
                    payload,
                    qos: chunk.delivery.qos(),
                    retain: chunk.retain,
                    dup: chunk.delivery.dup(),
                }
            } else {
                Seen::Part { topic, payload }
            });
        }
        other => seen.push(Seen::other(other)),
    }
}
