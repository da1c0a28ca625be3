//! The fixed header (section 2.2): packet type, flags and Remaining Length.

use super::error::{DecodeError, EncodeError};
use super::packet_type::PacketType;
use super::remaining_length::{MAX_REMAINING_LENGTH, decode_remaining_length, to_usize};
use super::types::QoS;
use super::wire::{CONTINUATION, DUP, QOS_MASK};
use super::writer::{self, Writer};

/// The first two to five bytes of every packet (section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
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
        Self::read(bytes)
    }

    /// [`decode`](Self::decode) for whoever decodes the rest at once.
    #[inline(always)]
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let value = first >> 4;
        let packet_type =
            PacketType::from_number(value).ok_or(DecodeError::ReservedPacketType { value })?;
        let flags = first & 0x0F;
        let smallest = smallest(packet_type, flags)?;
        let Some((remaining_length, used)) = decode_remaining_length(rest)? else {
            return Ok(None);
        };
        check_length(packet_type, smallest, remaining_length)?;
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
    #[inline(always)] // a call costs more
    pub(super) fn new(
        packet_type: PacketType,
        remaining_length: usize,
    ) -> Result<Self, EncodeError> {
        match u32::try_from(remaining_length) {
            Ok(length @ 0..=MAX_REMAINING_LENGTH) => Ok(Self {
                packet_type,
                flags: packet_type.shape().flags,
                remaining_length: length,
            }),
            _ => Err(EncodeError::PacketTooLong { remaining_length }),
        }
    }

    /// Its own length, in bytes.
    pub(super) const fn encoded_len(&self) -> usize {
        self.own_len() as usize
    }

    const fn own_len(&self) -> u32 {
        match self.remaining_length {
            0..0x80 => 2,
            0x80..0x4000 => 3,
            0x4000..0x20_0000 => 4,
            _ => 5,
        }
    }

    /// Length of the whole packet, in bytes.
    pub(crate) fn frame_len(&self) -> usize {
        // At most 268,435,460.
        to_usize(self.remaining_length.wrapping_add(self.own_len()))
    }

    /// Writes this header and what `body` writes to the first `len` bytes of `out`, and returns them.
    #[inline(always)]
    pub(super) fn encode(
        self,
        out: &mut [u8],
        len: usize,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<&[u8], EncodeError> {
        writer::write(out, len, |writer| {
            self.write(writer);
            body(writer);
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(self.first_byte());
        let mut left = self.remaining_length;
        loop {
            let [.., low] = left.to_be_bytes();
            left >>= 7;
            if left == 0 {
                return writer.u8(low);
            }
            writer.u8(low | CONTINUATION);
        }
    }

    pub(crate) const fn first_byte(&self) -> u8 {
        (self.packet_type as u8) << 4 | self.flags
    }

    /// Remaining Length as a size in memory.
    pub(crate) fn body_len(&self) -> usize {
        to_usize(self.remaining_length)
    }

    /// QoS in the flags of a PUBLISH that was checked.
    pub(crate) const fn qos(&self) -> QoS {
        QoS::from_publish_flags(self.flags)
    }
}

/// The smallest Remaining Length with these flags, which are judged.
fn smallest(packet_type: PacketType, flags: u8) -> Result<u8, DecodeError> {
    let shape = packet_type.shape();
    if flags == shape.flags {
        return Ok(shape.smallest);
    }
    if packet_type == PacketType::Publish {
        return publish_smallest(flags);
    }
    // [MQTT-2.2.2-2] Any other flags are refused.
    Err(DecodeError::InvalidFlags { packet_type, flags })
}

/// The smallest Remaining Length of a PUBLISH with these flags, which are judged (section 3.3.1).
#[inline(always)] // an error to be copied costs more than the match
pub(super) fn publish_smallest(flags: u8) -> Result<u8, DecodeError> {
    match flags & (DUP | QOS_MASK) {
        // [MQTT-3.3.1-4] QoS 3 is refused.
        0b0110 | 0b1110 => Err(DecodeError::PublishQosThree),
        // [MQTT-3.3.1-2] DUP is 0 at QoS 0.
        DUP => Err(DecodeError::DupAtQosZero),
        // A topic of one character.
        0 => Ok(3),
        // [MQTT-2.3.1-1] An id behind it.
        _ => Ok(5),
    }
}

fn check_length(packet_type: PacketType, smallest: u8, length: u32) -> Result<(), DecodeError> {
    let smallest = u32::from(smallest);
    if length < smallest {
        return Err(match (packet_type, length) {
            // [MQTT-3.8.3-3] [MQTT-3.10.3-2] An id and nothing else.
            (PacketType::Subscribe | PacketType::Unsubscribe, 2) => DecodeError::NoFilters,
            _ => DecodeError::Truncated,
        });
    }
    if length > smallest && !packet_type.shape().may_be_longer {
        return Err(DecodeError::TrailingBytes {
            extra: to_usize(length.saturating_sub(smallest)),
        });
    }
    Ok(())
}
