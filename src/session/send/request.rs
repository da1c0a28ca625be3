//! The requests of the caller that become packets in the send buffer.

use super::super::in_flight::SlotState;
use crate::codec::{
    Delivery, EncodeError, PacketId, PublishHeader, QoS, TopicName, subscribe, unsubscribe,
};

/// A packet that the caller wants to send.
pub(in crate::session) enum Request<'a> {
    Publish {
        topic: TopicName<'a>,
        qos: QoS,
        retain: bool,
        payload: Payload<'a>,
    },
    Subscribe(&'a [(&'a str, QoS)]),
    Unsubscribe(&'a [&'a str]),
}

/// The payload of a PUBLISH.
#[derive(Clone, Copy)]
pub(in crate::session) enum Payload<'a> {
    /// Its bytes are copied to the send buffer.
    Whole(&'a [u8]),
    /// The caller provides this many bytes while the packet is sent.
    Streamed(usize),
}

impl Request<'_> {
    /// Returns the state in which the request waits for its acknowledgement, or `None` at QoS 0.
    pub(super) fn state(&self) -> Option<SlotState> {
        match self {
            Self::Publish { qos, .. } => match qos {
                QoS::AtMostOnce => None,
                QoS::AtLeastOnce => Some(SlotState::Puback),
                QoS::ExactlyOnce => Some(SlotState::Pubrec),
            },
            Self::Subscribe(_) => Some(SlotState::Suback),
            Self::Unsubscribe(_) => Some(SlotState::Unsuback),
        }
    }

    /// Returns `true` if the caller provides the payload later.
    pub(super) fn is_streamed(&self) -> bool {
        matches!(
            self,
            Self::Publish {
                payload: Payload::Streamed(_),
                ..
            }
        )
    }

    /// Returns the bytes that follow what [`Self::encode`] writes.
    pub(super) fn payload(&self) -> &[u8] {
        match self {
            Self::Publish {
                payload: Payload::Whole(bytes),
                ..
            } => bytes,
            _ => &[],
        }
    }

    /// Writes the packet up to its payload to `out`, and returns the number of bytes.
    pub(super) fn encode(&self, packet_id: PacketId, out: &mut [u8]) -> Result<usize, EncodeError> {
        match *self {
            Self::Publish {
                topic,
                qos,
                retain,
                payload,
            } => {
                let dup = false;
                let header = PublishHeader {
                    topic,
                    delivery: match qos {
                        QoS::AtMostOnce => Delivery::AtMostOnce,
                        QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
                        QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
                    },
                    retain,
                    payload_len: match payload {
                        Payload::Whole(bytes) => bytes.len(),
                        Payload::Streamed(len) => len,
                    },
                };
                header.encode(out).map(<[u8]>::len)
            }
            Self::Subscribe(filters) => subscribe::encode(packet_id, filters.iter().copied(), out),
            Self::Unsubscribe(filters) => {
                unsubscribe::encode(packet_id, filters.iter().copied(), out)
            }
        }
    }
}
