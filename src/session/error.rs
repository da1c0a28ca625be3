//! Errors of requests, and reasons for which a connection ended.

use core::fmt;

use crate::codec::{ConnectReturnCode, DecodeError, EncodeError, PacketId, PacketType};

/// A request that the session rejected.
///
/// The session and its connection are unchanged: nothing was queued, sent or lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection, or DISCONNECT was queued.
    NotConnected,
    /// All in-flight slots are in use. Retry after the next acknowledgement. A request whose outcome was not yet
    /// reported, such as by [`Event::OutcomeUnknown`](super::Event::OutcomeUnknown), also occupies a slot. Take all
    /// events first.
    InflightFull {
        /// Number of slots of the [`Storage`](super::Storage).
        capacity: usize,
    },
    /// Packets that are queued or not yet acknowledged fill the send buffer. Retry after the next acknowledgement.
    SendBufferFull {
        /// Size of the packet, in bytes.
        needed: usize,
        /// Free bytes at present.
        free: usize,
    },
    /// The packet does not fit into the send buffer, even if it is empty.
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
    /// The session has changed, and sends nothing before the caller has taken
    /// [`Event::Checkpoint`](super::Event::Checkpoint). Take all events first.
    CheckpointDue,
    /// The session waits for a streamed payload. Provide or decline it first.
    PayloadPending,
    /// The session does not wait for a payload with this id.
    PayloadNotNeeded,
    /// The length of the payload differs from the announced length.
    PayloadLength {
        /// Announced length, in bytes.
        expected: usize,
    },
    /// The session belongs to another client id (section 3.1.3.1). Use that id, or connect once with Clean Session 1
    /// to discard the session.
    ClientIdMismatch,
    /// The specification does not allow the packet.
    Encode(EncodeError),
}

impl RequestError {
    /// Returns the error for a packet of `needed` bytes that does not fit. `capacity` is the largest size that fits into
    /// the empty send buffer.
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

/// The reason for which the session closed the connection.
///
/// The caller closes the transport, without a DISCONNECT, and connects again. The session keeps its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub enum ProtocolError {
    /// There is no connection. It was lost, closed by DISCONNECT, or never opened.
    Closed,
    /// The server refused the connection (section 3.2.2.3).
    Refused(ConnectReturnCode),
    /// The server sent a malformed packet.
    Decode(DecodeError),
    /// The server sent a packet that only a client may send, or a second CONNACK.
    UnexpectedPacket(PacketType),
    /// The server sent another packet before its CONNACK, or its CONNACK before the whole CONNECT was sent.
    BeforeConnack(PacketType),
    /// The server reported Session Present 1 after Clean Session 1 \[MQTT-3.2.2-1\].
    SessionPresentAfterCleanSession,
    /// The server sent an acknowledgement of the wrong type, or of a packet that was not sent.
    UnexpectedAck {
        /// Type of the acknowledgement.
        packet_type: PacketType,
        /// Its packet id.
        packet_id: PacketId,
    },
    /// The number of return codes in a SUBACK differs from the number of filters in its SUBSCRIBE
    /// \[MQTT-3.8.4-5\].
    SubackCount {
        /// Number of filters in the SUBSCRIBE.
        expected: usize,
        /// Number of return codes in the SUBACK.
        got: usize,
    },
    /// A packet other than PUBLISH is larger than the receive buffer.
    ReceiveBufferTooSmall {
        /// Size of the packet, in bytes.
        needed: usize,
    },
    /// The server sent more QoS 2 messages at once than the session can keep ids of. The messages whose ids it kept are
    /// complete, or were not released within the response timeout. The server sends the others on the next connection.
    TooManyQos2Messages {
        /// Number of ids for which the [`Storage`](super::Storage) has room.
        capacity: usize,
    },
    /// The server sent no CONNACK within the response timeout.
    ConnackTimeout,
    /// The server sent no PINGRESP within the response timeout.
    PingrespTimeout,
    /// The server did not acknowledge a PUBLISH, SUBSCRIBE or UNSUBSCRIBE within the response timeout.
    RequestTimeout {
        /// The id of the request.
        packet_id: PacketId,
    },
    /// The caller aborted a payload that was sent in part, or the source of the payload failed. The server would take
    /// the next packet for payload.
    PayloadAborted,
    /// The transport accepted no byte within the response timeout.
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
