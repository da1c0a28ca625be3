//! The state of a payload that the caller provides piece by piece while its PUBLISH is sent.

use crate::{bytes::Span, codec::PacketId};

/// The streamed payload that is sent now, or next.
#[derive(Default)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct Streamed {
    /// The caller is about to provide the payload.
    pub(super) has_source: bool,
    /// The session asked for the payload. If the caller aborts it, the session asks again.
    pub(super) is_resend: bool,
    /// Payload bytes that the transport has not accepted.
    remaining: usize,
    /// Payload bytes that were copied after all packets and that the transport has not accepted.
    pub(super) staged: Span,
}

/// The result of abandoning a streamed payload.
pub(super) enum Abandoned {
    /// The session will ask for it again.
    Postponed,
    /// The packet was sent in part.
    PartlySent,
    /// No byte of the packet was sent, and it was removed.
    Withdrawn(Option<PacketId>),
}

impl Streamed {
    /// Starts to send a payload of `len` bytes.
    pub(super) fn start(&mut self, len: usize) {
        self.remaining = len;
    }

    /// Returns the number of bytes that the caller must still provide.
    pub(super) fn missing(&self) -> usize {
        self.remaining.saturating_sub(self.staged.len())
    }

    /// Counts `n` bytes that the transport accepted.
    pub(super) fn consume(&mut self, n: usize) {
        self.remaining = self.remaining.saturating_sub(n);
    }

    /// Counts up to `n` staged bytes that the transport accepted.
    pub(super) fn consume_staged(&mut self, n: usize) {
        let n = n.min(self.staged.len());
        self.staged.start = self.staged.start.wrapping_add(n);
        self.consume(n);
    }

    /// Returns `true` if the transport accepted the whole payload.
    pub(super) fn is_sent(&self) -> bool {
        self.remaining == 0
    }
}
