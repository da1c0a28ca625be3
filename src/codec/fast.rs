//! Shortcuts for 64-bit hosts, where speed matters more than code size. If a shortcut does not apply, the general code
//! is used.

use super::header::{MIN_AT_QOS_0, min_publish_length};
use super::remaining_length;
use super::wire::FLAGS_MASK;
use crate::bytes::OPTIMIZE_FOR_SPEED;

/// A complete PUBLISH with valid flags and a [plain](is_plain_topic) topic.
pub(super) struct PlainPublish<'a> {
    pub(super) flags: u8,
    pub(super) topic: &'a [u8],
    /// Packet id, at QoS 1 and 2, and payload.
    pub(super) rest: &'a [u8],
    /// Length of the packet, in bytes.
    pub(super) len: usize,
}

/// Splits a PUBLISH into its fields. With it, decoding 64 bytes at QoS 0 takes 104 instructions on x86-64 instead of
/// 201.
///
/// Sets `is_incomplete` if the received part of the packet is valid and more bytes must be received. That saves 50
/// instructions.
#[inline(always)]
pub(super) fn split_publish<'a>(
    bytes: &'a [u8],
    is_incomplete: &mut bool,
) -> Option<PlainPublish<'a>> {
    let (&first, rest) = bytes.split_first()?;
    let flags = first & FLAGS_MASK;
    let min = match flags {
        0 => MIN_AT_QOS_0,
        _ => min_publish_length(flags).ok()?,
    };
    let Some((remaining_length, header_len)) = remaining_length::decode(rest).ok()? else {
        *is_incomplete = true;
        return None;
    };
    let len = header_len.saturating_add(remaining_length::to_usize(remaining_length));
    let Some(body) = bytes.get(header_len..len) else {
        *is_incomplete = remaining_length >= u32::from(min);
        return None;
    };
    let (topic_len, rest) = body.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
    is_plain_topic(topic).then_some(PlainPublish {
        flags,
        topic,
        rest,
        len,
    })
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
