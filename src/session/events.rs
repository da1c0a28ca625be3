//! The event that `Session::poll` announces next, and the reports that follow it.

use super::send::Sender;
use crate::codec::PacketId;

/// The event that is announced next.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) enum PendingEvent {
    None,
    Connected,
    /// A PUBLISH is in the receive buffer.
    Message,
    /// A part of a PUBLISH is in the receive buffer.
    Chunk,
    TopicTooLong {
        len: u16,
    },
    /// A request has ended. Its slot contains the result.
    Completed(PacketId),
    /// A SUBACK is in the receive buffer.
    Suback(PacketId),
    ChunksAborted,
    PayloadNeeded(PacketId),
    Checkpoint,
    Qos0Dropped(u16),
}

/// The pending event, and the reports that follow when no event is pending.
pub(super) struct EventQueue {
    /// Chunks of a message were announced, and the connection was closed before the last one.
    chunks_aborted: bool,
    /// Checkpoints are announced.
    pub(super) checkpoints: bool,
    /// Number of the pending event, by which a token recognizes it.
    generation: u16,
    pending: PendingEvent,
    /// An event of an older connection that the caller has not received.
    carried_over: PendingEvent,
}

/// Proof that an event is pending, to be exchanged for it with [`Session::event`](super::Session::event).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the event stays pending until the token is used"]
pub struct EventToken {
    generation: u16,
    completes: Option<PacketId>,
}

impl EventToken {
    /// Returns the id of the request that ends with this event. Its PUBACK, PUBCOMP, SUBACK or UNSUBACK was received,
    /// or will never be.
    pub const fn completed_request(&self) -> Option<PacketId> {
        self.completes
    }
}

impl PendingEvent {
    pub(super) const fn is_checkpoint(self) -> bool {
        matches!(self, Self::Checkpoint)
    }
}

impl EventQueue {
    pub(super) const fn new() -> Self {
        Self {
            chunks_aborted: false,
            checkpoints: false,
            generation: 0,
            pending: PendingEvent::None,
            carried_over: PendingEvent::None,
        }
    }

    /// Returns `true` if no event is pending.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.pending, PendingEvent::None)
    }

    /// Returns `true` if the pending event borrows a whole packet from the receive buffer.
    pub(super) const fn borrows_packet(&self) -> bool {
        matches!(
            self.pending,
            PendingEvent::Message | PendingEvent::Suback(_)
        )
    }

    /// Returns `true` if a chunk is pending.
    pub(super) const fn has_chunk(&self) -> bool {
        matches!(self.pending, PendingEvent::Chunk)
    }

    /// Returns a token for the pending event.
    pub(super) const fn token(&self) -> Option<EventToken> {
        let completes = match self.pending {
            PendingEvent::None => return None,
            PendingEvent::Completed(id) | PendingEvent::Suback(id) => Some(id),
            _ => None,
        };
        Some(EventToken {
            generation: self.generation,
            completes,
        })
    }

    /// Returns `true` if this token was returned for the pending event, and not for an earlier one.
    pub(super) const fn is_current(&self, token: &EventToken) -> bool {
        self.generation == token.generation
    }

    /// Makes this event pending.
    pub(super) const fn push(&mut self, event: PendingEvent) {
        self.pending = event;
        self.generation = self.generation.wrapping_add(1);
    }

    /// Takes the pending event.
    pub(super) const fn take(&mut self) -> PendingEvent {
        core::mem::replace(&mut self.pending, PendingEvent::None)
    }

    /// Discards the pending event and returns `true` if it is a message, or a part of one.
    pub(super) const fn discard_message(&mut self) -> bool {
        let is_message = matches!(self.pending, PendingEvent::Message | PendingEvent::Chunk);
        if is_message {
            self.pending = PendingEvent::None;
        }
        is_message
    }

    /// Discards the pending event if it is a checkpoint.
    pub(super) const fn discard_checkpoint(&mut self) {
        if matches!(self.pending, PendingEvent::Checkpoint) {
            self.pending = PendingEvent::None;
        }
    }

    /// Discards the pending event if it is a chunk.
    pub(super) const fn discard_chunk(&mut self) {
        if matches!(self.pending, PendingEvent::Chunk) {
            self.pending = PendingEvent::None;
        }
    }

    /// Makes a report pending. Returns `true` if there was one.
    pub(super) fn push_report(&mut self, sender: &mut Sender<'_>) -> bool {
        let event = if !matches!(self.carried_over, PendingEvent::None) {
            core::mem::replace(&mut self.carried_over, PendingEvent::None)
        } else if core::mem::take(&mut self.chunks_aborted) {
            PendingEvent::ChunksAborted
        } else if let Some(id) = sender.in_flight.next_report() {
            PendingEvent::Completed(id)
        } else {
            match sender.take_qos0_dropped() {
                0 => return false,
                count => PendingEvent::Qos0Dropped(count),
            }
        };
        self.push(event);
        true
    }

    /// Keeps the pending event for a new connection, unless it concerns only the old one.
    pub(super) const fn on_connect(&mut self) {
        match self.take() {
            // The session announces these again.
            PendingEvent::None
            | PendingEvent::Connected
            | PendingEvent::Completed(_)
            | PendingEvent::PayloadNeeded(_)
            | PendingEvent::Checkpoint => {}
            event => self.carried_over = event,
        }
    }

    /// Removes the events of a connection that was closed: the receive buffer is empty, and no payload can be sent.
    pub(super) const fn on_connection_closed(&mut self, chunks_aborted: bool) {
        self.chunks_aborted |= chunks_aborted;
        if self.borrows_packet()
            || matches!(
                self.pending,
                PendingEvent::Chunk | PendingEvent::PayloadNeeded(_)
            )
        {
            self.pending = PendingEvent::None;
        }
    }

    /// Discards everything, because a saved session replaces this one.
    pub(super) const fn clear(&mut self) {
        self.pending = PendingEvent::None;
        self.carried_over = PendingEvent::None;
        self.chunks_aborted = false;
    }
}

/// Hashes all but the number of the pending event, which decides only whether a token is current.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for EventQueue {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            chunks_aborted,
            checkpoints,
            generation: _,
            pending,
            carried_over,
        } = self;
        (chunks_aborted, checkpoints, pending, carried_over).hash(state);
    }
}
