//! The protocol without I/O: packet ids, acknowledgements, keep alive, resume.
//!
//! A [`Session`] is told what happened (bytes came, bytes went, time passed) and tells what to do next (bytes to send,
//! an event for the caller, how long there is nothing to do). It never waits, and it never looks at a clock.
//!
//! Whatever the peer sends and in whatever order these are called, nothing here panics, recurses or loops without bound.

mod error;
mod event;
mod image;
mod in_flight;
mod inbound;
mod keep_alive;
mod pace;
mod payload;
mod raw_packet;
mod receive;
mod request;
mod send;
mod storage;
mod timeouts;

use heapless::VecView;

pub use self::{
    error::{ProtocolError, RequestError},
    event::{Chunk, Event, Message, StreamedPublish},
    image::{Checkpoint, ImageError},
    storage::Storage,
};
use self::{
    inbound::Inbound,
    keep_alive::KeepAlive,
    pace::Pace,
    receive::Due,
    send::{Sender, SentPacket},
};
use crate::{
    codec::{Connect, PacketId},
    fmt::debug,
    time::Instant,
};

/// How long an answer may take unless [`Session::set_response_timeout`] says otherwise, in milliseconds.
pub const RESPONSE_TIMEOUT: u32 = 10_000;

/// An MQTT session (section 1.2): what client and server remember of each other, across network connections.
///
/// It lives as long as the caller wants, outlives every connection \[MQTT-4.1.0-1\] \[MQTT-4.1.0-2\], and is bound to
/// one client id.
///
/// | kind | calls |
/// | --- | --- |
/// | commands | [`connect`](Self::connect), [`publish`](Self::publish), [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe), [`ping`](Self::ping), [`disconnect`](Self::disconnect) |
/// | bytes out | [`pending`](Self::pending), [`consume`](Self::consume) |
/// | bytes in | [`space`](Self::space), [`commit`](Self::commit) |
/// | turning the crank | [`poll`](Self::poll), [`event`](Self::event) |
/// | time | [`deadline`](Self::deadline) |
/// | the connection is gone | [`connection_lost`](Self::connection_lost) |
/// | a payload from outside | [`begin_payload`](Self::begin_payload), [`payload_left`](Self::payload_left), [`payload_sent`](Self::payload_sent), [`payload_space`](Self::payload_space), [`payload_commit`](Self::payload_commit), [`abandon_payload`](Self::abandon_payload), [`decline_payload`](Self::decline_payload) |
/// | a message at hand | [`read_payload`](Self::read_payload), [`skip_message`](Self::skip_message) |
/// | deep sleep | [`save`](Self::save), [`restore`](Self::restore), [`set_checkpoints`](Self::set_checkpoints) |
// In this order, what is small stands in front, where a Thumb instruction reaches it: 330 bytes of code.
#[repr(C)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub struct Session<'b> {
    /// What the last connection left behind has been cleared up.
    settled: bool,
    /// DISCONNECT has been queued, or has left.
    leaving: bool,
    /// The Clean Session flag of the last CONNECT.
    clean: bool,
    /// The server has accepted a connection with Clean Session 0: what it keeps is known here.
    known: bool,
    session_present: bool,
    unknown_session: bool,
    chunks_ended: bool,
    /// Packets have been left in the receive buffer until there is room for their answers.
    behind: bool,
    /// The caller wants to save the session before anything leaves that follows from a change.
    checkpoints: bool,
    link: Link,
    due: Due,
    /// An event of an older connection that has not been seen.
    unseen: Due,
    response_timeout: u32,
    /// What is waited for began then or later.
    waits_since: Instant,
    /// Messages at QoS 2 pass unanswered since then, for lack of room for an id.
    full_since: Option<Instant>,
    /// Since when the transport has taken nothing of what it was lent.
    stalled_since: Option<Instant>,
    keep_alive: KeepAlive,
    /// Ids of QoS 2 messages that have been delivered and not been released.
    received: &'b mut VecView<PacketId>,
    inbound: Inbound<'b>,
    sender: Sender<'b>,
    pace: Pace,
}

/// The network connection, as the session sees it.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
enum Link {
    Down(ProtocolError),
    /// CONNECT was queued then, and may have left.
    Connecting(Instant),
    /// CONNACK has come.
    Up,
}

/// The connection is over, and [`Link::Down`] says why: internal calls return this instead of the reason, which is
/// large, so that it is written once and handed on by nobody.
pub(crate) struct Over;

/// Proof that an event waits, to be redeemed by [`Session::event`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the event waits until it is redeemed"]
pub struct EventToken {
    completes: Option<PacketId>,
}

impl EventToken {
    /// The id of the request that this event ends: a PUBACK, PUBCOMP, SUBACK or UNSUBACK for it, or the news that
    /// none will come.
    pub const fn completed_request(&self) -> Option<PacketId> {
        self.completes
    }
}

impl<'b> Session<'b> {
    /// A session that remembers nothing, in the storage lent to it.
    pub fn new<const RX: usize, const TX: usize, const INFLIGHT: usize, const INBOUND: usize>(
        storage: &'b mut Storage<RX, TX, INFLIGHT, INBOUND>,
    ) -> Self {
        let lent = storage.lend();
        Self {
            sender: Sender::new(lent.tx, lent.slots),
            inbound: Inbound::new(lent.rx),
            received: lent.inbound,
            keep_alive: KeepAlive::new(),
            pace: Pace::default(),
            link: Link::Down(ProtocolError::Closed),
            due: Due::Nothing,
            unseen: Due::Nothing,
            clean: false,
            known: false,
            session_present: false,
            unknown_session: false,
            leaving: false,
            settled: true,
            chunks_ended: false,
            behind: false,
            checkpoints: false,
            response_timeout: RESPONSE_TIMEOUT,
            waits_since: Instant::default(),
            full_since: None,
            stalled_since: None,
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
        // Two moments further apart could not be compared.
        self.response_timeout = millis.min(u32::MAX / 2);
    }

    /// Ends the connection with [`ProtocolError::TooSlow`] when fewer than `bytes_per_second` come, on average over a
    /// response timeout, while the peer owes the rest of a packet. 0, as at first, puts up with any pace.
    ///
    /// Without a minimum, a peer that sends one byte now and then inside a long packet is never overdue.
    pub fn set_minimum_rate(&mut self, bytes_per_second: u32) {
        self.pace.set_minimum(bytes_per_second);
    }

    /// Turns checkpoints on or off (off at first); on before [`Self::connect`], since they hold nothing back that leaves
    /// together with the CONNECT.
    ///
    /// With them, each change that a peer could contradict later (a message accepted or handed over at QoS 1 or 2, an
    /// id released) makes [`Event::Checkpoint`] due, and nothing leaves before that event has been seen. A device that
    /// saves the session with each of them, together with what it made of the messages, may be killed at any moment
    /// and restored from its last image: QoS 2 is still exactly once.
    pub fn set_checkpoints(&mut self, on: bool) {
        self.checkpoints = on;
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
        let len = header.frame_len();
        let fresh = options.clean_session || self.clean;
        // [MQTT-3.1.3-2]
        if !fresh
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
        self.settle();
        // Bytes may have been committed after the older connection was over.
        self.inbound.reset();
        self.sender.buffer.check_connect_fits(len, !fresh)?;
        self.postpone_event();
        if fresh {
            self.sender.discard();
            self.received.clear();
            self.known = false;
        }
        self.sender.connect(options, header, self.checkpoints);
        self.keep_alive.start(options.keep_alive, now);
        self.pace.restart();
        self.waits_since = now;
        self.clean = options.clean_session;
        self.session_present = false;
        self.unknown_session = false;
        self.leaving = false;
        self.settled = false;
        self.link = Link::Connecting(now);
        Ok(())
    }

    /// The transport failed, was closed by the peer, or was dropped. What has to be kept is kept.
    pub fn connection_lost(&mut self) {
        self.end(ProtocolError::Closed);
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
        self.stalled_since.get_or_insert(now);
        self.sender.lend()
    }

    /// Whether there are bytes that may be sent now.
    pub fn has_pending(&self) -> bool {
        self.is_open() && !self.owes_checkpoint() && !self.sender.is_empty()
    }

    /// Whether an event waits.
    pub(crate) fn has_event(&self) -> bool {
        !self.due.is_nothing()
    }

    /// Whether all that is pending are acknowledgements of which none has been lent.
    pub(crate) fn owes_only_acks(&self) -> bool {
        self.stalled_since.is_none() && self.sender.has_only_acks()
    }

    /// The transport took the first `n` bytes of what [`Self::pending`] lent; that was over at `now`.
    pub fn consume(&mut self, n: usize, now: Instant) {
        if n == 0 || !self.is_open() {
            return;
        }
        let lane = self.sender.consume(n);
        self.keep_alive.lane_sent(lane, now);
        if lane > 0 && self.sender.acks.is_empty() {
            self.keep_alive.packet_sent(now);
        }
        self.bytes_sent(now);
    }

    /// Bytes have left, and packets with them.
    fn bytes_sent(&mut self, now: Instant) {
        while let Some(sent) = self.sender.next_sent_packet(self.is_connecting(), now) {
            self.keep_alive.packet_sent(now);
            self.packet_sent(&sent);
        }
        self.stalled_since = self.has_more().then_some(now);
        if self.sender.buffer.is_in_payload() && !self.may_answer() {
            // What would be answered cannot be read before the payload has left.
            self.restart_waits(now);
        }
    }

    /// Bytes move that go first: the answers which are waited for may come later.
    fn restart_waits(&mut self, now: Instant) {
        self.keep_alive.progress(now);
        self.full_since = self.full_since.map(|_| now);
        for slot in self
            .sender
            .in_flight
            .iter_mut()
            .filter(|slot| slot.is_sent())
        {
            slot.since = now;
        }
    }

    /// Whether the transport has something to take, now or when the caller hands it over.
    fn has_more(&self) -> bool {
        self.has_pending() || self.sender.buffer.is_in_payload()
    }

    /// Where the bytes go that arrive next, to be committed before any other call.
    ///
    /// Empty only while a whole packet waits for [`Self::poll`], or its event for [`Self::event`]: read when `poll`
    /// had nothing to tell. (A read into an empty slice would look like the end of the stream.)
    pub fn space(&mut self) -> &mut [u8] {
        if self.due.is_nothing() {
            self.inbound.drop_shown();
        }
        self.inbound.space()
    }

    /// `n` bytes have been read into the [`Self::space`].
    pub fn commit(&mut self, n: usize) {
        self.inbound.commit(n);
        self.pace.count(n);
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
        self.turn(now).map_err(|Over| self.reason())
    }

    /// As [`Self::poll`]; [`Self::reason`] says why the connection is over.
    pub(crate) fn turn(&mut self, now: Instant) -> Result<Option<EventToken>, Over> {
        if self.due.is_nothing() {
            self.inbound.drop_shown();
            if self.is_open() {
                self.advance(now)?;
            } else {
                self.settle();
                self.take_report();
                if self.due.is_nothing() {
                    return Err(Over);
                }
            }
        } else if self.is_open() {
            // An answer may lie behind the event that waits, but nothing can lie behind it that is still to leave.
            self.check_waits(now)?;
        }
        Ok(self.due.ready())
    }

    /// Whether CONNACK has come on a connection that is not over, as far as is known here: a client that was dropped without
    /// [`Self::connection_lost`] may have taken its transport along.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    /// Whether a connection has begun on which CONNACK has not come yet.
    pub fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting(_))
    }

    /// Whether the server kept the session, as its last CONNACK said (section 3.2.2.2).
    pub const fn session_present(&self) -> bool {
        self.session_present
    }

    /// Whether the server kept a session of which nothing is known here, as in
    /// [`Event::Connected`](Event::Connected::unknown_session).
    pub const fn unknown_session(&self) -> bool {
        self.unknown_session
    }

    /// Whether a connection has begun and is not over.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.link, Link::Down(_))
    }

    /// How long an answer may take, and the transport for taking a byte, in milliseconds.
    pub const fn response_timeout(&self) -> u32 {
        self.response_timeout
    }

    /// Whether the connection is over, unless that is because DISCONNECT has left.
    pub(crate) fn has_failed(&self) -> bool {
        match self.link {
            Link::Down(ProtocolError::Closed) => !self.leaving,
            Link::Down(_) => true,
            Link::Connecting(_) | Link::Up => false,
        }
    }

    /// Whether something is queued that cannot leave before CONNACK.
    pub(crate) fn waits_for_connack(&self) -> bool {
        self.is_connecting() && self.sender.buffer.waits_for_connack()
    }

    /// Whether everything waits until the caller has seen a checkpoint.
    pub(crate) fn owes_checkpoint(&self) -> bool {
        self.checkpoints && self.sender.changed && self.is_connected()
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

    fn packet_sent(&mut self, sent: &SentPacket) {
        // A server that has not answered the CONNECT may still refuse it: the connection ends with its answer.
        if matches!(sent, SentPacket::Disconnect) && !self.is_connecting() {
            self.leave();
        }
    }

    fn holds_state(&self) -> bool {
        self.known || !self.sender.in_flight.is_empty() || !self.received.is_empty()
    }

    /// Why the connection is over.
    pub(crate) fn reason(&self) -> ProtocolError {
        match self.link {
            Link::Down(reason) => reason,
            Link::Connecting(_) | Link::Up => ProtocolError::Closed,
        }
    }

    /// As [`Self::end`].
    #[inline(never)] // for each of the many reasons one call
    fn fail(&mut self, reason: ProtocolError) -> Over {
        self.end(reason);
        Over
    }

    /// Ends the connection with this reason, unless it is over.
    fn end(&mut self, reason: ProtocolError) {
        if self.is_open() {
            debug!("connection over: {}", reason);
            self.link = Link::Down(reason);
            self.leaving = false;
        }
    }

    /// DISCONNECT has left, and nothing more is to come.
    fn leave(&mut self) {
        self.end(ProtocolError::Closed);
        self.leaving = true;
    }

    /// An event that waits is for the new connection to tell, unless it is about the old one only.
    fn postpone_event(&mut self) {
        match core::mem::replace(&mut self.due, Due::Nothing) {
            // These are asked again.
            Due::Nothing | Due::Connected | Due::PayloadNeeded(_) | Due::Checkpoint => {}
            unseen => self.unseen = unseen,
        }
    }

    /// Clears up after a connection that is over, once; what a session must keep stays \[MQTT-4.8.0-1\].
    ///
    /// After a refusal, what left before CONNACK did not happen \[MQTT-3.1.4-5\].
    fn settle(&mut self) {
        if core::mem::replace(&mut self.settled, true) {
            return;
        }
        let refused = matches!(self.link, Link::Down(ProtocolError::Refused(_)));
        self.sender.end_connection(refused);
        self.chunks_ended |= self.inbound.reset();
        self.due.connection_ended();
        self.stalled_since = None;
        self.behind = false;
        self.full_since = None;
    }
}
