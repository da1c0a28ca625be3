//! The protocol without I/O: packet ids, acknowledgements, keep alive, resume.
//!
//! A [`Session`] is told what happened (bytes came, bytes went, time passed) and tells what to do next (bytes to send,
//! an event for the caller, how long there is nothing to do). It never waits, and it never looks at a clock.
//!
//! Whatever the peer sends and in whatever order these are called, nothing here panics, recurses or loops without bound.

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

pub(crate) use self::link::ConnectionClosed;
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
use crate::{
    codec::{Connect, PacketId},
    time::Instant,
};

impl<'b> Session<'b> {
    /// A session that remembers nothing, in the storage lent to it.
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
    /// Sets how long the server may take for any answer, and the transport for taking a byte, in milliseconds
    /// ([`RESPONSE_TIMEOUT`] at first, 24.8 days at most). After that the connection ends with the reason. 0 is no way to turn
    /// that off: every answer would be late at once.
    ///
    /// While [`Self::poll`] has events to tell, no answer counts as late: it may lie behind them.
    pub fn set_response_timeout(&mut self, millis: u32) {
        self.timers.set_response_timeout(millis);
    }

    /// Ends the connection with [`ProtocolError::TooSlow`] when fewer than `bytes_per_second` come, on average over a
    /// response timeout, while the peer owes the rest of a packet. 0, as at first, puts up with any pace.
    ///
    /// Without a minimum, a peer that sends one byte now and then inside a long packet is never overdue.
    pub fn set_minimum_rate(&mut self, bytes_per_second: u32) {
        self.timers.set_minimum_rate(bytes_per_second);
    }

    /// Turns checkpoints on or off (off at first); on before [`Self::connect`], since they hold nothing back that leaves
    /// together with the CONNECT.
    ///
    /// With them, each change that a peer could contradict later (a message accepted or handed over at QoS 1 or 2, an
    /// id released) makes [`Event::Checkpoint`] due, and nothing leaves before that event has been seen. A device that
    /// saves the session with each of them, together with what it made of the messages, may be killed at any moment
    /// and restored from its last image: QoS 2 is still exactly once.
    pub fn set_checkpoints(&mut self, on: bool) {
        self.events.set_checkpoints(on);
    }

    /// Begins a connection on a new transport by queueing CONNECT; an older connection counts as lost, so that each has
    /// one CONNECT \[MQTT-3.1.0-2\].
    ///
    /// With Clean Session 0, everything unacknowledged goes out again after CONNACK, before anything new
    /// (section 4.4). With Clean Session 1 it is given up, and reported as [`Event::PublishDiscarded`] (or
    /// [`Event::DeliveryUnknown`], after the first step of a QoS 2 publish); the same holds after a connection with Clean
    /// Session 1, whose state must not be used again \[MQTT-3.1.2-6\].
    ///
    /// # Errors
    ///
    /// [`RequestError`] if the CONNECT is not valid or too large, or if the session belongs to another client id: all is
    /// as it was. [`RequestError::SendBufferFull`] if what is kept leaves no room for a CONNECT that is longer than those
    /// before: nothing kept is given up, but an older connection is over.
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
        // Bytes may have been committed after the older connection was over.
        self.receiver.reset();
        self.sender.buffer.check_connect_fits(len, !begins_new)?;
        self.events.on_connect();
        if begins_new {
            self.sender.discard();
            self.received_ids.clear();
        }
        self.sender
            .connect(options, header, self.events.has_checkpoints());
        self.timers.on_connect(options.keep_alive, now);
        self.link.start(options.clean_session, now);
        Ok(())
    }

    /// The transport failed, was closed by the peer, or was dropped. What has to be kept is kept.
    pub fn connection_lost(&mut self) {
        self.link.close(ProtocolError::Closed);
    }

    /// The bytes that go next, to be handed to the transport at `now`; empty when there is nothing to send.
    ///
    /// All that can leave at once is lent at once, so that a burst of small packets needs one write; acknowledgements that wait
    /// beside it leave before, in a write of their own.
    pub fn pending(&mut self, now: Instant) -> &[u8] {
        if !self.has_pending() {
            return &[];
        }
        self.lend(now)
    }

    /// As [`Self::pending`], where something is.
    pub(crate) fn lend(&mut self, now: Instant) -> &[u8] {
        self.timers.on_write_offered(now);
        self.sender.lend()
    }

    /// Whether an event waits.
    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether all that is pending are acknowledgements of which none has been lent.
    pub(crate) fn owes_only_acks(&self) -> bool {
        !self.timers.is_write_pending() && self.sender.has_only_acks()
    }

    /// The transport took the first `n` bytes of what [`Self::pending`] lent; that was over at `now`.
    pub fn consume(&mut self, n: usize, now: Instant) {
        if n == 0 || !self.link.is_open() {
            return;
        }
        let lane = self.sender.consume(n);
        self.timers.on_acks_sent(lane, now);
        if lane > 0 && self.sender.acks.is_empty() {
            self.timers.on_packet_sent(now);
        }
        self.on_bytes_sent(now);
    }

    /// Where the bytes go that arrive next, to be committed before any other call.
    ///
    /// Empty only while a whole packet waits for [`Self::poll`], or its event for [`Self::event`]: read when `poll`
    /// had nothing to tell. (A read into an empty slice would look like the end of the stream.)
    pub fn space(&mut self) -> &mut [u8] {
        if self.events.is_empty() {
            self.receiver.release();
        }
        self.receiver.space()
    }

    /// `n` bytes have been read into the [`Self::space`].
    pub fn commit(&mut self, n: usize) {
        self.receiver.commit(n);
        self.timers.on_bytes_received(n);
    }

    /// Handles what has come up to the next thing that the caller has to know, and what the time `now` brings.
    ///
    /// Call it until it returns `None`; then send what is pending, and read, or wait until [`Self::deadline`] (which is
    /// now if what was sent made room for the answers to packets that have been left in the buffer).
    /// While an event waits, it is reported again.
    ///
    /// # Errors
    ///
    /// The reason why the connection is over; the same again until [`Self::connect`], but for reports that wait.
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
            // An answer may lie behind the event that waits, but nothing can lie behind it that is still to leave.
            self.check_timeouts(now)?;
        }
        Ok(self.events.token())
    }

    /// Whether CONNACK has come on a connection that is not over, as far as is known here: a client that was dropped without
    /// [`Self::connection_lost`] may have taken its transport along.
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// Whether a connection has begun on which CONNACK has not come yet.
    pub fn is_connecting(&self) -> bool {
        self.link.connecting_since().is_some()
    }

    /// Whether the server kept the session, as its last CONNACK said (section 3.2.2.2).
    pub const fn session_present(&self) -> bool {
        self.link.session_present()
    }

    /// Whether the server kept a session of which nothing is known here, as in
    /// [`Event::Connected`](Event::Connected::unknown_session).
    pub const fn unknown_session(&self) -> bool {
        self.link.unknown_session()
    }

    /// Whether a connection has begun and is not over.
    pub(crate) fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// How long an answer may take, and the transport for taking a byte, in milliseconds.
    pub const fn response_timeout(&self) -> u32 {
        self.timers.response_timeout()
    }

    /// Whether the connection is over, unless that is because DISCONNECT has left.
    pub(crate) fn has_failed(&self) -> bool {
        self.link.has_failed()
    }

    /// Whether something is queued that cannot leave before CONNACK.
    pub(crate) fn waits_for_connack(&self) -> bool {
        self.is_connecting() && self.sender.buffer.waits_for_connack()
    }

    /// How many in-flight slots are taken: by requests that wait for their acknowledgement, and by what has become of
    /// earlier ones, until its event has been seen.
    pub fn in_flight(&self) -> usize {
        self.sender.in_flight.len()
    }

    /// The id that the last accepted publish at QoS 1 or 2, subscribe or unsubscribe got.
    pub fn last_packet_id(&self) -> Option<PacketId> {
        PacketId::new(self.sender.in_flight.last_id())
    }

    fn holds_state(&self) -> bool {
        self.link.server_has_session()
            || !self.sender.in_flight.is_empty()
            || !self.received_ids.is_empty()
    }

    /// Returns why the connection was closed.
    pub(crate) fn close_reason(&self) -> ProtocolError {
        self.link.close_reason()
    }

    /// When [`Self::poll`] has to be called even if nothing comes; `None` means never.
    ///
    /// This is for a caller that has sent what is pending, or whose transport takes nothing at present, and to whom
    /// `poll` has nothing to tell.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.link.is_open() {
            return None;
        }
        let awaited = awaited(&self.link, &self.events, &self.sender);
        let deadline = self.timers.deadline(awaited, self.may_ping());
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
