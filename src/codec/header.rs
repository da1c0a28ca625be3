//! The fixed header (section 2.2): packet type, flags and Remaining Length.

use super::writer::Writer;
use super::{DecodeError, EncodeError, publish};

/// The largest Remaining Length, in bytes (section 2.2.3).
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// The control packet types (section 2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PacketType {
    /// A client asks to connect (section 3.1).
    Connect = 1,
    /// The server accepts or refuses (section 3.2).
    Connack = 2,
    /// A message (section 3.3).
    Publish = 3,
    /// A QoS 1 message arrived (section 3.4).
    Puback = 4,
    /// A QoS 2 message arrived (section 3.5).
    Pubrec = 5,
    /// A QoS 2 message may be let go (section 3.6).
    Pubrel = 6,
    /// A QoS 2 message is done with (section 3.7).
    Pubcomp = 7,
    /// A client asks for topics (section 3.8).
    Subscribe = 8,
    /// What the server grants (section 3.9).
    Suback = 9,
    /// A client wants topics no more (section 3.10).
    Unsubscribe = 10,
    /// The server has heard so (section 3.11).
    Unsuback = 11,
    /// A client is alive (section 3.12).
    Pingreq = 12,
    /// The server is, too (section 3.13).
    Pingresp = 13,
    /// A client leaves (section 3.14).
    Disconnect = 14,
}

impl PacketType {
    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            _ => return None,
        })
    }

    /// The flags of table 2.2; those of a PUBLISH are its own.
    ///
    /// [MQTT-2.2.2-1] Sent so by every encoder, [MQTT-2.2.2-2] and asked for by the decoder.
    const fn reserved_flags(self) -> u8 {
        match self {
            // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            // [MQTT-3.14.1-1] and all others.
            _ => 0b0000,
        }
    }

    fn check_flags(self, flags: u8) -> Result<(), DecodeError> {
        match self {
            Self::Publish => publish::Flags::decode(flags).map(drop),
            // [MQTT-2.2.2-2] Any other flags are refused.
            packet_type if flags != packet_type.reserved_flags() => {
                Err(DecodeError::InvalidFlags { packet_type, flags })
            }
            _ => Ok(()),
        }
    }

    /// The Remaining Lengths between which every packet of this type lies.
    const fn lengths(self, flags: u8) -> (u32, u32) {
        match self {
            // Protocol name, level, flags, keep alive, an empty client id. There is no upper bound:
            // a packet of another protocol level may be longer than ours can be, and has a right to
            // its answer.
            Self::Connect => (12, MAX_REMAINING_LENGTH),
            // A topic of one character, and an id above QoS 0.
            Self::Publish if flags & publish::QOS_BITS == 0 => (3, MAX_REMAINING_LENGTH),
            Self::Publish => (5, MAX_REMAINING_LENGTH),
            // An id, and a filter of one character (with its QoS).
            Self::Subscribe => (6, MAX_REMAINING_LENGTH),
            Self::Unsubscribe => (5, MAX_REMAINING_LENGTH),
            Self::Suback => (3, MAX_REMAINING_LENGTH),
            Self::Connack
            | Self::Puback
            | Self::Pubrec
            | Self::Pubrel
            | Self::Pubcomp
            | Self::Unsuback => (2, 2),
            // [MQTT-3.14.1-1] No body.
            Self::Pingreq | Self::Pingresp | Self::Disconnect => (0, 0),
        }
    }

    fn check_length(self, flags: u8, length: u32) -> Result<(), DecodeError> {
        let (smallest, largest) = self.lengths(flags);
        if length < smallest {
            return Err(match (self, length) {
                // [MQTT-3.8.3-3] [MQTT-3.10.3-2] An id and nothing else.
                (Self::Subscribe | Self::Unsubscribe, 2) => DecodeError::NoFilters,
                _ => DecodeError::Truncated,
            });
        }
        match length.saturating_sub(largest) {
            0 => Ok(()),
            extra => Err(DecodeError::TrailingBytes {
                extra: to_usize(extra),
            }),
        }
    }
}

/// The first two to five bytes of every packet (section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FixedHeader {
    /// What kind of packet follows.
    pub packet_type: PacketType,
    /// The lower four bits of the first byte.
    pub flags: u8,
    /// Length of what follows the fixed header, in bytes (section 2.2.3).
    pub remaining_length: u32,
}

impl FixedHeader {
    /// The header at the start of these bytes and its length, or `None` while it is incomplete.
    ///
    /// Type and flags are judged with the first byte; a Remaining Length that is impossible for the
    /// type with its own last byte. One that is padded, to at most four bytes, is accepted.
    ///
    /// # Errors
    ///
    /// [`DecodeError::ReservedPacketType`], [`InvalidFlags`](DecodeError::InvalidFlags),
    /// [`PublishQosThree`](DecodeError::PublishQosThree),
    /// [`DupAtQosZero`](DecodeError::DupAtQosZero),
    /// [`RemainingLengthTooLong`](DecodeError::RemainingLengthTooLong),
    /// [`NoFilters`](DecodeError::NoFilters), [`Truncated`](DecodeError::Truncated) and
    /// [`TrailingBytes`](DecodeError::TrailingBytes).
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let value = first >> 4;
        let packet_type =
            PacketType::from_number(value).ok_or(DecodeError::ReservedPacketType { value })?;
        let flags = first & 0x0F;
        packet_type.check_flags(flags)?;
        let Some((remaining_length, used)) = decode_remaining_length(rest)? else {
            return Ok(None);
        };
        packet_type.check_length(flags, remaining_length)?;
        Ok(Some((
            Self {
                packet_type,
                flags,
                remaining_length,
            },
            used,
        )))
    }

    /// The header of a packet that is to be sent.
    pub(super) fn new(
        packet_type: PacketType,
        remaining_length: usize,
    ) -> Result<Self, EncodeError> {
        match u32::try_from(remaining_length) {
            Ok(length @ 0..=MAX_REMAINING_LENGTH) => Ok(Self {
                packet_type,
                flags: packet_type.reserved_flags(),
                remaining_length: length,
            }),
            _ => Err(EncodeError::PacketTooLong { remaining_length }),
        }
    }

    /// Its own length, in bytes.
    pub(super) const fn encoded_len(&self) -> usize {
        match self.remaining_length {
            0..0x80 => 2,
            0x80..0x4000 => 3,
            0x4000..0x20_0000 => 4,
            _ => 5,
        }
    }

    /// Length of the whole packet, in bytes.
    pub(super) fn frame_len(&self) -> usize {
        self.encoded_len()
            .saturating_add(to_usize(self.remaining_length))
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.u8((self.packet_type as u8) << 4 | self.flags);
        let mut left = self.remaining_length;
        loop {
            let [.., low] = left.to_be_bytes();
            left >>= 7;
            if left == 0 {
                return writer.u8(low);
            }
            writer.u8(low | 0x80);
        }
    }
}

/// The Remaining Length and the length of the fixed header that it ends.
const fn decode_remaining_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    Ok(match *bytes {
        [a @ ..0x80, ..] => Some((a as u32, 2)),
        [a, b @ ..0x80, ..] => Some((from_digits([a, b, 0, 0]), 3)),
        [a, b, c @ ..0x80, ..] => Some((from_digits([a, b, c, 0]), 4)),
        [a, b, c, d @ ..0x80, ..] => Some((from_digits([a, b, c, d]), 5)),
        [_, _, _, _, ..] => return Err(DecodeError::RemainingLengthTooLong),
        _ => None,
    })
}

/// Seven bits of each byte, the lowest first.
const fn from_digits([a, b, c, d]: [u8; 4]) -> u32 {
    const fn digit(byte: u8) -> u32 {
        (byte & 0x7F) as u32
    }
    digit(a) | digit(b) << 7 | digit(c) << 14 | digit(d) << 21
}

/// Saturates where memory is addressed with less than 32 bits; no packet of such a length fits
/// there.
pub(super) fn to_usize(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
