//! Shortcuts for 64-bit hosts, where speed matters more than code size. If a shortcut does not apply, the general code
//! is used.

use super::header::min_publish_length;
use super::wire::FLAGS_MASK;
use crate::bytes::OPTIMIZE_FOR_SPEED;

/// A complete PUBLISH with valid flags and a [plain](is_plain_topic) topic.
pub(super) struct PlainPublish<'a> {
    pub(super) flags: u8,
    pub(super) topic: &'a [u8],
    /// Packet id, at QoS 1 and 2, and payload.
    pub(super) rest: &'a [u8],
}

/// Returns the lengths of the fixed header and of the whole packet, or `None` if the Remaining Length has more than two
/// bytes, or is incomplete.
#[inline(always)]
pub(super) fn short_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes {
        [_, low @ 0..0x80, ..] => Some((2, usize::from(*low).wrapping_add(2))),
        [_, low, high @ 0..0x80, ..] => {
            let low = usize::from(low & 0x7F);
            Some((3, (usize::from(*high) << 7 | low).wrapping_add(3)))
        }
        _ => None,
    }
}

/// Splits a PUBLISH into its fields. `header_len` is the length of its header, `len` that of the packet. It saves 90
/// instructions on x86-64.
#[inline(always)]
pub(super) fn split_publish(
    bytes: &[u8],
    header_len: usize,
    len: usize,
) -> Option<PlainPublish<'_>> {
    let (&first, _) = bytes.split_first()?;
    let flags = first & FLAGS_MASK;
    if flags != 0 {
        min_publish_length(flags).ok()?;
    }
    let (topic_len, rest) = bytes.get(header_len..len)?.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
    is_plain_topic(topic).then_some(PlainPublish { flags, topic, rest })
}

/// Returns `true` if the topic is certainly valid: 1 to 65,535 bytes of ASCII without NUL, `#` and `+`.
#[inline(always)]
pub(super) fn is_plain_topic(bytes: &[u8]) -> bool {
    // `#` and `+` differ in the bit 0x08 only.
    OPTIMIZE_FOR_SPEED
        && matches!(bytes.len(), 1..=0xFFFF)
        && all(bytes, |byte| {
            byte.is_ascii() & (byte != 0) & (byte | 0x08 != b'+')
        })
}

/// Returns `true` if certainly no byte is NUL. It saves 60 instructions in a CONNECT.
#[inline(always)]
pub(super) fn has_no_nul(bytes: &[u8]) -> bool {
    OPTIMIZE_FOR_SPEED && all(bytes, |byte| byte != 0)
}

/// Checks bytes in blocks, which the compiler turns into vector instructions.
#[inline(always)]
fn all(bytes: &[u8], is_valid: impl Fn(u8) -> bool + Copy) -> bool {
    match bytes.len() {
        16.. => all_blocks::<16>(bytes, is_valid),
        8.. => all_blocks::<8>(bytes, is_valid),
        _ => bytes.iter().all(|&byte| is_valid(byte)),
    }
}

#[inline(always)]
fn all_blocks<const N: usize>(bytes: &[u8], is_valid: impl Fn(u8) -> bool) -> bool {
    let (blocks, _) = bytes.as_chunks();
    for block in blocks {
        if !all_of::<N>(block, &is_valid) {
            return false;
        }
    }
    // The last block may overlap the one before it.
    bytes
        .last_chunk()
        .is_some_and(|last| all_of::<N>(last, &is_valid))
}

#[inline(always)] // saves 19 instructions a PUBLISH
fn all_of<const N: usize>(block: &[u8; N], is_valid: impl Fn(u8) -> bool) -> bool {
    block
        .iter()
        .fold(true, |valid, &byte| valid & is_valid(byte))
}
