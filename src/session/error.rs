//! Errors of requests, and reasons for which a connection was closed.

use core::fmt;

use crate::codec::{ConnectReturnCode, DecodeError, EncodeError, PacketId, PacketType, QoS};

/// A request that the session rejected.
///
/// The session and its connection are unchanged: nothing was queued, sent or lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[doc(alias = "ClientError")] // rumqttc
pub enum RequestError {
    /// There is no connection, or DISCONNECT was queued. Connect first.
    NotConnected,
    /// There is a connection. Call this between connections.
    ConnectionOpen,
    /// All in-flight slots are in use. A request occupies its slot until the event that reports its end was taken. Call
    /// poll and take the events until a slot is free.
    InflightFull {
        /// Number of slots of the [`Storage`](super::Storage).
        capacity: usize,
    },
    /// Packets that are queued or not acknowledged fill the send buffer. A flush makes room if messages at QoS 0 are
    /// queued, because they are removed when they were sent. Other packets are removed when they are acknowledged. Call
    /// poll until there is room.
    SendBufferFull {
        /// Size of the packet, in bytes.
        needed: usize,
        /// Free bytes now.
        free: usize,
    },
    /// The CONNECT is longer than those before, and the kept messages leave no room for it. Shorten it, or connect with
    /// Clean Session 1, which discards the messages.
    NoRoomForConnect {
        /// Size of the CONNECT, in bytes.
        needed: usize,
        /// Bytes that the kept messages leave free.
        free: usize,
    },
    /// The packet does not fit into the send buffer, even if no other packet is queued. Enlarge the buffer, or stream the
    /// payload.
    PacketTooLarge {
        /// Size of the packet, in bytes.
        needed: usize,
        /// The largest packet that can fit, in bytes: the size of the send buffer, less the longest CONNECT and two
        /// bytes for a DISCONNECT.
        capacity: usize,
    },
    /// The SUBACK would not fit into the receive buffer. Subscribe to fewer filters at once.
    AnswerTooLarge {
        /// Size of the SUBACK, in bytes.
        needed: usize,
        /// Size of the receive buffer, in bytes.
        capacity: usize,
    },
    /// The session has changed, and sends nothing until the caller has taken
    /// [`Event::CheckpointDue`](super::Event::CheckpointDue). Take all events first.
    CheckpointDue,
    /// The session waits for a streamed payload. Provide it first, or discard its message.
    PayloadPending,
    /// The session does not wait for a payload with this id.
    PayloadNotNeeded,
    /// No message with this id can be discarded: the session does not know it, or the server has received it.
    NotKept,
    /// The message with this id is being sent, or was sent before CONNACK. Retry when all of it was written and the
    /// server has accepted the connection, or when the connection is closed.
    PartlySent,
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

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => {
                f.write_str("not connected: there is no connection, or DISCONNECT was queued")
            }
            Self::ConnectionOpen => f.write_str("there is a connection: call this between connections"),
            Self::InflightFull { capacity } => write!(
                f,
                "in-flight table full: all {capacity} slots are in use; call poll until an acknowledgement frees one"
            ),
            Self::SendBufferFull { needed, free } => write!(
                f,
                "send buffer full: {needed} bytes needed, {free} free; flush to free messages at QoS 0, \
                 or call poll until acknowledgements free the others"
            ),
            Self::NoRoomForConnect { needed, free } => write!(
                f,
                "no room for CONNECT: {needed} bytes needed, {free} free beside kept messages; \
                 shorten it, or connect with Clean Session 1 to discard them"
            ),
            Self::PacketTooLarge { needed, capacity } => write!(
                f,
                "packet too large: {needed} bytes needed, {capacity} available; \
                 the send buffer, which also holds CONNECT and DISCONNECT, must be {} bytes larger",
                needed.saturating_sub(*capacity)
            ),
            Self::AnswerTooLarge { needed, capacity } => write!(
                f,
                "SUBACK too large: {needed} bytes needed, the receive buffer has {capacity}; \
                 subscribe with fewer filters at once"
            ),
            Self::CheckpointDue => f.write_str("checkpoint due: take all events first"),
            Self::PayloadPending => f.write_str("payload pending: provide it first, or discard its message"),
            Self::PayloadNotNeeded => f.write_str(
                "payload not needed: use the id of the last PayloadNeeded event",
            ),
            Self::NotKept => f.write_str(
                "message cannot be discarded: its id is unknown, or the server has received it",
            ),
            Self::PartlySent => f.write_str(
                "message is being sent: discard it when it was written, or when the connection is closed",
            ),
            Self::PayloadLength { expected } => {
                write!(f, "wrong payload length: {expected} bytes were announced")
            }
            Self::ClientIdMismatch => f.write_str(
                "client id mismatch: the session belongs to another one; use that, \
                 or connect with Clean Session 1 to discard the session",
            ),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}

/// The reason for which the session closed the connection.
///
/// The caller closes the transport, without a DISCONNECT, and connects again. The session keeps its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
#[doc(alias = "ConnectionError")] // rumqttc
pub enum ProtocolError {
    /// There is no connection. It was lost, closed by DISCONNECT, or never opened.
    Closed,
    /// The server closed the connection without an answer while this PUBLISH was the only unacknowledged one. It had
    /// also closed an earlier connection on which the PUBLISH was sent. The server may not accept the message: check
    /// its limits of size, topic and QoS. [`Session::discard_publish`](super::Session::discard_publish) discards the
    /// message.
    ClosedAtPublish {
        /// The id of the message.
        packet_id: PacketId,
        /// Its quality of service.
        qos: QoS,
        /// Number of connections in a row on which no PUBLISH was acknowledged.
        connections: u16,
    },
    /// The server closed the connection without an answer to a SUBSCRIBE with only this filter. It had also closed the
    /// connection before that one without an answer. The server may not allow the filter: check the rights of the user.
    ClosedAtSubscribe {
        /// Index of the filter in the [standing subscriptions](super::Session::set_subscriptions).
        index: usize,
        /// Number of connections in a row that the server closed before it answered.
        connections: u16,
    },
    /// The server refused the connection (section 3.2.2.3).
    Refused(ConnectReturnCode),
    /// The server sent a malformed packet.
    Decode(DecodeError),
    /// The server sent a packet that only a client may send, or a second CONNACK.
    UnexpectedPacket(PacketType),
    /// The server sent another packet before its CONNACK, or CONNACK before the whole CONNECT was sent.
    BeforeConnack(PacketType),
    /// The server reported Session Present 1 after Clean Session 1 \[MQTT-3.2.2-1\].
    SessionPresentAfterCleanSession,
    /// The server sent an acknowledgement of the wrong type, or for a packet that was not sent.
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
    /// A packet other than PUBLISH is larger than the receive buffer. Enlarge the buffer.
    ReceiveBufferTooSmall {
        /// Size of the packet, in bytes.
        needed: usize,
    },
    /// The server sent more QoS 2 messages at once than the session can keep ids for. The messages with a kept id are
    /// complete, or were not released within the response timeout. The server sends the others on the next connection.
    /// After a connection with Clean Session 1, it discards them.
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
    /// The caller aborted a payload that was sent in part, or the source of the payload failed. The server would read
    /// the next packet as payload.
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
            Self::Closed => {
                f.write_str("not connected: the connection was lost, closed, or never opened")
            }
            Self::ClosedAtPublish {
                packet_id,
                qos,
                connections,
            } => write!(
                f,
                "connection closed at message {} at QoS {}, {connections} times in a row: the server may not allow its topic, size or QoS; discard it",
                packet_id.get(),
                *qos as u8
            ),
            Self::ClosedAtSubscribe { index, connections } => write!(
                f,
                "connection closed at filter {} of the subscriptions, {connections} times in a row: the server may not allow it",
                index.saturating_add(1)
            ),
            Self::Refused(code) => write!(f, "connection refused: {code}"),
            Self::Decode(error) => write!(f, "malformed packet of the server: {error}"),
            Self::UnexpectedPacket(packet) => {
                write!(
                    f,
                    "unexpected packet: the server must not send this {packet:?}"
                )
            }
            Self::BeforeConnack(PacketType::Connack) => {
                f.write_str("early CONNACK: the server answered before the CONNECT was complete")
            }
            Self::BeforeConnack(packet) => {
                write!(f, "missing CONNACK: the server sent a {packet:?} before it")
            }
            Self::SessionPresentAfterCleanSession => f.write_str(
                "session present: the server kept a session that Clean Session 1 discards",
            ),
            Self::UnexpectedAck {
                packet_type,
                packet_id,
            } => write!(
                f,
                "unexpected {packet_type:?}: no request with id {} waits for it",
                packet_id.get()
            ),
            Self::SubackCount { expected, got } => {
                write!(f, "wrong SUBACK: {got} return codes for {expected} filters")
            }
            Self::ReceiveBufferTooSmall { needed } => {
                write!(
                    f,
                    "receive buffer too small: the server sent a packet of {needed} bytes"
                )
            }
            Self::TooManyQos2Messages { capacity } => write!(
                f,
                "too many QoS 2 messages: the storage has room for {capacity} ids; connect again for the others, \
                 which the server discards after Clean Session 1"
            ),
            Self::ConnackTimeout => {
                f.write_str("no CONNACK: the server did not answer within the response timeout")
            }
            Self::PingrespTimeout => {
                f.write_str("no PINGRESP: the server did not answer within the response timeout")
            }
            Self::RequestTimeout { packet_id } => {
                write!(
                    f,
                    "no acknowledgement: the server did not answer request {} within the response timeout",
                    packet_id.get()
                )
            }
            Self::PayloadAborted => {
                f.write_str("payload aborted: its packet was sent in part; connect again")
            }
            Self::WriteTimeout => f.write_str(
                "write timed out: the transport accepted no byte within the response timeout",
            ),
        }
    }
}

impl core::error::Error for ProtocolError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Decode(error) => Some(error),
            _ => None,
        }
    }
}
