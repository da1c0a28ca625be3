//! What a session tells its caller.

use super::image::Checkpoint;
use crate::codec::{Delivery, PacketId, Publish, QoS, SubackCodes};

/// An application message, in either direction.
///
/// The topic is checked where the message is handed over: by `publish` on the way out, by the decoder on the way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Message<'a> {
    /// The topic name (section 3.3.2.1).
    pub topic: &'a str,
    /// The payload; it may be empty.
    pub payload: &'a [u8],
    /// The quality of service (section 4.3).
    pub qos: QoS,
    /// The retain flag (section 3.3.1.3).
    pub retain: bool,
    /// The DUP flag as it came; it decides nothing (section 3.3.1.1). A publish ignores it and sets its own.
    pub dup: bool,
}

impl<'a> Message<'a> {
    /// A message at QoS 0 that is not retained.
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
        }
    }
}

impl<'a> From<Publish<'a>> for Message<'a> {
    fn from(publish: Publish<'a>) -> Self {
        Self {
            topic: publish.topic.as_str(),
            payload: publish.payload,
            qos: publish.delivery.qos(),
            retain: publish.retain,
            dup: publish.delivery.dup(),
        }
    }
}

/// A message to be published whose payload is not in one piece, or not in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StreamedPublish<'a> {
    /// A new message.
    New {
        /// The topic name.
        topic: &'a str,
        /// The quality of service. Above QoS 0 the payload has to be given again when the connection is lost before
        /// the acknowledgement has come: [`Event::PayloadNeeded`] asks for it.
        qos: QoS,
        /// The retain flag.
        retain: bool,
    },
    /// The message for which [`Event::PayloadNeeded`] asks.
    Resend(PacketId),
}

impl<'a> StreamedPublish<'a> {
    /// A new message at QoS 0 that is not retained.
    pub const fn new(topic: &'a str) -> Self {
        Self::New {
            topic,
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }
}

/// A part of a message that is larger than the receive buffer, with all that is needed to use it alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Chunk<'a> {
    /// The topic name of the message.
    pub topic: &'a str,
    /// Quality of service, packet id and DUP flag of the message, as they came.
    pub delivery: Delivery,
    /// The retain flag of the message.
    pub retain: bool,
    /// Where these bytes begin in the payload.
    pub offset: usize,
    /// Length of the whole payload, in bytes.
    pub total: usize,
    /// The bytes; never empty.
    pub bytes: &'a [u8],
}

impl Chunk<'_> {
    /// Whether the message is complete with this chunk.
    pub const fn is_last(&self) -> bool {
        self.offset.saturating_add(self.bytes.len()) >= self.total
    }
}

/// Something that the caller may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event<'a> {
    /// The server accepted the connection.
    Connected {
        /// Whether the server kept the session. If not, subscribe again: it knows of no subscription
        /// \[MQTT-3.2.2-3\].
        session_present: bool,
        /// The server kept a session of which this [`Session`](super::Session) knows nothing, or whose beginning it
        /// did not hear of because that CONNACK was lost: packet ids may collide with ours. Connecting once with
        /// Clean Session 1 resets both sides, and gives up what is not acknowledged.
        unknown_session: bool,
    },
    /// A message came. A message at QoS 1 or 2 is acknowledged when the borrow of this event ends.
    Message(Message<'a>),
    /// A part came of a message that is larger than the receive buffer. It may be ignored; the message is
    /// acknowledged when the borrow of its last part ends.
    Chunk(Chunk<'a>),
    /// The rest of the message whose chunks came will not come: the connection is gone. At QoS 1 and 2 the message
    /// comes again from its beginning.
    ChunksAborted,
    /// A message was skipped, and acknowledged, because its topic does not fit into the receive buffer. Nobody has seen
    /// that topic whole: it is checked for U+0000, wildcards and bytes that no UTF-8 contains, but for nothing more.
    TopicTooLong {
        /// Length of the topic, in bytes.
        len: usize,
    },
    /// The server has the message that was published at QoS 1 under this id.
    Puback(PacketId),
    /// The server has the message that was published at QoS 2 under this id, once.
    Pubcomp(PacketId),
    /// The answer to a subscribe, with one code for each filter, in their order.
    Suback(PacketId, SubackCodes<'a>),
    /// The answer to an unsubscribe.
    Unsuback(PacketId),
    /// The connection ended before the subscribe or unsubscribe with this id was answered: it may have taken effect
    /// or not.
    OutcomeUnknown(PacketId),
    /// The server refused the connection, and the subscribe or unsubscribe with this id along with it.
    RequestRejected(PacketId),
    /// The message published under this id, not acknowledged so far, was given up: by a connect with Clean Session 1, or with
    /// [`decline_payload`](super::Session::decline_payload). It may have arrived, if it had left.
    PublishDiscarded(PacketId),
    /// The session ended, here or at the server, between the two steps of the QoS 2 publish with this id: the server has the
    /// message, unless it forgot that as well.
    DeliveryUnknown(PacketId),
    /// The message published under this id has to go out again, and its payload is not in the send buffer. Hand it
    /// over again (`StreamedPublish::Resend` to a client's `publish_slices` or `publish_from`), or
    /// [decline](super::Session::decline_payload). Until then, what was queued after it waits.
    PayloadNeeded(PacketId),
    /// The session has changed since it was last saved, and [checkpoints](super::Session::set_checkpoints) are on:
    /// nothing leaves before the borrow of this event ends.
    Checkpoint(Checkpoint<'a>),
    /// So many messages published at QoS 0 were queued on a connection that ended, or that was refused, before they
    /// had gone out.
    Qos0Dropped(u16),
}
