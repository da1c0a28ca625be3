//! What every string must be: UTF-8 without U+0000 (section 1.5.3).

use super::{DecodeError, EncodeError};
use crate::bytes::ROOM_FOR_SPEED;

/// Length of the longest string, in bytes (section 1.5.3).
pub(super) const MAX_LEN: usize = u16::MAX as usize;

/// The string of these bytes, byte for byte.
///
/// [MQTT-1.5.3-3] EF BB BF stays U+FEFF, wherever it stands: nothing is stripped here.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    // [MQTT-1.5.3-1] Ill-formed UTF-8 is refused; `from_utf8` refuses surrogates and overlong forms
    // too.
    core::str::from_utf8(bytes).map_err(|error| DecodeError::InvalidUtf8 {
        at: error.valid_up_to(),
    })
}

/// Bytes before the first U+0000.
pub(super) fn find_nul(string: &str) -> Option<usize> {
    // Many bytes at a time: it seldom comes to the check of single ones.
    if ROOM_FOR_SPEED && all(string.as_bytes(), |byte| byte != 0) {
        return None;
    }
    string.bytes().position(|byte| byte == 0)
}

/// Checks a string that is to be sent; its length with that of the length in front, in bytes.
pub(super) fn string_len(string: &str) -> Result<usize, EncodeError> {
    // [MQTT-1.5.3-2] U+0000 is refused in any string.
    match find_nul(string) {
        None => field_len(string.as_bytes()),
        Some(_) => Err(EncodeError::NulInString),
    }
}

/// Checks a field that is to be sent; its length with that of the length in front, in bytes.
pub(super) fn field_len(field: &[u8]) -> Result<usize, EncodeError> {
    match u16::try_from(field.len()) {
        Ok(len) => Ok(usize::from(len).saturating_add(2)),
        Err(_) => Err(EncodeError::StringTooLong { len: field.len() }),
    }
}

/// True if it is soon seen that every byte is ASCII and none is NUL, `#` or `+`, as in most topics: the one pass over a
/// topic name that a 64-bit host makes.
#[inline(always)]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    // `#` and `+` differ in the bit 0x08 only.
    ROOM_FOR_SPEED
        && all(bytes, |byte| {
            byte.is_ascii() & (byte != 0) & (byte | 0x08 != b'+')
        })
}

/// True if it is soon seen that every byte is ASCII.
pub(super) fn is_ascii(bytes: &[u8]) -> bool {
    ROOM_FOR_SPEED && bytes.is_ascii()
}

/// True if every byte passes; in blocks, which a compiler turns into vector instructions.
#[inline(always)]
fn all(bytes: &[u8], passes: impl Fn(u8) -> bool + Copy) -> bool {
    match bytes.len() {
        16.. => all_blocks::<16>(bytes, passes),
        8.. => all_blocks::<8>(bytes, passes),
        _ => bytes.iter().all(|&byte| passes(byte)),
    }
}

#[inline(always)]
fn all_blocks<const N: usize>(bytes: &[u8], passes: impl Fn(u8) -> bool) -> bool {
    let block = |block: &[u8; N]| block.iter().fold(true, |all, &byte| all & passes(byte));
    let (blocks, _) = bytes.as_chunks();
    for each in blocks {
        if !block(each) {
            return false;
        }
    }
    // The last block may overlap the one before it, which costs less than single bytes.
    bytes.last_chunk().is_some_and(block)
}
