//! Events, and the messages that they and requests contain.

use core::fmt;

use crate::codec::{Delivery, PacketId, Publish, QoS, SubackCodes, SubackReturnCode};

/// An application message, in either direction.
///
/// `publish` checks the topic of a message to be sent. The decoder checks the topic of a received one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[doc(alias = "MQTTMessage")] // Paho
pub struct Message<'a> {
    /// The topic name (section 3.3.2.1).
    pub topic: &'a str,
    /// The payload; it may be empty.
    pub payload: &'a [u8],
    /// The quality of service (section 4.3).
    pub qos: QoS,
    /// The retain flag (section 3.3.1.3).
    pub retain: bool,
    /// The DUP flag of a received message; nothing depends on it (section 3.3.1.1). A publish sets its own.
    pub dup: bool,
}

impl<'a> Message<'a> {
    /// Creates a message at QoS 0 that is not retained.
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

/// A message to be published whose payload is several slices, or comes from a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StreamedPublish<'a> {
    /// A new message.
    New {
        /// The topic name.
        topic: &'a str,
        /// The quality of service. Above QoS 0 and with Clean Session 0, the payload must be provided again if the
        /// connection is closed before the acknowledgement was received: [`Event::PayloadNeeded`] asks for it.
        qos: QoS,
        /// The retain flag.
        retain: bool,
    },
    /// The message for which [`Event::PayloadNeeded`] asks.
    Resend(PacketId),
}

impl<'a> StreamedPublish<'a> {
    /// Describes a new message at QoS 0 that is not retained.
    pub const fn new(topic: &'a str) -> Self {
        Self::New {
            topic,
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }
}

/// A part of a message that is larger than the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Chunk<'a> {
    /// The topic name of the message.
    pub topic: &'a str,
    /// Quality of service, packet id and DUP flag of the message.
    pub delivery: Delivery,
    /// The retain flag of the message.
    pub retain: bool,
    /// Offset of these bytes in the payload.
    pub offset: usize,
    /// Length of the whole payload, in bytes.
    pub total: usize,
    /// The bytes; never empty.
    pub bytes: &'a [u8],
}

impl Chunk<'_> {
    /// Returns `true` if this is the last chunk of the message.
    pub const fn is_last(&self) -> bool {
        self.offset.saturating_add(self.bytes.len()) >= self.total
    }
}

/// A received message, or the result of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[doc(alias = "Incoming")] // rumqttc
pub enum Event<'a> {
    /// The server accepted the connection.
    Connected {
        /// The server kept the session. If not, subscribe again: it has no subscriptions \[MQTT-3.2.2-3\].
        session_present: bool,
        /// The server kept a session that this [`Session`](super::Session) does not know, or whose first CONNACK was
        /// lost. Its packet ids may collide with those of this client. To reset both sides, connect once with Clean
        /// Session 1. That discards all unacknowledged messages.
        unknown_session: bool,
        /// An earlier CONNECT was sent, and no answer was received. The server may have lost the session before that
        /// CONNECT and may have begun a new one with it. A new session has no subscriptions, and its packet ids begin
        /// again: subscribe again. This client keeps its ids, so it can mistake a new QoS 2 message for the repetition
        /// of an older one with the same id.
        connect_unanswered: bool,
    },
    /// A message was received. At QoS 1 and 2, the session acknowledges it when the borrow of this event ends.
    Message(Message<'a>),
    /// A part of a message that is larger than the receive buffer was received. The session acknowledges the message when
    /// the borrow of its last part ends.
    Chunk(Chunk<'a>),
    /// The connection was closed before the last chunk of a message was received. At QoS 1 and 2, the server sends the
    /// message again from its beginning.
    ChunksAborted,
    /// The session skipped and acknowledged a message whose topic does not fit into the receive buffer. It checked that
    /// topic only for U+0000, wildcards and bytes that never occur in UTF-8.
    TopicTooLong {
        /// Length of the topic, in bytes.
        len: usize,
    },
    /// The server acknowledged the QoS 1 message with this id. The id is free again.
    Puback(PacketId),
    /// The server has received the QoS 2 message with this id exactly once. The id is free again.
    Pubcomp(PacketId),
    /// The server answered the subscribe with this id. There is one code for each filter, in the order of the filters.
    Suback(PacketId, SubackCodes<'a>),
    /// The server answered for these [standing subscriptions](super::Session::set_subscriptions). There is one code for
    /// each filter, in the order of the filters.
    Subscribed {
        /// The filters, each with the requested QoS.
        filters: &'a [(&'a str, QoS)],
        /// The return codes: the granted QoS, which may be lower than the requested one, or a refusal.
        codes: SubackCodes<'a>,
    },
    /// The server acknowledged the unsubscribe with this id.
    Unsuback(PacketId),
    /// The connection was closed before the server answered the subscribe or unsubscribe with this id. The request may
    /// have taken effect or not. Send it again.
    OutcomeUnknown(PacketId),
    /// The server refused the connection. It has therefore discarded the subscribe or unsubscribe with this id.
    RequestRejected(PacketId),
    /// The unacknowledged message with this id was discarded by a connect with Clean Session 1, or by
    /// [`discard_publish`](super::Session::discard_publish). If it was sent, the server may have received it.
    PublishDiscarded(PacketId),
    /// The session ended, at the client or at the server, between PUBREC and PUBCOMP of the QoS 2 publish with this id.
    /// The server has received the message, but may have lost it with the session.
    DeliveryUnknown(PacketId),
    /// The message with this id must be sent again, and its payload is not in the send buffer. Provide the payload
    /// again ([`StreamedPublish::Resend`] in a client's `publish_slices` or `publish_from`), or [discard the
    /// message](super::Session::discard_publish). Packets that were queued after it wait until then.
    PayloadNeeded(PacketId),
    /// The session has changed since the last checkpoint, and [checkpoints](super::Session::set_checkpoints) are on.
    /// Nothing but a PINGREQ is sent before the next call after this event. [Save](super::Session::save) the session
    /// before that call, because from then on the session counts as saved.
    CheckpointDue,
    /// This number of QoS 0 messages was lost: the connection was closed before they were sent, or was refused by the
    /// server after that.
    Qos0Dropped(u16),
}

/// Writes the event as a sentence for a log.
impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected {
                session_present,
                unknown_session,
                connect_unanswered,
            } => {
                f.write_str(if *session_present {
                    "connected: the server has kept the session"
                } else {
                    "connected: the server has begun a new session"
                })?;
                if *unknown_session {
                    f.write_str(
                        ", which this device does not know; connect once with Clean Session 1",
                    )?;
                }
                if *connect_unanswered {
                    f.write_str(", and an earlier CONNECT was not answered")?;
                }
                Ok(())
            }
            Self::Message(message) => write!(
                f,
                "message on {:?}: {} bytes at QoS {}",
                message.topic,
                message.payload.len(),
                message.qos as u8
            ),
            Self::Chunk(chunk) => write!(
                f,
                "part of a message on {:?}: bytes {} to {} of {}",
                chunk.topic,
                chunk.offset,
                chunk.offset.saturating_add(chunk.bytes.len()),
                chunk.total
            ),
            Self::ChunksAborted => {
                f.write_str("message incomplete: the connection was closed before its end")
            }
            Self::TopicTooLong { len } => write!(f, "message skipped: its topic has {len} bytes"),
            Self::Puback(id) | Self::Pubcomp(id) => write!(f, "message {} delivered", id.get()),
            Self::Suback(id, codes) => {
                write!(f, "subscribe {} answered", id.get())?;
                codes.iter().try_for_each(|code| write_code(f, code))
            }
            Self::Subscribed { filters, codes } => {
                f.write_str("subscribed")?;
                let mut answers = filters.iter().zip(codes.iter());
                answers.try_for_each(|((filter, _), code)| {
                    write!(f, " {filter:?}")?;
                    write_code(f, code)
                })
            }
            Self::Unsuback(id) => write!(f, "unsubscribe {} acknowledged", id.get()),
            Self::OutcomeUnknown(id) => write!(
                f,
                "request {} not answered: the connection was closed before",
                id.get()
            ),
            Self::RequestRejected(id) => {
                write!(
                    f,
                    "request {} rejected: the connection was refused",
                    id.get()
                )
            }
            Self::PublishDiscarded(id) => write!(f, "message {} discarded", id.get()),
            Self::DeliveryUnknown(id) => write!(
                f,
                "delivery of message {} unknown: the session ended before PUBCOMP",
                id.get()
            ),
            Self::PayloadNeeded(id) => {
                write!(
                    f,
                    "payload of message {} needed again: provide or discard it",
                    id.get()
                )
            }
            Self::CheckpointDue => f.write_str("checkpoint due: save the session"),
            Self::Qos0Dropped(count) => write!(
                f,
                "{count} messages at QoS 0 not sent: the connection was closed before"
            ),
        }
    }
}

/// Writes a return code of a SUBACK.
fn write_code(f: &mut fmt::Formatter<'_>, code: SubackReturnCode) -> fmt::Result {
    match code {
        SubackReturnCode::Granted(qos) => write!(f, " at QoS {}", qos as u8),
        SubackReturnCode::Failure => f.write_str(" REFUSED by the server"),
    }
}

/// The step that the caller must do before the session handles more received packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InputBlock {
    /// An event is pending. Take it.
    Event,
    /// [`Event::CheckpointDue`] is due. Poll, and take it.
    Checkpoint,
    /// [`read_payload`](super::Session::read_payload) has copied a part of the payload of the last event. Copy the
    /// rest, or poll, which discards it.
    Payload,
    /// The queue of acknowledgements is full. Send the [pending](super::Session::pending) bytes.
    Acknowledgements,
}
