//! Errors of the codec: in received packets, in packets to be sent, and in topics.

use core::fmt;

use super::packet_type::PacketType;

/// A protocol error of the peer. Close the connection (section 4.8).
///
/// Section numbers are those of MQTT 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub enum DecodeError {
    /// The packet type is 0 or 15 (section 2.2.1).
    ReservedPacketType {
        /// The upper four bits of the first byte.
        value: u8,
    },
    /// The flags in the fixed header are not those of the packet type (section 2.2.2).
    InvalidFlags {
        /// Type of the packet.
        packet_type: PacketType,
        /// The lower four bits of the first byte.
        flags: u8,
    },
    /// The Remaining Length has more than four bytes (section 2.2.3).
    RemainingLengthTooLong,
    /// The packet ends inside a field, or is too short for its type.
    Truncated,
    /// The packet is longer than its fields.
    TrailingBytes {
        /// Bytes after the last field.
        extra: usize,
    },
    /// The packet id is 0 (section 2.3.1).
    PacketIdZero,
    /// A string is not well-formed UTF-8 (section 1.5.3).
    InvalidUtf8 {
        /// Number of bytes before the first ill-formed sequence.
        at: usize,
    },
    /// A string contains U+0000 (section 1.5.3).
    NulInString {
        /// Number of bytes before it.
        at: usize,
    },
    /// The topic of a PUBLISH or of a will is invalid (section 4.7).
    TopicName(TopicError),
    /// A filter of a SUBSCRIBE or an UNSUBSCRIBE is invalid (section 4.7).
    TopicFilter(TopicError),
    /// The protocol name of a CONNECT is not `MQTT` (section 3.1.2.1).
    WrongProtocolName,
    /// The protocol level of a CONNECT is not supported. The server answers with return code 1 (section 3.1.2.2).
    UnsupportedProtocolLevel {
        /// Protocol level; 4 is MQTT 3.1.1.
        level: u8,
    },
    /// The reserved flag of a CONNECT is set (section 3.1.2.3).
    ReservedConnectFlag,
    /// The will QoS of a CONNECT is 3 (section 3.1.2.6).
    WillQosThree,
    /// A CONNECT without a will has a will QoS (section 3.1.2.6).
    WillQosWithoutWill {
        /// The will QoS.
        qos: u8,
    },
    /// A CONNECT without a will has Will Retain set (section 3.1.2.7).
    WillRetainWithoutWill,
    /// A CONNECT has a password without a user name (section 3.1.2.9).
    PasswordWithoutUserName,
    /// The client id of a CONNECT is empty at Clean Session 0. The server answers with return code 2 (section 3.1.3.1).
    EmptyClientId,
    /// A reserved flag of a CONNACK is set (section 3.2.2.1).
    ReservedConnackFlags {
        /// The first byte of the body.
        flags: u8,
    },
    /// The return code of a CONNACK is above 5 (section 3.2.2.3).
    UnknownConnectReturnCode {
        /// Return code.
        code: u8,
    },
    /// A CONNACK refuses the connection and has Session Present set (section 3.2.2.2).
    SessionPresentWithRefusal {
        /// Return code.
        code: u8,
    },
    /// The QoS of a PUBLISH is 3 (section 3.3.1.2).
    PublishQosThree,
    /// A PUBLISH has DUP set at QoS 0 (section 3.3.1.1).
    DupAtQosZero,
    /// A SUBSCRIBE or an UNSUBSCRIBE has no filter (sections 3.8.3 and 3.10.3).
    NoFilters,
    /// A requested QoS of a SUBSCRIBE is 3, or its reserved bits are set (section 3.8.3).
    InvalidRequestedQos {
        /// The whole byte.
        value: u8,
    },
    /// A return code of a SUBACK is not 0, 1, 2 or 0x80 (section 3.9.3).
    UnknownSubackReturnCode {
        /// Return code.
        code: u8,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ReservedPacketType { value } => {
                write!(f, "packet type {value} is reserved (section 2.2.1)")
            }
            Self::InvalidFlags { packet_type, flags } => {
                write!(f, "{packet_type:?} has flags {flags:#06b} (section 2.2.2)")
            }
            Self::RemainingLengthTooLong => {
                f.write_str("Remaining Length has more than four bytes (section 2.2.3)")
            }
            Self::Truncated => f.write_str("packet ends inside a field"),
            Self::TrailingBytes { extra } => {
                write!(f, "{extra} bytes follow the packet's last field")
            }
            Self::PacketIdZero => f.write_str("Packet Identifier is 0 (section 2.3.1)"),
            Self::InvalidUtf8 { at } => {
                write!(f, "string is not UTF-8 at byte {at} (section 1.5.3)")
            }
            Self::NulInString { at } => write!(f, "string has U+0000 at byte {at} (section 1.5.3)"),
            Self::TopicName(error) => write!(f, "topic name invalid: {error}"),
            Self::TopicFilter(error) => write!(f, "topic filter invalid: {error}"),
            Self::WrongProtocolName => f.write_str("protocol name is not MQTT (section 3.1.2.1)"),
            Self::UnsupportedProtocolLevel { level } => {
                write!(f, "protocol level is {level} and not 4 (section 3.1.2.2)")
            }
            Self::ReservedConnectFlag => {
                f.write_str("reserved CONNECT flag is set (section 3.1.2.3)")
            }
            Self::WillQosThree => f.write_str("will QoS is 3 (section 3.1.2.6)"),
            Self::WillQosWithoutWill { qos } => {
                write!(f, "will QoS is {qos} without a will (section 3.1.2.6)")
            }
            Self::WillRetainWithoutWill => {
                f.write_str("will retain is set without a will (section 3.1.2.7)")
            }
            Self::PasswordWithoutUserName => {
                f.write_str("password without a user name (section 3.1.2.9)")
            }
            Self::EmptyClientId => {
                f.write_str("client id is empty and Clean Session is 0 (section 3.1.3.1)")
            }
            Self::ReservedConnackFlags { flags } => {
                write!(f, "CONNACK flags are {flags:#010b} (section 3.2.2.1)")
            }
            Self::UnknownConnectReturnCode { code } => {
                write!(
                    f,
                    "CONNACK return code {code} is reserved (section 3.2.2.3)"
                )
            }
            Self::SessionPresentWithRefusal { code } => {
                write!(
                    f,
                    "CONNACK refuses with {code} and has Session Present set (section 3.2.2.2)"
                )
            }
            Self::PublishQosThree => f.write_str("PUBLISH has QoS 3 (section 3.3.1.2)"),
            Self::DupAtQosZero => f.write_str("PUBLISH has DUP set at QoS 0 (section 3.3.1.1)"),
            Self::NoFilters => {
                f.write_str("packet has no topic filter (sections 3.8.3 and 3.10.3)")
            }
            Self::InvalidRequestedQos { value } => {
                write!(f, "requested QoS byte is {value:#04x} (section 3.8.3)")
            }
            Self::UnknownSubackReturnCode { code } => {
                write!(f, "SUBACK return code is {code:#04x} (section 3.9.3)")
            }
        }
    }
}

impl core::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::TopicName(error) | Self::TopicFilter(error) => Some(error),
            _ => None,
        }
    }
}

/// The reason why a packet of the caller cannot be encoded. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// The buffer is shorter than the packet.
    BufferTooSmall {
        /// Length of the packet, in bytes.
        needed: usize,
    },
    /// A string or binary field is longer than 65,535 bytes (section 1.5.3).
    StringTooLong {
        /// The field.
        field: Field,
        /// Length, in bytes.
        len: usize,
    },
    /// A string contains U+0000 (section 1.5.3).
    NulInString {
        /// The field.
        field: Field,
        /// Number of bytes before it.
        at: usize,
    },
    /// The topic of a PUBLISH is invalid (section 4.7).
    Topic(TopicError),
    /// The will topic of a CONNECT is invalid (section 4.7).
    WillTopic(TopicError),
    /// A filter of a SUBSCRIBE or an UNSUBSCRIBE is invalid (section 4.7).
    Filter {
        /// Its number in the packet, from 1.
        number: u16,
        /// The error.
        error: TopicError,
    },
    /// The packet exceeds the largest Remaining Length (section 2.2.3).
    PacketTooLong {
        /// Remaining Length of the packet; 268,435,455 is the largest.
        remaining_length: usize,
    },
    /// The client id is empty at Clean Session 0 (section 3.1.3.1).
    EmptyClientId,
    /// A SUBSCRIBE or an UNSUBSCRIBE has no filter (sections 3.8.3 and 3.10.3).
    NoFilters,
    /// A SUBACK has no return code (section 3.9.3).
    NoReturnCodes,
}

impl From<TopicError> for EncodeError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BufferTooSmall { needed } => {
                write!(f, "buffer too small: {needed} bytes needed")
            }
            Self::StringTooLong { field, len } => {
                write!(
                    f,
                    "{field} too long: {len} bytes, at most 65535 (section 1.5.3)"
                )
            }
            Self::NulInString { field, at } => {
                write!(f, "{field} invalid: U+0000 at byte {at} (section 1.5.3)")
            }
            Self::Topic(error) => write!(f, "topic invalid: {error}"),
            Self::WillTopic(error) => write!(f, "will topic invalid: {error}"),
            Self::Filter { number, error } => write!(f, "filter {number} invalid: {error}"),
            Self::PacketTooLong { remaining_length } => {
                write!(
                    f,
                    "packet too long: Remaining Length {remaining_length}, at most 268435455 (section 2.2.3)"
                )
            }
            Self::EmptyClientId => {
                f.write_str("client id empty: Clean Session 0 requires one (section 3.1.3.1)")
            }
            Self::NoFilters => {
                f.write_str("no filter: at least one is required (sections 3.8.3 and 3.10.3)")
            }
            Self::NoReturnCodes => {
                f.write_str("no return code: at least one is required (section 3.9.3)")
            }
        }
    }
}

impl core::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Topic(error) | Self::WillTopic(error) | Self::Filter { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// A field of a packet to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Field {
    /// Client id of a CONNECT.
    ClientId,
    /// Will topic of a CONNECT.
    WillTopic,
    /// Will message of a CONNECT.
    WillMessage,
    /// User name of a CONNECT.
    UserName,
    /// Password of a CONNECT.
    Password,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientId => "client id",
            Self::WillTopic => "will topic",
            Self::WillMessage => "will message",
            Self::UserName => "user name",
            Self::Password => "password",
        })
    }
}

/// An error in a topic name or a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub enum TopicError {
    /// There is no character (section 4.7.3).
    Empty,
    /// There are more than 65,535 bytes (section 4.7.3).
    TooLong {
        /// Length, in bytes.
        len: usize,
    },
    /// There is a U+0000 (section 4.7.3).
    Nul {
        /// Number of bytes before it.
        at: usize,
    },
    /// There is a misplaced wildcard (section 4.7.1).
    ///
    /// A name has no wildcards. In a filter, a `+` fills its level, and a `#` fills the last level.
    Wildcard {
        /// Number of bytes before it.
        at: usize,
    },
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("no characters (section 4.7.3)"),
            Self::TooLong { len } => write!(f, "{len} bytes, at most 65535 (section 4.7.3)"),
            Self::Nul { at } => write!(f, "U+0000 at byte {at} (section 4.7.3)"),
            Self::Wildcard { at } => write!(f, "misplaced wildcard at byte {at} (section 4.7.1)"),
        }
    }
}

impl core::error::Error for TopicError {}
