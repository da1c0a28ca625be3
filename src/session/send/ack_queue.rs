//! A queue for acknowledgements and PINGREQ, which are sent before the packets in the send buffer.

use crate::{bytes, codec::PacketId};

/// Eight acknowledgements, in bytes.
const CAPACITY: usize = 32;

/// Packets of two or four bytes, for one connection.
pub(in crate::session) struct AckQueue {
    bytes: [u8; CAPACITY],
    len: u8,
}

impl AckQueue {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            len: 0,
        }
    }

    /// Returns `true` if `count` acknowledgements fit.
    pub(in crate::session) fn has_room(&self, count: usize) -> bool {
        self.len().wrapping_add(count.wrapping_mul(4)) <= CAPACITY
    }

    pub(in crate::session) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of queued bytes.
    pub(in crate::session) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }

    /// Queues an acknowledgement. The caller has checked that [there is room](Self::has_room).
    #[inline(never)] // called from many places
    pub(in crate::session) fn push_ack(&mut self, first: u8, id: PacketId) {
        let [high, low] = id.get().to_be_bytes();
        self.push(&[first, 2, high, low]);
    }

    /// Queues a packet and returns `true`, or returns `false` if it does not fit.
    pub(in crate::session) fn push(&mut self, packet: &[u8]) -> bool {
        let begin = self.len();
        let end = begin.wrapping_add(packet.len());
        let Some(place) = self.bytes.get_mut(begin..end) else {
            return false;
        };
        bytes::copy(place, packet);
        self.set_len(end);
        true
    }

    /// Removes up to `n` bytes, which the transport accepted, and returns how many.
    pub(super) fn consume(&mut self, n: usize) -> usize {
        let n = n.min(self.len());
        let rest = self.len().wrapping_sub(n);
        bytes::move_within(&mut self.bytes, n, 0, rest);
        self.set_len(rest);
        n
    }

    /// Discards the acknowledgements of a connection that ended.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    fn set_len(&mut self, len: usize) {
        let [low, ..] = len.to_le_bytes();
        self.len = low;
    }
}

/// All but the bytes that belong to no packet.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for AckQueue {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}
