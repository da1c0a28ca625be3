//! Messages whose payload the caller hands over piece by piece while they leave.

use super::{
    RequestError,
    error::ProtocolError,
    event::{Message, StreamedPublish},
    state::Session,
};
use crate::{codec::PacketId, time::Instant};

impl Session<'_> {
    /// Queues all of a message but its payload of `len` bytes, which the caller then hands over: once what is pending
    /// has left, [`Self::payload_left`] says how much of it has to go to the transport next.
    ///
    /// Until it has left whole, nothing else leaves; whoever gives up says so with [`Self::abandon_payload`]. Bytes have to
    /// follow each other within the response timeout: a caller who brings none ends the connection as a transport does that
    /// takes none, with [`ProtocolError::WriteTimeout`].
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn begin_payload(
        &mut self,
        message: StreamedPublish<'_>,
        len: usize,
    ) -> Result<Option<PacketId>, RequestError> {
        match message {
            StreamedPublish::New { topic, qos, retain } => {
                let message = Message {
                    qos,
                    retain,
                    ..Message::new(topic, &[])
                };
                self.publisher().publish_payload(&message, len, None)
            }
            StreamedPublish::Resend(id) => {
                self.publisher().check_open()?;
                self.sender.accept_source(id, len)?;
                Ok(Some(id))
            }
        }
    }

    /// How many payload bytes the caller has to hand to the transport next; 0 while other bytes come first, or when
    /// it is complete.
    pub fn payload_left(&self) -> usize {
        if self.link.is_open() {
            self.sender.buffer.payload_missing()
        } else {
            0
        }
    }

    /// Whether the payload of [`Self::begin_payload`] has not left whole.
    pub fn is_payload_open(&self) -> bool {
        self.sender.buffer.has_source()
    }

    /// The transport took `n` bytes of the payload, directly from the caller's memory; that was over at `now`. 0 is no
    /// progress.
    pub fn payload_sent(&mut self, n: usize, now: Instant) {
        let n = n.min(self.payload_left());
        if n == 0 {
            return;
        }
        self.sender.buffer.payload_sent(n);
        self.on_bytes_sent(now);
    }

    /// Where a payload that comes from a reader can be put, piece by piece; what is
    /// [committed](Self::payload_commit) becomes [pending](Self::pending).
    ///
    /// Empty while [`Self::payload_left`] is 0, and until the piece before has left. What is put there has to be committed
    /// before any other call, which may move it.
    pub fn payload_space(&mut self) -> &mut [u8] {
        if self.payload_left() == 0 {
            return &mut [];
        }
        self.sender.buffer.payload_space()
    }

    /// `n` bytes have been put into the [`Self::payload_space`].
    pub fn payload_commit(&mut self, n: usize) {
        if n > 0 && !self.payload_space().is_empty() {
            self.sender.buffer.payload_commit(n);
            // However long the caller took, the transport begins anew.
            self.timers.on_write_withdrawn();
        }
    }

    /// The caller gives up the payload of [`Self::begin_payload`].
    ///
    /// If its packet has not begun to leave it is taken back (or, if it had been asked for, will be asked for again).
    /// Otherwise the connection is over, with [`ProtocolError::PayloadAborted`]: whatever came next would be taken
    /// for payload. Does nothing when no payload is open.
    pub fn abandon_payload(&mut self) {
        // What the end of the connection leaves behind at QoS 1 and 2 will be asked for on the next.
        if !self.sender.buffer.has_source() || !self.link.is_open() {
            return;
        }
        if self.sender.abandon_payload() {
            self.link.close(ProtocolError::PayloadAborted);
        }
    }

    /// Copies payload bytes of the message that was last shown, whole or in chunks, to `buf`, those first that have
    /// not been copied yet, and returns how many; 0 when all that has come has been copied.
    pub fn read_payload(&mut self, buf: &mut [u8]) -> usize {
        self.receiver.read_payload(buf)
    }

    /// Whether more chunks will come of the message of which the last was shown.
    pub fn is_message_open(&self) -> bool {
        self.receiver.is_message_open()
    }

    /// Lets the rest of the message at hand pass by unseen; it is acknowledged like any other. Does nothing between
    /// messages.
    pub fn skip_message(&mut self) {
        if self.receiver.is_message_open() {
            self.events.discard_chunk();
            self.receiver.skip_message();
        }
    }

    /// Whether a payload has to be given again before anything that is queued from now on can leave.
    pub(crate) fn payload_waits(&self) -> bool {
        self.link.is_open() && self.sender.buffer.is_blocked_by_payload()
    }

    /// The message for which [`Event::PayloadNeeded`](super::Event::PayloadNeeded) asks, if any.
    pub fn payload_needed(&self) -> Option<PacketId> {
        if self.link.is_connected() {
            self.sender.buffer.payload_needed()
        } else {
            None
        }
    }

    /// The payload for which [`Event::PayloadNeeded`](super::Event::PayloadNeeded) asks cannot be given again: the
    /// message is given up, as [`Event::PublishDiscarded`](super::Event::PublishDiscarded) reports. At QoS 2 that comes once the server has
    /// forgotten the session: it may know the id, which stays reserved until then, and takes a slot.
    ///
    /// # Errors
    ///
    /// [`RequestError::PayloadNotNeeded`].
    pub fn decline_payload(&mut self, id: PacketId) -> Result<(), RequestError> {
        self.sender.decline_payload(id)
    }
}
