//! The protocol without I/O: packet ids, acknowledgements, keep alive, resume.
//!
//! The caller reports received bytes, sent bytes and the time to a [`Session`]. The session returns bytes to be sent,
//! events, and the time of the next call. It never waits, and it reads no clock.
//!
//! No input from the peer and no order of calls makes it panic, recurse, or loop without bound.

mod deliver;
mod dispatch;
mod error;
mod event;
mod events;
mod image;
mod in_flight;
mod link;
mod payload;
mod publisher;
mod raw_packet;
mod receive;
mod received_ids;
mod send;
mod state;
mod storage;
mod timers;

pub use self::{
    error::{ProtocolError, RequestError},
    event::{Chunk, Event, Message, StreamedPublish},
    events::EventToken,
    image::{Checkpoint, ImageError},
    state::Session,
    storage::Storage,
    timers::RESPONSE_TIMEOUT,
};
use self::{
    events::EventQueue, link::Link, receive::Receiver, received_ids::ReceivedIds, send::Sender,
    state::awaited, timers::Timers,
};
pub(crate) use self::{link::ConnectionClosed, timers::WriteTimers};
use crate::{
    codec::{Connect, PacketId},
    time::Instant,
};

impl<'b> Session<'b> {
    /// Creates an empty session in this storage.
    pub fn new<const RX: usize, const TX: usize, const INFLIGHT: usize, const INBOUND: usize>(
        storage: &'b mut Storage<RX, TX, INFLIGHT, INBOUND>,
    ) -> Self {
        let parts = storage.parts();
        Self {
            sender: Sender::new(parts.tx, parts.slots),
            receiver: Receiver::new(parts.rx),
            received_ids: ReceivedIds::new(parts.received_ids),
            link: Link::new(),
            events: EventQueue::new(),
            timers: Timers::new(),
        }
    }
}

impl Session<'_> {
    /// Sets the response timeout in ms: the time that the server may take for an answer, and the transport to accept a
    /// byte. The default is [`RESPONSE_TIMEOUT`], the maximum is 24.8 days.
    ///
    /// When it runs out, the session closes the connection. 0 does not disable it: every answer would be late at once.
    /// While an event is pending, no answer is late: it may have been received after the event.
    pub fn set_response_timeout(&mut self, millis: u32) {
        self.timers.set_response_timeout(millis);
    }

    /// Sets the minimum receive rate. The default is 0, which disables it.
    ///
    /// The session closes the connection with [`ProtocolError::TooSlow`] if it receives fewer bytes inside a packet, on
    /// average over a response timeout. Without a minimum, a server that sends a byte of a packet now and then is never
    /// overdue.
    pub fn set_minimum_rate(&mut self, bytes_per_second: u32) {
        self.timers.set_minimum_rate(bytes_per_second);
    }

    /// Turns checkpoints on or off. They are off by default. Turn them on before [`Self::connect`].
    ///
    /// With checkpoints, each change of the state that client and server share makes [`Event::Checkpoint`] pending: a
    /// message published or received at QoS 1 or 2, or an id that was released. Nothing is sent before the caller has
    /// taken that event. A device that saves the session at each checkpoint, together with the effect of the messages,
    /// may lose power at any time. Restored from its last image, it still delivers each QoS 2 message exactly once.
    pub fn set_checkpoints(&mut self, on: bool) {
        self.events.checkpoints = on;
    }

    /// Queues a CONNECT, the first packet on a new transport. An older connection is closed: each has one CONNECT
    /// \[MQTT-3.1.0-2\].
    ///
    /// With Clean Session 0, all unacknowledged PUBLISHes are sent again after CONNACK, before anything new
    /// (section 4.4). With Clean Session 1, they are discarded and reported as [`Event::PublishDiscarded`], or as
    /// [`Event::DeliveryUnknown`] after the first step of a QoS 2 publish. They are also discarded after a connection with
    /// Clean Session 1, whose state must not be used again \[MQTT-3.1.2-6\].
    ///
    /// # Errors
    ///
    /// - [`RequestError::Encode`] or [`RequestError::PacketTooLarge`]: the CONNECT is not valid, or does not fit.
    /// - [`RequestError::ClientIdMismatch`]: the session belongs to another client id.
    /// - [`RequestError::SendBufferFull`]: the kept PUBLISHes leave no room for a CONNECT longer than those before. They
    ///   are still kept, but an older connection was closed. On the other errors, nothing has changed.
    pub fn connect(&mut self, options: &Connect<'_>, now: Instant) -> Result<(), RequestError> {
        let header = options.header()?;
        let len = header.packet_len();
        let begins_new = self.link.begins_new_session(options.clean_session);
        // [MQTT-3.1.3-2]
        if !begins_new
            && self.holds_state()
            && self
                .sender
                .buffer
                .client_id()
                .is_some_and(|id| id != options.client_id.as_bytes())
        {
            return Err(RequestError::ClientIdMismatch);
        }
        self.sender.buffer.check_connect_fits(len, false)?;
        self.connection_lost();
        self.clean_up_connection();
        // Bytes may have been committed after the older connection was closed.
        self.receiver.reset();
        self.sender.buffer.check_connect_fits(len, !begins_new)?;
        self.events.on_connect();
        if begins_new {
            self.sender.discard();
            self.received_ids.clear();
        }
        self.sender
            .connect(options, header, self.events.checkpoints);
        self.timers.on_connect(options.keep_alive, now);
        self.link.start(options.clean_session, now);
        Ok(())
    }

    /// Closes the connection because the transport failed, was closed by the peer, or was dropped.
    pub fn connection_lost(&mut self) {
        self.link.close(ProtocolError::Closed);
    }

    /// Returns the bytes that must be sent next, or an empty slice. The caller writes them to the transport at `now`.
    ///
    /// One call returns all packets that can be sent, so that several small packets need one write. Acknowledgements are
    /// sent before them, in a write of their own.
    pub fn pending(&mut self, now: Instant) -> &[u8] {
        if !self.has_pending() {
            return &[];
        }
        self.lend(now)
    }

    /// As [`Self::pending`], if [`Self::has_pending`].
    pub(crate) fn lend(&mut self, now: Instant) -> &[u8] {
        self.timers.on_write_offered(now);
        self.sender.lend()
    }

    /// Returns `true` if an event is pending.
    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Returns `true` if only acknowledgements are pending, and none was provided to the transport.
    pub(crate) fn has_only_new_acks(&self) -> bool {
        !self.timers.is_write_pending() && self.sender.has_only_acks()
    }

    /// The transport accepted the first `n` bytes of [`Self::pending`], at `now`.
    pub fn consume(&mut self, n: usize, now: Instant) {
        if n == 0 || !self.link.is_open() {
            return;
        }
        let acks_sent = self.sender.consume(n);
        self.timers.on_acks_sent(acks_sent, now);
        if acks_sent > 0 && self.sender.acks.is_empty() {
            self.timers.on_packet_sent(now);
        }
        self.on_bytes_sent(now);
    }

    /// Returns the memory for the bytes that are received next. Commit them before any other call.
    ///
    /// It is empty only while a whole packet must be handled by [`Self::poll`], or its event taken with [`Self::event`].
    /// Read after `poll` has returned `None`: a read into an empty slice would look like the end of the stream.
    pub fn space(&mut self) -> &mut [u8] {
        if self.events.is_empty() {
            self.receiver.release();
        }
        self.receiver.space()
    }

    /// `n` bytes were received into the [`Self::space`].
    pub fn commit(&mut self, n: usize) {
        self.receiver.commit(n);
        self.timers.on_bytes_received(n);
    }

    /// Handles received packets until an event is pending, then the timers. Returns a token for the pending event.
    ///
    /// Call it until it returns `None`. Then send what is pending, and read, or wait until [`Self::deadline`]. An event
    /// stays pending until it is taken with [`Self::event`].
    ///
    /// # Errors
    ///
    /// The reason why the connection was closed, until [`Self::connect`]. Remaining events are returned first.
    pub fn poll(&mut self, now: Instant) -> Result<Option<EventToken>, ProtocolError> {
        self.poll_inner(now)
            .map_err(|ConnectionClosed| self.close_reason())
    }

    /// As [`Self::poll`]; [`Self::close_reason`] says why the connection was closed.
    pub(crate) fn poll_inner(
        &mut self,
        now: Instant,
    ) -> Result<Option<EventToken>, ConnectionClosed> {
        if self.events.is_empty() {
            self.receiver.release();
            if self.link.is_open() {
                self.process(now)?;
            } else {
                self.clean_up_connection();
                if !self.events.push_report(&mut self.sender) {
                    return Err(ConnectionClosed);
                }
            }
        } else if self.link.is_open() {
            // An answer may follow in the receive buffer. The transport must accept bytes all the same.
            self.check_timeouts(now)?;
        }
        Ok(self.events.token())
    }

    /// Returns `true` if CONNACK was received and the connection was not closed.
    ///
    /// If a client was dropped together with its transport, call [`Self::connection_lost`].
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// Returns `true` if CONNECT was queued and CONNACK was not received yet.
    pub fn is_connecting(&self) -> bool {
        self.link.connecting_since().is_some()
    }

    /// Returns the Session Present flag of the last CONNACK (section 3.2.2.2).
    pub const fn session_present(&self) -> bool {
        self.link.session_present
    }

    /// Returns `true` if the server kept a session that this client does not know, as in
    /// [`Event::Connected`](Event::Connected::unknown_session).
    pub const fn unknown_session(&self) -> bool {
        self.link.unknown_session
    }

    /// Returns `true` if CONNECT was queued and the connection was not closed.
    pub(crate) fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// Returns the response timeout in ms.
    pub const fn response_timeout(&self) -> u32 {
        self.timers.response_timeout()
    }

    /// Returns `true` if the connection was closed by anything but our DISCONNECT.
    pub(crate) fn has_failed(&self) -> bool {
        self.link.has_failed()
    }

    /// Returns `true` if a packet is queued that cannot be sent before CONNACK.
    pub(crate) fn waits_for_connack(&self) -> bool {
        self.is_connecting() && self.sender.buffer.waits_for_connack()
    }

    /// Returns the number of in-flight slots in use: by requests that are not acknowledged, and by reports about earlier
    /// ones whose event was not taken.
    pub fn in_flight(&self) -> usize {
        self.sender.in_flight.len()
    }

    /// Returns the packet id of the last publish at QoS 1 or 2, subscribe or unsubscribe.
    pub fn last_packet_id(&self) -> Option<PacketId> {
        PacketId::new(self.sender.in_flight.last_id())
    }

    /// Returns `true` if client or server keep anything that belongs to the client id.
    fn holds_state(&self) -> bool {
        self.link.server_has_session
            || !self.sender.in_flight.is_empty()
            || !self.received_ids.is_empty()
    }

    /// Returns why the connection was closed.
    pub(crate) fn close_reason(&self) -> ProtocolError {
        self.link.close_reason()
    }

    /// Returns when [`Self::poll`] must be called even if nothing is received; `None` means never.
    ///
    /// Call it after `poll` has returned `None` and the transport has accepted what it can. It returns an instant that has
    /// passed if there is room now for the answers to packets in the receive buffer.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.link.is_open() {
            return None;
        }
        let awaited = awaited(&self.link, &self.events, &self.received_ids, &self.sender);
        let deadline = self.timers.deadline(&awaited, self.may_ping());
        if self.events.is_empty() && self.receiver.is_blocked && self.may_answer() {
            return self.timers.at_once(deadline);
        }
        deadline
    }

    /// Returns `true` if [`Self::poll`] may close the connection because something was not received in time. It may
    /// have been received by the transport, and not been read.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.link.is_open() && self.timers.may_be_overdue(now)
    }
}
