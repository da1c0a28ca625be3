//! The fixed header (section 2.2): packet type, flags and Remaining Length.

use super::error::{DecodeError, EncodeError};
use super::packet_type::PacketType;
use super::remaining_length::{self, MAX_REMAINING_LENGTH};
use super::types::QoS;
use super::wire::{DUP, FLAGS_MASK, QOS_MASK};
use super::writer::{self, Writer};

/// The fixed header: the first two to five bytes of a packet (section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub struct FixedHeader {
    /// Type of the packet.
    pub packet_type: PacketType,
    /// The lower four bits of the first byte.
    pub flags: u8,
    /// Length of the rest of the packet, in bytes (section 2.2.3).
    pub remaining_length: u32,
}

impl FixedHeader {
    /// Decodes the header at the start of `bytes`. Returns it with its length, or `None` if it is incomplete.
    ///
    /// An error is returned with the first byte that shows it. A Remaining Length with leading zeros, at most four bytes
    /// in all, is accepted.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::ReservedPacketType`]: the packet type is 0 or 15.
    /// - [`DecodeError::InvalidFlags`]: the flags are not those of the type.
    /// - [`DecodeError::PublishQosThree`]: a PUBLISH has QoS 3.
    /// - [`DecodeError::DupAtQosZero`]: a PUBLISH has DUP set at QoS 0.
    /// - [`DecodeError::RemainingLengthTooLong`]: the Remaining Length has more than four bytes.
    /// - [`DecodeError::NoFilters`]: a SUBSCRIBE or an UNSUBSCRIBE has room for the packet id only.
    /// - [`DecodeError::Truncated`]: the Remaining Length is too small for the type.
    /// - [`DecodeError::TrailingBytes`]: the Remaining Length is too large for the type.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let value = first >> 4;
        let packet_type =
            PacketType::from_number(value).ok_or(DecodeError::ReservedPacketType { value })?;
        let flags = first & FLAGS_MASK;
        let min = min_remaining_length(packet_type, flags)?;
        let Some((remaining_length, len)) = remaining_length::decode(rest)? else {
            return Ok(None);
        };
        check_remaining_length(packet_type, min, remaining_length)?;
        let header = Self {
            packet_type,
            flags,
            remaining_length,
        };
        Ok(Some((header, len)))
    }

    /// Returns the header of a packet to be sent.
    #[inline(always)] // saves 104 to 164 bytes on thumbv6m
    pub(super) fn new(
        packet_type: PacketType,
        remaining_length: usize,
    ) -> Result<Self, EncodeError> {
        match u32::try_from(remaining_length) {
            Ok(length @ 0..=MAX_REMAINING_LENGTH) => Ok(Self {
                packet_type,
                flags: packet_type.header_rules().flags,
                remaining_length: length,
            }),
            _ => Err(EncodeError::PacketTooLong { remaining_length }),
        }
    }

    /// Returns the length of the header, in bytes.
    pub(super) const fn encoded_len(&self) -> usize {
        // At most 5.
        remaining_length::encoded_len(self.remaining_length).wrapping_add(1) as usize
    }

    /// Returns the Remaining Length as a size in memory.
    pub(crate) fn body_len(&self) -> usize {
        remaining_length::to_usize(self.remaining_length)
    }

    /// Returns the length of the whole packet, in bytes.
    pub(crate) fn packet_len(&self) -> usize {
        self.body_len().saturating_add(self.encoded_len())
    }

    /// Returns the first byte of the packet: type and flags.
    pub(crate) const fn first_byte(&self) -> u8 {
        (self.packet_type as u8) << 4 | self.flags
    }

    /// Returns the QoS in the flags of a PUBLISH, which must be valid.
    pub(crate) const fn qos(&self) -> QoS {
        QoS::from_publish_flags(self.flags)
    }

    /// Writes the header to the start of `out`, and calls `body` to write the rest. Returns the `len` bytes of both.
    #[inline(always)] // without LTO, saves a quarter of the instructions of a PUBLISH on x86-64
    pub(super) fn encode(
        self,
        out: &mut [u8],
        len: usize,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<&[u8], EncodeError> {
        writer::write(out, len, |writer| {
            writer.u8(self.first_byte());
            remaining_length::encode(self.remaining_length, writer);
            body(writer);
        })
    }
}

/// Checks `flags` and returns the minimum Remaining Length.
fn min_remaining_length(packet_type: PacketType, flags: u8) -> Result<u8, DecodeError> {
    let rules = packet_type.header_rules();
    if flags == rules.flags {
        return Ok(rules.min_remaining_length);
    }
    if packet_type == PacketType::Publish {
        return min_publish_length(flags);
    }
    // [MQTT-2.2.2-2] Other flags are a protocol error.
    Err(DecodeError::InvalidFlags { packet_type, flags })
}

/// Smallest Remaining Length of a PUBLISH at QoS 0: a topic of one character.
pub(super) const MIN_AT_QOS_0: u8 = 3;

/// Checks the flags of a PUBLISH and returns the minimum Remaining Length (section 3.3.1).
#[inline(always)] // saves 16 to 136 bytes on thumbv6m
pub(super) fn min_publish_length(flags: u8) -> Result<u8, DecodeError> {
    match flags & (DUP | QOS_MASK) {
        // [MQTT-3.3.1-4] QoS 3 is a protocol error.
        0b0110 | 0b1110 => Err(DecodeError::PublishQosThree),
        // [MQTT-3.3.1-2] DUP must be 0 at QoS 0.
        DUP => Err(DecodeError::DupAtQosZero),
        0 => Ok(MIN_AT_QOS_0),
        // [MQTT-2.3.1-1] A packet id follows the topic.
        _ => Ok(5),
    }
}

fn check_remaining_length(
    packet_type: PacketType,
    min: u8,
    remaining_length: u32,
) -> Result<(), DecodeError> {
    let min = u32::from(min);
    if remaining_length < min {
        return Err(match (packet_type, remaining_length) {
            // [MQTT-3.8.3-3] [MQTT-3.10.3-2] There is a packet id and no filter.
            (PacketType::Subscribe | PacketType::Unsubscribe, 2) => DecodeError::NoFilters,
            _ => DecodeError::Truncated,
        });
    }
    if remaining_length > min && !packet_type.header_rules().may_be_longer {
        return Err(DecodeError::TrailingBytes {
            extra: remaining_length::to_usize(remaining_length.saturating_sub(min)),
        });
    }
    Ok(())
}
