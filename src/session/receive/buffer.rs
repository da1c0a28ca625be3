//! The receive buffer: a prefix that is kept, bytes to be handled, and space.
//!
//! ```text
//! 0               prefix_len          start            end            len
//! | kept prefix   | handled           | unread bytes   | space        |
//! ```

use crate::{bytes, codec::FixedHeader};

/// The memory for received bytes.
pub(super) struct ReceiveBuffer<'b> {
    memory: &'b mut [u8],
    /// Length of the beginning of an oversized PUBLISH, which is kept; 0 between messages.
    prefix_len: usize,
    /// Start of the unread bytes.
    start: usize,
    /// End of the unread bytes.
    end: usize,
}

/// A packet whose fixed header was received.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct ReceivedPacket {
    pub(super) header: FixedHeader,
    /// Length of the fixed header as received, in bytes. Remaining Length may be padded.
    pub(super) header_len: u8,
}

impl ReceivedPacket {
    /// Returns the length of the packet, in bytes.
    pub(super) fn len(self) -> usize {
        usize::from(self.header_len).saturating_add(self.header.body_len())
    }
}

impl<'b> ReceiveBuffer<'b> {
    pub(super) const fn new(memory: &'b mut [u8]) -> Self {
        Self {
            memory,
            prefix_len: 0,
            start: 0,
            end: 0,
        }
    }
}

impl ReceiveBuffer<'_> {
    /// Discards all bytes.
    pub(super) const fn clear(&mut self) {
        self.prefix_len = 0;
        self.start = 0;
        self.end = 0;
    }

    pub(super) const fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Returns the memory for the bytes that are received next.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.compact(self.prefix_len);
        self.memory.get_mut(self.end..).unwrap_or_default()
    }

    /// Adds `n` bytes that were received into the space.
    pub(super) fn commit(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.memory.len());
    }

    pub(super) fn unread(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) const fn unread_len(&self) -> usize {
        self.end.wrapping_sub(self.start)
    }

    /// Returns `true` if the [`Self::space`] is not empty.
    pub(super) const fn has_room(&self) -> bool {
        self.prefix_len.saturating_add(self.unread_len()) < self.memory.len()
    }

    /// Returns the body of a whole packet at the start of the unread bytes.
    #[inline(never)] // called at many places
    pub(super) fn body(&self, packet: ReceivedPacket) -> &[u8] {
        let begin = self.start.wrapping_add(usize::from(packet.header_len));
        let end = self.start.wrapping_add(packet.len());
        self.memory.get(begin..end).unwrap_or_default()
    }

    /// Discards `len` unread bytes, or all if there are fewer.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = self.start.wrapping_add(len).min(self.end);
    }

    /// Returns the kept prefix.
    pub(super) fn prefix(&self) -> &[u8] {
        self.memory.get(..self.prefix_len).unwrap_or_default()
    }

    /// Discards `header_len` unread bytes and keeps the next `len` as the prefix.
    #[inline(always)] // smaller than two calls
    pub(super) fn keep_prefix(&mut self, header_len: usize, len: usize) {
        self.consume(header_len);
        self.compact(0);
        self.prefix_len = len;
        self.start = len;
    }

    /// Appends the next `len` unread bytes to the prefix.
    pub(super) fn extend_prefix(&mut self, len: usize) {
        self.compact(self.prefix_len);
        self.start = self.start.wrapping_add(len);
        self.prefix_len = self.start;
    }

    /// Discards the prefix.
    pub(super) const fn drop_prefix(&mut self) {
        self.prefix_len = 0;
    }

    /// Moves the unread bytes so that they begin at `to`.
    fn compact(&mut self, to: usize) {
        if self.start == to {
            return;
        }
        let len = self.unread_len();
        bytes::move_within(self.memory, self.start, to, len);
        self.end = to.wrapping_add(len);
        self.start = to;
    }
}

/// Hashes all but the bytes that were handled.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for ReceiveBuffer<'_> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            memory,
            prefix_len,
            start,
            end,
        } = self;
        (memory.len(), prefix_len, start, end).hash(state);
        (self.prefix(), self.unread()).hash(state);
    }
}
