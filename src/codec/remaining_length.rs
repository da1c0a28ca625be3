//! The Remaining Length (section 2.2.3): one to four bytes, the lowest seven bits first.

use super::error::DecodeError;
use super::wire::CONTINUATION;

/// The largest Remaining Length, in bytes (section 2.2.3).
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// The Remaining Length and the length of the fixed header that it ends.
pub(super) fn decode_remaining_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut length = 0;
    let mut used = 1_u8;
    for &byte in bytes.iter().take(4) {
        length |= u32::from(byte & !CONTINUATION) << used.wrapping_sub(1).wrapping_mul(7);
        used = used.wrapping_add(1);
        if byte & CONTINUATION == 0 {
            return Ok(Some((length, usize::from(used))));
        }
    }
    match used {
        5 => Err(DecodeError::RemainingLengthTooLong),
        _ => Ok(None),
    }
}

/// Saturates where memory is addressed with less than 32 bits; no packet of such a length fits
/// there.
pub(super) fn to_usize(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
