//! Why a call was not accepted, and why a connection ended.

use core::fmt;

use crate::codec::{ConnectReturnCode, DecodeError, EncodeError, PacketId, PacketType};

/// The caller asked for something that cannot be done now, or ever.
///
/// Nothing was queued or sent, nothing was lost, and the connection is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection, or DISCONNECT has been queued on it.
    NotConnected,
    /// Every in-flight slot is taken. Try again after the next acknowledgement. (What an event has still to report, such
    /// as [`Event::OutcomeUnknown`](super::Event::OutcomeUnknown), takes a slot as well: take the events first.)
    InflightFull {
        /// Slots that the [`Storage`](super::Storage) has.
        capacity: usize,
    },
    /// What is queued or not yet acknowledged leaves no room. Try again after the next acknowledgement.
    SendBufferFull {
        /// Size of the packet, in bytes.
        needed: usize,
        /// Bytes that are free at present.
        free: usize,
    },
    /// The packet is larger than the send buffer can ever hold.
    PacketTooLarge {
        /// Size of the packet, in bytes.
        needed: usize,
        /// The largest packet that would fit, in bytes.
        capacity: usize,
    },
    /// The SUBACK would not fit into the receive buffer: subscribe with fewer filters at once.
    AnswerTooLarge {
        /// Size of the SUBACK, in bytes.
        needed: usize,
        /// Size of the receive buffer, in bytes.
        capacity: usize,
    },
    /// The session has changed, and nothing leaves before [`Event::Checkpoint`](super::Event::Checkpoint) has been
    /// seen; take the events first.
    CheckpointDue,
    /// A payload that does not lie in the send buffer has to be handed over, or declined, before anything else.
    PayloadPending,
    /// No payload is asked for under this id.
    PayloadNotNeeded,
    /// The payload has not the length that was announced.
    PayloadLength {
        /// The length announced, in bytes.
        expected: usize,
    },
    /// The session belongs to another client id (section 3.1.3.1). Connect once with Clean Session 1 to discard what
    /// it remembers, or use the id that it was used with.
    ClientIdMismatch,
    /// The specification forbids the packet.
    Encode(EncodeError),
}

impl RequestError {
    /// Returns the error for a packet of `needed` bytes, of which the send buffer can hold `capacity`.
    pub(super) const fn no_room(needed: usize, capacity: usize, free: usize) -> Self {
        if needed > capacity {
            Self::PacketTooLarge { needed, capacity }
        } else {
            Self::SendBufferFull { needed, free }
        }
    }
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("there is no connection"),
            Self::InflightFull { capacity } => {
                write!(f, "all {capacity} in-flight slots are taken; wait for an acknowledgement")
            }
            Self::SendBufferFull { needed, free } => write!(
                f,
                "the packet needs {needed} bytes and {free} of the send buffer are free; wait for an acknowledgement"
            ),
            Self::PacketTooLarge { needed, capacity } => {
                write!(f, "the packet needs {needed} bytes and the send buffer can hold {capacity}")
            }
            Self::AnswerTooLarge { needed, capacity } => write!(
                f,
                "the answer needs {needed} bytes and the receive buffer has {capacity}; send fewer filters at once"
            ),
            Self::CheckpointDue => f.write_str("a checkpoint has to be seen first; take the events"),
            Self::PayloadPending => {
                f.write_str("a payload has to be handed over, or declined, before anything else")
            }
            Self::PayloadNotNeeded => f.write_str("no payload is asked for under this id"),
            Self::PayloadLength { expected } => {
                write!(f, "the payload was announced with {expected} bytes")
            }
            Self::ClientIdMismatch => {
                f.write_str("the session belongs to another client id; connect with Clean Session 1 to discard it")
            }
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RequestError {}

/// Why a connection is over, as far as the protocol tells.
///
/// The connection cannot be used any more: close the transport, without a DISCONNECT, and dial again. What a session
/// has to keep is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub enum ProtocolError {
    /// There is no connection: it was lost, closed by DISCONNECT, or never opened.
    Closed,
    /// The server refused the connection (section 3.2.2.3).
    Refused(ConnectReturnCode),
    /// The peer sent bytes that are no MQTT packet.
    Decode(DecodeError),
    /// The peer sent a packet that only a client may send, or a second CONNACK.
    UnexpectedPacket(PacketType),
    /// The peer sent something else before its CONNACK, or its CONNACK before it had the whole CONNECT.
    BeforeConnack(PacketType),
    /// The server claims to have kept a session after Clean Session 1 \[MQTT-3.2.2-1\].
    SessionPresentAfterCleanSession,
    /// An acknowledgement of the wrong kind, or of a packet that has not been sent.
    UnexpectedAck {
        /// The packet that came.
        packet_type: PacketType,
        /// The id that it carried.
        packet_id: PacketId,
    },
    /// A SUBACK has not one code for each filter of its SUBSCRIBE \[MQTT-3.8.4-5\].
    SubackCount {
        /// Filters asked for.
        expected: usize,
        /// Codes that came.
        got: usize,
    },
    /// A packet other than PUBLISH is larger than the receive buffer.
    ReceiveBufferTooSmall {
        /// The packet's size, in bytes.
        needed: usize,
    },
    /// More QoS 2 messages are on their way in than ids can be remembered. Those that found room are complete, or were
    /// not released within the response timeout; the others come on the next connection.
    TooManyQos2Messages {
        /// Ids that the [`Storage`](super::Storage) has room for.
        capacity: usize,
    },
    /// No CONNACK within the response timeout.
    ConnackTimeout,
    /// No PINGRESP within the response timeout.
    PingrespTimeout,
    /// A publish, subscribe or unsubscribe was not acknowledged within the response timeout.
    RequestTimeout {
        /// The id of the request.
        packet_id: PacketId,
    },
    /// The caller gave up in the middle of a payload, or its source failed: what would come next could not be told
    /// from payload.
    PayloadAborted,
    /// The transport took no byte within the response timeout.
    WriteTimeout,
}

impl From<DecodeError> for ProtocolError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is closed"),
            Self::Refused(code) => write!(f, "the server refused the connection: {code}"),
            Self::Decode(error) => write!(f, "the server sent a malformed packet: {error}"),
            Self::UnexpectedPacket(packet) => {
                write!(f, "the server sent a {packet:?} packet, which it must not")
            }
            Self::BeforeConnack(packet) => write!(
                f,
                "the server sent a {packet:?} packet where a CONNACK was due"
            ),
            Self::SessionPresentAfterCleanSession => {
                f.write_str("the server claims to have kept a session that was asked to be clean")
            }
            Self::UnexpectedAck {
                packet_type,
                packet_id,
            } => write!(
                f,
                "the server sent a {packet_type:?} packet for id {}, which does not wait for it",
                packet_id.get()
            ),
            Self::SubackCount { expected, got } => {
                write!(
                    f,
                    "the server answered {expected} subscriptions with {got} codes"
                )
            }
            Self::ReceiveBufferTooSmall { needed } => {
                write!(
                    f,
                    "a packet of {needed} bytes does not fit into the receive buffer"
                )
            }
            Self::TooManyQos2Messages { capacity } => write!(
                f,
                "more than {capacity} messages at QoS 2 came at once; give the storage room for more"
            ),
            Self::ConnackTimeout => f.write_str("the server did not answer the CONNECT in time"),
            Self::PingrespTimeout => f.write_str("the server did not answer a ping in time"),
            Self::RequestTimeout { packet_id } => {
                write!(
                    f,
                    "the server did not acknowledge packet {} in time",
                    packet_id.get()
                )
            }
            Self::PayloadAborted => f.write_str("a payload was given up half-way"),
            Self::WriteTimeout => f.write_str("the network took no byte in time"),
        }
    }
}

impl core::error::Error for ProtocolError {}
