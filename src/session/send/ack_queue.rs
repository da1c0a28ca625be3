//! A queue of acknowledgements, which are sent before the packets in the send buffer.

use crate::{
    bytes,
    codec::{PacketId, wire},
    log,
};

/// Length of each acknowledgement, in bytes.
const ACK_LEN: usize = 4;

/// Length of the queue, in bytes: eight acknowledgements.
const CAPACITY: usize = 8 * ACK_LEN;

/// Acknowledgements for one connection.
pub(in crate::session) struct AckQueue {
    bytes: [u8; CAPACITY],
    len: u8,
    /// Number of bytes that the transport accepted.
    sent: u8,
}

impl AckQueue {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            len: 0,
            sent: 0,
        }
    }

    /// Returns `true` if `count` acknowledgements fit.
    pub(in crate::session) fn has_room(&self, count: usize) -> bool {
        self.len().wrapping_add(count.wrapping_mul(ACK_LEN)) <= CAPACITY
    }

    pub(in crate::session) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns `true` if no acknowledgement is partly sent.
    pub(super) const fn is_between_packets(&self) -> bool {
        self.sent == 0
    }

    /// Returns the bytes that are not sent.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes
            .get(usize::from(self.sent)..self.len())
            .unwrap_or_default()
    }

    /// Queues an acknowledgement. The caller has checked that [there is room](Self::has_room).
    #[inline(never)] // called from many places
    pub(in crate::session) fn push_ack(&mut self, first: u8, id: PacketId) {
        let [high, low] = id.get().to_be_bytes();
        let begin = self.len();
        let end = begin.wrapping_add(ACK_LEN);
        if let Some(place) = self.bytes.get_mut(begin..end) {
            bytes::copy(place, &[first, 2, high, low]);
            self.len = small(end);
        }
    }

    /// Counts up to `n` bytes that the transport accepted. Calls `on_pubrel` for each PUBREL that is sent whole, and
    /// returns `true` if any acknowledgement is.
    pub(super) fn consume(&mut self, n: usize, mut on_pubrel: impl FnMut(PacketId)) -> bool {
        let sent = usize::from(self.sent).wrapping_add(n).min(self.len());
        let (whole, _) = self.bytes.get(..sent).unwrap_or_default().as_chunks();
        for [first, _, high, low] in whole {
            let id = PacketId::new(u16::from_be_bytes([*high, *low]));
            log::sent(*first, id, ACK_LEN);
            if *first == wire::PUBREL
                && let Some(id) = id
            {
                on_pubrel(id);
            }
        }
        let done = whole.len().wrapping_mul(ACK_LEN);
        let rest = self.len().wrapping_sub(done);
        bytes::move_within(&mut self.bytes, done, 0, rest);
        self.len = small(rest);
        self.sent = small(sent.wrapping_sub(done));
        done > 0
    }

    /// Discards the acknowledgements of a connection that ended.
    pub(super) const fn clear(&mut self) {
        self.len = 0;
        self.sent = 0;
    }

    fn len(&self) -> usize {
        usize::from(self.len)
    }
}

/// Converts a number of bytes in the queue, which always fits into one byte.
const fn small(len: usize) -> u8 {
    let [low, ..] = len.to_le_bytes();
    low
}

/// Hashes all but the bytes that belong to no packet.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for AckQueue {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
        self.sent.hash(state);
    }
}
