//! What every string must be: UTF-8 without U+0000 (section 1.5.3).

use super::error::{DecodeError, EncodeError};
use super::fast;

/// Length of the longest string, in bytes (section 1.5.3).
pub(super) const MAX_LEN: usize = u16::MAX as usize;

/// The string of these bytes, byte for byte.
///
/// [MQTT-1.5.3-3] EF BB BF stays U+FEFF, wherever it stands: nothing is stripped here.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, DecodeError> {
    // [MQTT-1.5.3-1] Ill-formed UTF-8 is refused; `from_utf8` refuses surrogates and overlong forms
    // too.
    core::str::from_utf8(bytes).map_err(|error| DecodeError::InvalidUtf8 {
        at: error.valid_up_to(),
    })
}

/// Checks what [`decode`] does, without the table of `from_utf8`: 432 bytes less on thumbv6m in a program that decodes no
/// string.
pub(super) fn check_utf8(bytes: &[u8]) -> Result<(), DecodeError> {
    match ill_formed_at(bytes) {
        None => Ok(()),
        Some(at) => Err(DecodeError::InvalidUtf8 { at }),
    }
}

/// Bytes before the first ill-formed sequence.
fn ill_formed_at(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(behind) = behind_character(rest) else {
            return Some(bytes.len().saturating_sub(rest.len()));
        };
        rest = behind;
    }
    None
}

/// What follows the character at the front; `None` if that is ill-formed (table 3-7 of the Unicode Standard).
fn behind_character(bytes: &[u8]) -> Option<&[u8]> {
    let (&first, mut rest) = bytes.split_first()?;
    let (more, smallest) = match first {
        ..0x80 => return Some(rest),
        0xC0..0xE0 => (1, 0x80),
        0xE0..0xF0 => (2, 0x800),
        0xF0..0xF8 => (3, 0x1_0000),
        _ => return None,
    };
    let mut scalar = u32::from(first) & (0x3F >> more);
    for _ in 0..more {
        let (&byte, behind) = rest.split_first()?;
        if byte & 0xC0 != 0x80 {
            return None;
        }
        scalar = scalar << 6 | u32::from(byte & 0x3F);
        rest = behind;
    }
    // Neither a longer form than is needed nor a surrogate.
    (scalar >= smallest && char::from_u32(scalar).is_some()).then_some(rest)
}

/// Bytes before the first U+0000.
pub(super) fn find_nul(string: &str) -> Option<usize> {
    if fast::has_no_nul(string.as_bytes()) {
        return None;
    }
    string.bytes().position(|byte| byte == 0)
}

/// Checks a string that is to be sent; its length with that of the length in front, in bytes.
#[inline(always)] // its error is built where it is wanted
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sequence of two bytes, and with each of them the bytes at the edges of what may follow.
    #[test]
    fn ill_formed_is_what_core_calls_so() {
        let edges = [
            0x00, 0x2B, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xE1, 0xF4,
        ];
        let compare = |bytes: &[u8]| {
            let expected = core::str::from_utf8(bytes)
                .err()
                .map(|error| error.valid_up_to());
            assert_eq!(ill_formed_at(bytes), expected, "{bytes:02X?}");
        };
        compare(b"");
        for first in 0..=u8::MAX {
            compare(&[first]);
            for second in 0..=u8::MAX {
                compare(&[first, second]);
                for third in edges {
                    compare(&[first, second, third]);
                    for fourth in edges {
                        compare(&[first, second, third, fourth]);
                    }
                    compare(&[b'a', first, second, third, 0xBF, b'b']);
                }
            }
        }
    }
}
