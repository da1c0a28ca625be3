//! UTF-8 strings without U+0000, and fields with a length of two bytes (section 1.5.3).

use super::error::{DecodeError, EncodeError, Field};
use super::fast;

/// Length of the longest string or binary field, in bytes (section 1.5.3).
pub(super) const MAX_LEN: usize = u16::MAX as usize;

/// Decodes a string. U+0000 is not refused here.
///
/// [MQTT-1.5.3-3] EF BB BF is decoded to U+FEFF; it is never removed.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, DecodeError> {
    // [MQTT-1.5.3-1] Ill-formed UTF-8 is refused, with surrogates and overlong forms.
    core::str::from_utf8(bytes).map_err(|error| DecodeError::InvalidUtf8 {
        at: error.valid_up_to(),
    })
}

/// Makes the checks of [`decode`] without `from_utf8`. This saves 432 bytes on thumbv6m in a program that decodes no
/// string.
pub(super) fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(after) = after_character(rest) else {
            let at = bytes.len().saturating_sub(rest.len());
            return Err(DecodeError::InvalidUtf8 { at });
        };
        rest = after;
    }
    Ok(())
}

/// Returns the bytes after the first character, or `None` if it is ill-formed (table 3-7 of the Unicode Standard).
fn after_character(bytes: &[u8]) -> Option<&[u8]> {
    let (&first, mut rest) = bytes.split_first()?;
    let (continuation_bytes, min_scalar) = match first {
        ..0x80 => return Some(rest),
        0xC0..0xE0 => (1, 0x80),
        0xE0..0xF0 => (2, 0x800),
        0xF0..0xF8 => (3, 0x1_0000),
        _ => return None,
    };
    let mut scalar = u32::from(first) & (0x3F >> continuation_bytes);
    for _ in 0..continuation_bytes {
        let (&byte, after) = rest.split_first()?;
        if byte & 0xC0 != 0x80 {
            return None;
        }
        scalar = scalar << 6 | u32::from(byte & 0x3F);
        rest = after;
    }
    // An overlong form or a surrogate is ill-formed.
    (scalar >= min_scalar && char::from_u32(scalar).is_some()).then_some(rest)
}

/// Returns the number of bytes before the first U+0000.
pub(super) fn find_nul(string: &str) -> Option<usize> {
    if fast::has_no_nul(string.as_bytes()) {
        return None;
    }
    string.bytes().position(|byte| byte == 0)
}

/// Checks a string to be sent. Returns its encoded length: its own length plus two bytes.
#[inline(always)] // saves 108 to 164 bytes on thumbv6m
pub(super) fn string_len(field: Field, string: &str) -> Result<usize, EncodeError> {
    // [MQTT-1.5.3-2] A string must not contain U+0000.
    match find_nul(string) {
        None => field_len(field, string.as_bytes()),
        Some(at) => Err(EncodeError::NulInString { field, at }),
    }
}

/// Checks a field to be sent. Returns its encoded length: its own length plus two bytes.
pub(super) fn field_len(field: Field, bytes: &[u8]) -> Result<usize, EncodeError> {
    match bytes.len() {
        len @ ..=MAX_LEN => Ok(len.saturating_add(2)),
        len => Err(EncodeError::StringTooLong { field, len }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every sequence of two bytes, followed by the bytes at the limits of table 3-7.
    #[test]
    fn check_agrees_with_from_utf8() {
        let edges = [
            0x00, 0x2B, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xE1, 0xF4,
        ];
        let compare = |bytes: &[u8]| {
            assert_eq!(check(bytes), decode(bytes).map(drop), "{bytes:02X?}");
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
