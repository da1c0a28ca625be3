//! Writes the fields of a packet. No other code of the codec indexes the caller's buffer.

use super::error::EncodeError;
use super::types::PacketId;
use crate::bytes;

/// A writer over the unwritten bytes of one packet.
///
/// The length of a packet is computed before it is written, so every field fits. A field that did not fit would be
/// omitted without a panic.
pub(super) struct Writer<'o> {
    rest: &'o mut [u8],
}

impl Writer<'_> {
    pub(super) fn u8(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    pub(super) fn packet_id(&mut self, id: PacketId) {
        self.bytes(&id.get().to_be_bytes());
    }

    /// Writes the length of `field`, in two bytes, and `field`, which must have at most 65,535 bytes.
    // On thumbv6m at opt-level s, not inlining it saves 200 to 256 bytes. On a 64-bit host, inlining it saves 20 instructions.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(super) fn length_prefixed(&mut self, field: &[u8]) {
        let len = u16::try_from(field.len()).unwrap_or(u16::MAX);
        self.bytes(&len.to_be_bytes());
        self.bytes(field);
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

/// Calls `fields` to write `len` bytes to the start of `out`. Returns these bytes.
#[inline(always)] // as `FixedHeader::encode`
pub(super) fn write(
    out: &mut [u8],
    len: usize,
    fields: impl FnOnce(&mut Writer<'_>),
) -> Result<&[u8], EncodeError> {
    let (packet, _) = out
        .split_at_mut_checked(len)
        .ok_or(EncodeError::BufferTooSmall { needed: len })?;
    let mut writer = Writer { rest: &mut *packet };
    fields(&mut writer);
    debug_assert!(
        writer.rest.is_empty(),
        "the computed length of a packet was wrong"
    );
    Ok(packet)
}

/// Writes a packet of a fixed length to the start of `out`. Returns it.
pub(super) fn write_array<const N: usize>(
    out: &mut [u8],
    packet: [u8; N],
) -> Result<&[u8], EncodeError> {
    let place = out
        .first_chunk_mut()
        .ok_or(EncodeError::BufferTooSmall { needed: N })?;
    *place = packet;
    Ok(place)
}
