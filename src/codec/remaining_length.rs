//! The Remaining Length (section 2.2.3): a number of one to four bytes, seven bits in each, the lowest bits first.

use super::error::DecodeError;
use super::wire::CONTINUATION;
use super::writer::Writer;

/// The largest Remaining Length, in bytes (section 2.2.3).
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// Decodes the Remaining Length at the start of `bytes`.
///
/// Returns its value and the length of the fixed header that it ends, or `None` if it is incomplete.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut length = 0;
    let mut header_len = 1_u8;
    for &byte in bytes.iter().take(4) {
        length |= u32::from(byte & !CONTINUATION) << header_len.wrapping_sub(1).wrapping_mul(7);
        header_len = header_len.wrapping_add(1);
        if byte & CONTINUATION == 0 {
            return Ok(Some((length, usize::from(header_len))));
        }
    }
    match header_len {
        5 => Err(DecodeError::RemainingLengthTooLong),
        _ => Ok(None),
    }
}

pub(super) fn encode(length: u32, writer: &mut Writer<'_>) {
    let mut rest = length;
    loop {
        let [.., low] = rest.to_be_bytes();
        rest >>= 7;
        if rest == 0 {
            return writer.u8(low);
        }
        writer.u8(low | CONTINUATION);
    }
}

/// Returns the number of bytes that [`encode`] writes.
pub(super) const fn encoded_len(length: u32) -> u8 {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Converts a length to `usize`. It saturates on a target with 16-bit addresses, whose memory cannot hold such a
/// packet.
pub(super) fn to_usize(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
