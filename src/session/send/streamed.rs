//! Messages whose payload stays outside: only what comes before it lies in the arena.
//!
//! In the arena such a packet ends where its payload would begin, and its first byte carries a mark instead of the
//! packet type, which is put right while the packet leaves. Whoever has the payload is called for it then.

use super::{RequestError, Sender};
use crate::{
    codec::{PacketId, wire},
    session::raw_packet,
};

/// The payload from outside that leaves at present, or will leave next.
#[derive(Default)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct Passing {
    /// Someone is about to hand it over.
    pub(super) attended: bool,
    /// It was asked for: if it is given up, it is asked for again.
    again: bool,
    /// The packet at the cursor has been lent to the transport, and has lost its mark.
    pub(super) begun: bool,
    /// Bytes that the transport has not taken.
    left: usize,
    /// Bytes on their way from a reader to the transport lie here, behind all packets.
    staged: usize,
    staged_end: usize,
}

/// What became of a payload that the caller gave up.
pub(in crate::session) enum Abandoned {
    /// It will be asked for again.
    Postponed,
    /// The stream stands inside its packet.
    Halfway,
    /// Its packet, which had not begun to leave, is gone, and its id with it.
    Withdrawn(Option<PacketId>),
}

impl Sender<'_> {
    /// The packet there, which was queued last, has a payload that the caller is about to hand over.
    pub(in crate::session) fn make_long(&mut self, at: usize) {
        self.set_type(at, raw_packet::STREAMED_TYPE);
        self.longs = self.longs.saturating_add(1);
        self.passing.attended = true;
    }

    /// The payload that has to be handed over before anything else can leave, unless someone is about to.
    pub(in crate::session) fn unattended(&self) -> Option<PacketId> {
        let at = self.next_long().filter(|at| *at == self.sent)?;
        if self.passing.attended {
            None
        } else {
            self.id_of(&self.packet_at(at))
        }
    }

    /// Whether someone has to hand over a payload before what is queued last can leave, and nobody is about to.
    pub(in crate::session) fn payload_waits(&self) -> bool {
        self.next_long().is_some() && !self.passing.attended
    }

    /// The caller is about to hand over the payload that [`Self::unattended`] told of, of this length in bytes.
    pub(in crate::session) fn attend(
        &mut self,
        id: PacketId,
        len: usize,
    ) -> Result<(), RequestError> {
        if self.unattended() != Some(id) {
            return Err(RequestError::PayloadNotNeeded);
        }
        let expected = self.packet_at(self.record).payload;
        if expected != len {
            return Err(RequestError::PayloadLength { expected });
        }
        self.passing.attended = true;
        self.passing.again = true;
        Ok(())
    }

    /// Whether a payload is being handed over: it, or what comes before it, has not left whole.
    pub(in crate::session) fn is_attended(&self) -> bool {
        self.passing.attended
    }

    /// Whether the stream stands inside a payload.
    pub(in crate::session) fn in_payload(&self) -> bool {
        self.passing.begun && self.sent >= self.packet_at(self.record).end
    }

    /// Payload bytes that have to come from the caller now.
    pub(in crate::session) fn payload_left(&self) -> usize {
        let staged = self.passing.staged_end.wrapping_sub(self.passing.staged);
        if self.in_payload() {
            self.passing.left.saturating_sub(staged)
        } else {
            0
        }
    }

    /// The transport took `n` payload bytes from the caller's memory.
    pub(in crate::session) fn payload_sent(&mut self, n: usize) {
        self.passing.left = self.passing.left.saturating_sub(n);
    }

    /// Where payload bytes can be put that are to leave next; empty until those put there before have left.
    pub(in crate::session) fn payload_space(&mut self) -> &mut [u8] {
        let left = self.payload_left();
        if self.passing.staged < self.passing.staged_end {
            return &mut [];
        }
        let free = self.arena.get_mut(self.tail..).unwrap_or_default();
        let len = free.len().min(left);
        free.get_mut(..len).unwrap_or_default()
    }

    /// `n` bytes have been put into the payload space, which was not empty.
    pub(in crate::session) fn payload_commit(&mut self, n: usize) {
        let n = n.min(self.payload_space().len());
        self.passing.staged = self.tail;
        self.passing.staged_end = self.tail.wrapping_add(n);
    }

    /// The caller gives up the payload that it was going to hand over.
    pub(in crate::session) fn abandon(&mut self) -> Abandoned {
        let Some(at) = self.next_long() else {
            return Abandoned::Postponed;
        };
        if self.sent > at {
            return Abandoned::Halfway;
        }
        let again = self.passing.again;
        self.end_long();
        if again {
            return Abandoned::Postponed;
        }
        let id = self.id_of(&self.packet_at(at));
        self.remove(at);
        Abandoned::Withdrawn(id)
    }

    /// The packet at `at` was acknowledged: if it has not begun to leave again, its payload is not wanted any more.
    pub(super) fn dismiss(&mut self, at: usize) {
        if self.sent <= at && self.next_long() == Some(at) {
            self.end_long();
        }
    }

    /// Forgets the packet whose payload the caller cannot give again.
    pub(in crate::session) fn decline(&mut self, id: PacketId) -> Result<(), RequestError> {
        if self.unattended() != Some(id) {
            return Err(RequestError::PayloadNotNeeded);
        }
        self.remove(self.record);
        Ok(())
    }

    /// The bytes of a payload on their way to the transport.
    pub(super) fn staged(&self) -> &[u8] {
        self.arena
            .get(self.passing.staged..self.passing.staged_end)
            .unwrap_or_default()
    }

    /// The transport took `n` of the staged bytes.
    pub(super) fn consume_staged(&mut self, n: usize) {
        let n = n.min(self.staged().len());
        self.passing.staged = self.passing.staged.wrapping_add(n);
        self.payload_sent(n);
    }

    /// Takes the mark off the packet at the cursor if it may begin to leave.
    pub(super) fn begin_long(&mut self) {
        let attended = self.passing.attended && !self.passing.begun;
        let packet = self.packet_at(self.record);
        if attended && self.sent == self.record && raw_packet::is_streamed(packet.first) {
            self.passing.left = packet.payload;
            self.set_type(self.record, wire::PUBLISH);
            self.passing.begun = true;
        }
    }

    /// The payload has left, or will not: puts the mark back.
    pub(super) fn end_long(&mut self) {
        if self.passing.begun {
            self.set_type(self.record, raw_packet::STREAMED_TYPE);
        }
        self.passing = Passing::default();
    }

    /// Where the next packet begins whose payload is outside, from the cursor on.
    pub(in crate::session) fn next_long(&self) -> Option<usize> {
        if self.longs == 0 {
            return None;
        }
        self.first_packet(self.record, |packet| packet.is_long)
    }

    /// Where the next such packet stops what may leave at present: at its start, unless it is its turn and its payload is attended to.
    pub(super) fn long_limit(&self) -> Option<usize> {
        let at = self.next_long()?;
        let may_leave = at == self.record && self.passing.attended;
        Some(if may_leave {
            self.packet_at(at).end
        } else {
            at
        })
    }

    /// Whether all of the payload at hand has left.
    pub(super) fn payload_is_sent(&self) -> bool {
        self.passing.left == 0
    }

    fn set_type(&mut self, at: usize, packet_type: u8) {
        if let Some(first) = self.arena.get_mut(at) {
            *first = raw_packet::with_type(*first, packet_type);
        }
    }
}
