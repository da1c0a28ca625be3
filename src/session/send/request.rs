//! The requests of the caller that become packets in the send buffer.

use super::super::in_flight::SlotState;
use crate::codec::{
    Delivery, EncodeError, PacketId, PublishHeader, QoS, TopicName, subscribe, unsubscribe,
};

/// A packet that the caller wants to send.
pub(in crate::session) enum Request<'a> {
    /// A PUBLISH up to its payload.
    Publish {
        topic: TopicName<'a>,
        qos: QoS,
        retain: bool,
        payload_len: usize,
    },
    Subscribe(&'a [(&'a str, QoS)]),
    Unsubscribe(&'a [&'a str]),
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

    /// Writes the packet up to its payload to `out`, and returns the number of bytes.
    pub(super) fn encode(&self, packet_id: PacketId, out: &mut [u8]) -> Result<usize, EncodeError> {
        let dup = false;
        match *self {
            Self::Publish {
                topic,
                qos,
                retain,
                payload_len,
            } => {
                let delivery = match qos {
                    QoS::AtMostOnce => Delivery::AtMostOnce,
                    QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
                    QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
                };
                let header = PublishHeader {
                    topic,
                    delivery,
                    retain,
                    payload_len,
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
