//! Puts a packet together, field by field; nothing else writes at a position of the caller's
//! buffer.

use super::error::EncodeError;
use super::types::PacketId;
use crate::bytes;

/// The bytes of a frame that are not written yet.
///
/// A frame is measured before it is written, so every field fits. One that did not fit would be
/// left out; it would not be a panic.
pub(super) struct Writer<'o> {
    rest: &'o mut [u8],
}

impl Writer<'_> {
    pub(super) fn u8(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn packet_id(&mut self, id: PacketId) {
        self.u16(id.get());
    }

    /// A field of at most 65,535 bytes, which was checked, with its length in front of it.
    pub(super) fn prefixed(&mut self, field: &[u8]) {
        let [low, high, ..] = field.len().to_le_bytes();
        let Some((place, rest)) =
            core::mem::take(&mut self.rest).split_at_mut_checked(field.len().wrapping_add(2))
        else {
            return;
        };
        if let [a, b, place @ ..] = place {
            *a = high;
            *b = low;
            bytes::copy(place, field);
            self.rest = rest;
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if let Some((field, rest)) =
            core::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())
        {
            bytes::copy(field, bytes);
            self.rest = rest;
        }
    }
}

/// Writes what `fields` writes to the first `needed` bytes of `out`, and returns them.
pub(super) fn write(
    out: &mut [u8],
    needed: usize,
    fields: impl FnOnce(&mut Writer<'_>),
) -> Result<&[u8], EncodeError> {
    let (frame, _) = out
        .split_at_mut_checked(needed)
        .ok_or(EncodeError::BufferTooSmall { needed })?;
    let mut writer = Writer { rest: &mut *frame };
    fields(&mut writer);
    debug_assert!(writer.rest.is_empty(), "a packet was measured wrongly");
    Ok(frame)
}
