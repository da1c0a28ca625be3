//! The Remaining Length (section 2.2.3): one to four bytes, the lowest seven bits first.

use super::error::DecodeError;
use super::wire::CONTINUATION;
use crate::bytes::ROOM_FOR_SPEED;

/// The largest Remaining Length, in bytes (section 2.2.3).
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// The Remaining Length and the length of the fixed header that it ends.
pub(super) fn decode_remaining_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    match ROOM_FOR_SPEED {
        true => decode_length_at_once(bytes),
        false => decode_length_each(bytes),
    }
}

/// [`decode_remaining_length`], byte by byte.
fn decode_length_each(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
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

/// [`decode_remaining_length`] without a loop.
fn decode_length_at_once(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    Ok(match *bytes {
        [a @ ..0x80, ..] => Some((u32::from(a), 2)),
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

/// Seven bits in each byte, the lowest first.
pub(super) const fn to_digits(length: u32) -> [u8; 4] {
    const fn digit(length: u32) -> u8 {
        (length & 0x7F) as u8
    }
    [
        digit(length),
        digit(length >> 7),
        digit(length >> 14),
        digit(length >> 21),
    ]
}

/// Saturates where memory is addressed with less than 32 bits; no packet of such a length fits
/// there.
pub(super) fn to_usize(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a host does without a loop and a chip in one.
    #[test]
    fn both_ways_to_read_a_length_agree() {
        for bytes in [0x00_u8, 0x01, 0x7F, 0x80, 0x81, 0xFF]
            .iter()
            .flat_map(|a| [0x00, 0x7F, 0x80, 0xFF].map(|b| [*a, b]))
            .flat_map(|[a, b]| [0x00, 0x05, 0x80, 0xFF].map(|c| [a, b, c]))
            .flat_map(|[a, b, c]| [0x00, 0x7F, 0x80, 0xFF].map(|d| [a, b, c, d]))
        {
            for len in 0..=4 {
                let bytes = &bytes[..len];
                assert_eq!(decode_length_each(bytes), decode_length_at_once(bytes));
            }
        }
    }
}
