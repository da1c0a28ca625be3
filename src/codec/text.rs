//! What every string must be: UTF-8 without U+0000 (section 1.5.3).

use super::{DecodeError, EncodeError};

/// Length of the longest string, in bytes (section 1.5.3).
pub(super) const MAX_LEN: usize = u16::MAX as usize;

const WORD: usize = size_of::<usize>();

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
    string.bytes().position(|byte| byte == 0)
}

/// Checks a string that is to be sent.
pub(super) fn check(string: &str) -> Result<(), EncodeError> {
    // [MQTT-1.5.3-2] U+0000 is refused in any string.
    match find_nul(string) {
        None => check_len(string.as_bytes()),
        Some(_) => Err(EncodeError::NulInString),
    }
}

/// Checks that the length of a field fits the two bytes in front of it.
pub(super) fn check_len(field: &[u8]) -> Result<(), EncodeError> {
    match field.len() {
        0..=MAX_LEN => Ok(()),
        len => Err(EncodeError::StringTooLong { len }),
    }
}

/// True if every byte is ASCII and none is NUL, `#` or `+`, as in most topics; looks at a word at a
/// time.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let (words, _) = bytes.as_chunks();
    match bytes.last_chunk() {
        // The last word may overlap the one before it, which costs less than single bytes.
        Some(last) => words.iter().all(is_plain_word) && is_plain_word(last),
        None => bytes.iter().all(|&byte| is_plain_byte(byte)),
    }
}

const fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii() && !matches!(byte, 0 | b'#' | b'+')
}

/// [`is_plain`] for one word: the top bit of each byte says what is wrong with that byte.
const fn is_plain_word(word: &[u8; WORD]) -> bool {
    let word = usize::from_ne_bytes(*word);
    const TOP: usize = repeat(0x80);
    let not_nul = word.wrapping_add(repeat(0x7F));
    // `#` and `+` differ in the bit 0x08 only. Bytes below 0x80 carry nothing into their neighbour.
    let not_wildcard = ((word | repeat(0x08)) ^ repeat(b'+')).wrapping_add(repeat(0x7F));
    !word & not_nul & not_wildcard & TOP == TOP
}

const fn repeat(byte: u8) -> usize {
    usize::from_ne_bytes([byte; WORD])
}
