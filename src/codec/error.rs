//! What can be wrong with a packet: in what came ([`DecodeError`]) or in what is to be sent
//! ([`EncodeError`]).

use core::fmt;

use super::packet_type::PacketType;

/// The peer broke the protocol; the connection cannot go on (section 4.8).
///
/// Sections in the text are those of MQTT 3.1.1.
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
    /// The fixed header's flags are not those of the type (section 2.2.2).
    InvalidFlags {
        /// The type of the packet.
        packet_type: PacketType,
        /// The lower four bits of the first byte.
        flags: u8,
    },
    /// The Remaining Length goes on after its fourth byte (section 2.2.3).
    RemainingLengthTooLong,
    /// The packet ends inside a field, or is shorter than any packet of its type.
    Truncated,
    /// The packet goes on after its last field.
    TrailingBytes {
        /// Bytes after the last field.
        extra: usize,
    },
    /// A Packet Identifier is 0 (section 2.3.1).
    PacketIdZero,
    /// A string is not well-formed UTF-8 (section 1.5.3).
    InvalidUtf8 {
        /// Bytes before the first ill-formed sequence.
        at: usize,
    },
    /// A string contains U+0000 (section 1.5.3).
    NulInString {
        /// Bytes before it.
        at: usize,
    },
    /// The topic of a PUBLISH or of a will breaks a rule of section 4.7.
    TopicName(TopicError),
    /// A filter of a SUBSCRIBE or an UNSUBSCRIBE breaks a rule of section 4.7.
    TopicFilter(TopicError),
    /// A CONNECT's protocol name is not `MQTT` (section 3.1.2.1).
    WrongProtocolName,
    /// A CONNECT asks for another version; a server answers with return code 1 (section 3.1.2.2).
    UnsupportedProtocolLevel {
        /// The level that was asked for; 4 is MQTT 3.1.1.
        level: u8,
    },
    /// A CONNECT has its reserved flag set (section 3.1.2.3).
    ReservedConnectFlag,
    /// A CONNECT has will QoS 3 (section 3.1.2.6).
    WillQosThree,
    /// A CONNECT without a will has a will QoS (section 3.1.2.6).
    WillQosWithoutWill {
        /// The will QoS.
        qos: u8,
    },
    /// A CONNECT without a will has the will retain flag (section 3.1.2.7).
    WillRetainWithoutWill,
    /// A CONNECT has a password and no user name (section 3.1.2.9).
    PasswordWithoutUserName,
    /// A CONNECT without a client id asks for a stored session; a server answers with return code 2
    /// (section 3.1.3.1).
    EmptyClientId,
    /// A CONNACK has reserved flags set (section 3.2.2.1).
    ReservedConnackFlags {
        /// The first byte of the body.
        flags: u8,
    },
    /// A CONNACK has a return code above 5 (section 3.2.2.3).
    UnknownConnectReturnCode {
        /// The code.
        code: u8,
    },
    /// A CONNACK refuses and claims a session (section 3.2.2.2).
    SessionPresentWithRefusal {
        /// The return code.
        code: u8,
    },
    /// A PUBLISH has QoS 3 (section 3.3.1.2).
    PublishQosThree,
    /// A PUBLISH with QoS 0 is marked as sent before (section 3.3.1.1).
    DupAtQosZero,
    /// A SUBSCRIBE or an UNSUBSCRIBE has no filter (sections 3.8.3 and 3.10.3).
    NoFilters,
    /// A SUBSCRIBE asks for QoS 3, or has reserved bits set beside the QoS (section 3.8.3).
    InvalidRequestedQos {
        /// The whole byte.
        value: u8,
    },
    /// A SUBACK has a return code other than 0, 1, 2 and 0x80 (section 3.9.3).
    UnknownSubackReturnCode {
        /// The code.
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
            Self::TopicName(error) => write!(f, "in a topic name, {error}"),
            Self::TopicFilter(error) => write!(f, "in a topic filter, {error}"),
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

impl core::error::Error for DecodeError {}

/// The caller asked for a packet that cannot be sent; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// The buffer is shorter than the packet.
    BufferTooSmall {
        /// Length of what was to be written, in bytes.
        needed: usize,
    },
    /// A string or binary field is longer than 65,535 bytes (section 1.5.3).
    StringTooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// A string contains U+0000 (section 1.5.3).
    NulInString,
    /// A topic name or filter breaks a rule of section 4.7.
    Topic(TopicError),
    /// The packet is longer than a Remaining Length can say (section 2.2.3).
    PacketTooLong {
        /// The Remaining Length that it would need; 268,435,455 is the largest.
        remaining_length: usize,
    },
    /// An empty client id needs Clean Session 1 (section 3.1.3.1).
    EmptyClientId,
    /// A SUBSCRIBE or an UNSUBSCRIBE needs a filter (sections 3.8.3 and 3.10.3).
    NoFilters,
    /// A SUBACK needs a return code (section 3.9.3).
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
                write!(f, "buffer is too small: {needed} bytes are needed")
            }
            Self::StringTooLong { len } => {
                write!(
                    f,
                    "field of {len} bytes is longer than 65535 (section 1.5.3)"
                )
            }
            Self::NulInString => f.write_str("string has U+0000 in it (section 1.5.3)"),
            Self::Topic(error) => write!(f, "in a topic, {error}"),
            Self::PacketTooLong { remaining_length } => {
                write!(
                    f,
                    "Remaining Length {remaining_length} is above 268435455 (section 2.2.3)"
                )
            }
            Self::EmptyClientId => {
                f.write_str("client id is empty and Clean Session is 0 (section 3.1.3.1)")
            }
            Self::NoFilters => f.write_str("no topic filter is given (sections 3.8.3 and 3.10.3)"),
            Self::NoReturnCodes => f.write_str("no return code is given (section 3.9.3)"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Why a string is no topic name or no topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub enum TopicError {
    /// It has no character (section 4.7.3).
    Empty,
    /// It is longer than 65,535 bytes (section 4.7.3).
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// It contains U+0000 (section 4.7.3).
    Nul {
        /// Bytes before it.
        at: usize,
    },
    /// It contains a wildcard where none may be: anywhere in a name; in a filter, a `+` that does
    /// not fill its level or a `#` that does not fill the last one (section 4.7.1).
    Wildcard {
        /// Bytes before it.
        at: usize,
    },
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("there is no character (section 4.7.3)"),
            Self::TooLong { len } => {
                write!(f, "there are {len} bytes, more than 65535 (section 4.7.3)")
            }
            Self::Nul { at } => write!(f, "there is U+0000 at byte {at} (section 4.7.3)"),
            Self::Wildcard { at } => write!(
                f,
                "there is a misplaced wildcard at byte {at} (section 4.7.1)"
            ),
        }
    }
}

impl core::error::Error for TopicError {}
