//! Shortcuts for 64-bit hosts, where speed is worth code. Where a shortcut does not apply, the general code decides.

use super::header::publish_smallest;
use super::remaining_length::{decode_remaining_length, to_usize};
use super::wire::FLAGS_MASK;
use crate::bytes::ROOM_FOR_SPEED;

/// A PUBLISH with valid flags and a [plain](is_plain) topic.
pub(super) struct PlainPublish<'a> {
    pub(super) flags: u8,
    pub(super) topic: &'a [u8],
    /// Packet id, if there is one, and payload.
    pub(super) rest: &'a [u8],
    /// Length of the whole packet, in bytes.
    pub(super) len: usize,
}

/// Splits a complete PUBLISH with a plain topic: 111 instructions instead of 201 for 64 bytes at QoS 0 on x86-64.
#[inline(always)]
pub(super) fn publish(bytes: &[u8]) -> Option<PlainPublish<'_>> {
    let (&first, rest) = bytes.split_first()?;
    let flags = first & FLAGS_MASK;
    if flags != 0 {
        publish_smallest(flags).ok()?;
    }
    let (remaining_length, start) = decode_remaining_length(rest).ok()??;
    let len = start.saturating_add(to_usize(remaining_length));
    let (topic_len, rest) = bytes.get(start..len)?.split_first_chunk()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
    is_plain(topic).then_some(PlainPublish {
        flags,
        topic,
        rest,
        len,
    })
}

/// Returns `true` only if a topic of these bytes is valid: ASCII without NUL, `#` and `+`, at most 65,535 bytes, not empty.
#[inline(always)]
pub(super) fn is_plain(topic: &[u8]) -> bool {
    // `#` and `+` differ in the bit 0x08 only.
    ROOM_FOR_SPEED
        && matches!(topic.len(), 1..=0xFFFF)
        && all(topic, |byte| {
            byte.is_ascii() & (byte != 0) & (byte | 0x08 != b'+')
        })
}

/// Returns `true` only if no byte is NUL.
#[inline(always)]
pub(super) fn has_no_nul(bytes: &[u8]) -> bool {
    ROOM_FOR_SPEED && all(bytes, |byte| byte != 0)
}

/// Checks bytes in blocks, which the compiler turns into vector instructions.
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
    let (blocks, _) = bytes.as_chunks();
    for block in blocks {
        if !all_of::<N>(block, &passes) {
            return false;
        }
    }
    // The last block may overlap the one before it.
    bytes
        .last_chunk()
        .is_some_and(|last| all_of::<N>(last, &passes))
}

#[inline(always)] // saves a call of 19 instructions
fn all_of<const N: usize>(block: &[u8; N], passes: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(true, |all, &byte| all & passes(byte))
}
