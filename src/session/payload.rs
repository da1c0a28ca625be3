//! Payloads that the caller provides, or reads, piece by piece.

#[cfg(feature = "async")]
use super::{Publisher, in_flight::Slot};
use super::{
    error::{ProtocolError, RequestError},
    event::{Message, StreamedPublish},
    state::Session,
};
use crate::{codec::PacketId, time::Instant};

#[cfg(feature = "async")]
impl Publisher<'_, '_> {
    /// Discards this message, whose payload is needed again, if [`Session::lose_source`] was called for it. Returns
    /// `true` if it was discarded.
    pub(crate) fn discard_if_source_lost(&mut self, id: PacketId) -> bool {
        let slot = self.sender.in_flight.get(id);
        slot.is_some_and(Slot::has_lost_source) && self.discard_publish(id).is_ok()
    }
}

impl Session<'_> {
    /// Queues a message without its payload of `len` bytes, which the caller then provides. Once the pending bytes were
    /// sent, [`Self::payload_left`] returns the number of payload bytes to send next.
    ///
    /// Until the payload is complete, nothing else is sent. Packets that are queued meanwhile follow it.
    /// [`Self::abandon_payload`] aborts it. If the caller provides no byte within the response timeout, the session
    /// closes the connection with [`ProtocolError::WriteTimeout`].
    ///
    /// # Errors
    ///
    /// Nothing was queued, and the connection is unchanged.
    ///
    /// - The errors of [`Self::publish`]. [`RequestError::NotConnected`] is returned at any QoS if there is no
    ///   connection.
    /// - [`RequestError::PayloadPending`]: another payload must be provided first.
    /// - [`RequestError::PayloadNotNeeded`], [`RequestError::PayloadLength`]: with [`StreamedPublish::Resend`], the
    ///   session does not ask for this payload, or the payload had another length.
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

    /// As [`Self::begin_payload`] of a new message, if `is_turn`; see [`Self::publish_in_turn`].
    #[cfg(feature = "async")]
    pub(crate) fn begin_payload_in_turn(
        &mut self,
        message: StreamedPublish<'_>,
        len: usize,
        is_turn: bool,
    ) -> Result<Option<PacketId>, RequestError> {
        match message {
            StreamedPublish::New { topic, qos, retain } => {
                let message = Message {
                    qos,
                    retain,
                    ..Message::new(topic, &[])
                };
                self.publish_payload_in_turn(&message, len, None, is_turn)
            }
            resend @ StreamedPublish::Resend(_) => self.begin_payload(resend, len),
        }
    }

    /// Returns the number of payload bytes that the caller must send next. It is 0 while other bytes are sent first, if
    /// the payload is complete, and without a connection.
    pub fn payload_left(&self) -> usize {
        if self.link.can_send() {
            self.sender.buffer.payload_missing()
        } else {
            0
        }
    }

    /// Returns `true` until the payload of [`Self::begin_payload`] was sent whole.
    pub fn is_payload_open(&self) -> bool {
        self.sender.buffer.has_source()
    }

    /// Reports that the transport accepted `n` payload bytes from the memory of the caller by `now`.
    pub fn payload_sent(&mut self, n: usize, now: Instant) {
        let n = n.min(self.payload_left());
        if n == 0 {
            return;
        }
        self.sender.buffer.payload_sent(n);
        self.on_bytes_sent(now);
    }

    /// Returns free memory for the next piece of the payload. A piece that is [committed](Self::payload_commit) becomes
    /// [pending](Self::pending).
    ///
    /// It is empty while [`Self::payload_left`] is 0, and until the piece before was sent. The piece must be committed before
    /// any other call.
    pub fn payload_space(&mut self) -> &mut [u8] {
        self.payload_space_up_to(usize::MAX)
    }

    /// As [`Self::payload_space`], but at most `max` bytes. The rest stays free for packets.
    pub(crate) fn payload_space_up_to(&mut self, max: usize) -> &mut [u8] {
        if self.payload_left() == 0 {
            return &mut [];
        }
        self.sender.buffer.payload_space(max)
    }

    /// Reports that `n` bytes were written to the [`Self::payload_space`].
    pub fn payload_commit(&mut self, n: usize) {
        if n > 0 && self.payload_left() > 0 && self.sender.buffer.can_stage() {
            self.sender.buffer.payload_commit(n);
            // The time that the caller took does not count as time of the transport.
            self.timers.on_write_withdrawn();
        }
    }

    /// Aborts the payload of [`Self::begin_payload`], if one is open.
    ///
    /// If a part of its packet was sent, the session closes the connection with [`ProtocolError::PayloadAborted`],
    /// because the server would read the next packet as payload. If no byte was sent, the message is removed. If the
    /// session had asked for the payload, it asks again instead.
    pub fn abandon_payload(&mut self) {
        // After the end of the connection, the session asks for the payloads that are needed again.
        if !self.sender.buffer.has_source() || !self.link.can_send() {
            return;
        }
        if self.sender.abandon_payload() {
            self.link.close(ProtocolError::PayloadAborted);
        }
    }

    /// Records that the payload of this message cannot be provided again. [`Publisher::discard_if_source_lost`] discards
    /// the message when the payload is needed.
    #[cfg(feature = "async")]
    pub(crate) fn lose_source(&mut self, id: PacketId) {
        if let Some(slot) = self.sender.in_flight.get_mut(id) {
            slot.lose_source();
        }
    }

    /// Copies the next payload bytes of the current message to `buf`, and returns their number. The message may be
    /// whole or in chunks. Returns 0 if all received bytes were copied.
    pub fn read_payload(&mut self, buf: &mut [u8]) -> usize {
        self.receiver.read_payload(buf)
    }

    /// Returns `true` if a chunk of the current message is pending.
    pub(crate) const fn has_chunk(&self) -> bool {
        self.events.has_chunk()
    }

    /// Returns `true` if more chunks of the current message follow.
    pub fn is_message_open(&self) -> bool {
        self.receiver.is_message_open()
    }

    /// Skips the rest of the current message, if there is one. It is acknowledged as usual.
    pub fn skip_message(&mut self) {
        if self.receiver.is_message_open() {
            self.events.discard_chunk();
            self.receiver.skip_message();
        }
    }

    /// Returns `true` if a payload must be provided before a packet that is queued now can be sent.
    pub(crate) fn payload_waits(&self) -> bool {
        self.link.can_send() && self.sender.buffer.is_blocked_by_payload()
    }

    /// Returns the message for which [`Event::PayloadNeeded`](super::Event::PayloadNeeded) asks, if any.
    pub fn payload_needed(&self) -> Option<PacketId> {
        if self.link.is_connected() {
            self.sender.buffer.payload_needed()
        } else {
            None
        }
    }
}
