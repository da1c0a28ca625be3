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

pub(crate) use self::link::ConnectionClosed;
pub use self::{
    deliver::Handled,
    error::{ProtocolError, RequestError},
    event::{Chunk, Event, InputBlock, Message, StreamedPublish},
    events::EventToken,
    image::{ImageError, Saved},
    publisher::Publisher,
    send::SubscriptionState,
    state::Session,
    storage::Storage,
    timers::RESPONSE_TIMEOUT,
};
use self::{
    events::EventQueue, link::Link, receive::Receiver, received_ids::ReceivedIds, send::Sender,
    timers::Timers,
};
use crate::{
    codec::{Connect, PacketId, QoS},
    log::debug,
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

impl<'b> Session<'b> {
    /// Sets the standing subscriptions: filters that the session itself subscribes to after CONNACK, before other
    /// packets are sent. If there are filters, all packets but the CONNECT wait for CONNACK. Call it before the first
    /// [`Self::connect`] or [`Self::prepare`], or later between connections.
    ///
    /// The session does not send them if the server kept the session and has already answered for the same list. An
    /// image of the session contains the checksum of the list for this purpose. [`Event::Subscribed`] reports each
    /// answer, and [`Self::subscriptions`] the state of all. Their SUBSCRIBE needs no in-flight slot. Room for it is
    /// reserved in the send buffer: enough for the first eight filters, but at most a quarter of the buffer. If the
    /// longest filter needs more, it is that much.
    ///
    /// If a filter is removed from the list, the server keeps its subscription as long as it keeps the session.
    /// [`Self::unsubscribe`] ends it. Each time the filters are sent, the server sends its retained messages again.
    ///
    /// # Errors
    ///
    /// - [`RequestError::ConnectionOpen`]: there is a connection.
    /// - [`RequestError::Encode`]: a filter is not valid.
    /// - [`RequestError::PacketTooLarge`] or [`RequestError::SendBufferFull`]: the longest filter does not fit.
    ///
    /// On an error, the session is unchanged.
    pub fn set_subscriptions(&mut self, filters: &'b [(&'b str, QoS)]) -> Result<(), RequestError> {
        if self.link.is_open() {
            return Err(RequestError::ConnectionOpen);
        }
        self.clean_up_connection();
        self.sender.set_subscriptions(filters)
    }
}

impl Session<'_> {
    /// Sets the response timeout in ms: the maximum time until the server answers, and until the transport accepts a
    /// byte. The default is [`RESPONSE_TIMEOUT`], the maximum is 37 hours.
    ///
    /// When it runs out, the session closes the connection. 0 does not disable it, but makes every answer late at once.
    /// While an event is pending, no answer counts as late, because it may have been received after the event.
    pub fn set_response_timeout(&mut self, millis: u32) {
        self.timers.set_response_timeout(millis);
    }

    /// Sets the time in ms for which received bytes are read after DISCONNECT was sent. The default is 1,000; 0
    /// disables the reading. The reason for reading: a transport that is closed while it holds received bytes may
    /// discard bytes that it has not sent.
    pub fn set_disconnect_timeout(&mut self, millis: u32) {
        self.timers.set_disconnect_timeout(millis);
    }

    /// Turns checkpoints on or off. They are off by default. Turn them on before [`Self::connect`].
    ///
    /// With checkpoints, each change of the state that client and server share makes [`Event::CheckpointDue`] pending.
    /// Examples are a message published or received at QoS 1 or 2, and an id that was released. Before the caller
    /// has taken that event, nothing but a PINGREQ is sent. A device that saves the session at each checkpoint,
    /// together with the effect of the messages, may lose power at any time. Restored from its last image, it still
    /// delivers each QoS 2 message exactly once.
    pub fn set_checkpoints(&mut self, on: bool) {
        self.events.checkpoints = on;
    }

    /// Returns how far the server has answered for the [standing subscriptions](Self::set_subscriptions) on this
    /// connection.
    pub fn subscriptions(&self) -> SubscriptionState {
        if self.link.is_connected() {
            self.sender.subscriptions.state()
        } else {
            SubscriptionState::Pending
        }
    }

    /// Queues a CONNECT, the first packet on a new transport. An older connection is closed, because each connection
    /// has one CONNECT \[MQTT-3.1.0-2\].
    ///
    /// With Clean Session 0, all unacknowledged PUBLISHes are sent again after CONNACK, before anything new
    /// (section 4.4). With Clean Session 1, they are discarded and reported as [`Event::PublishDiscarded`], or as
    /// [`Event::DeliveryUnknown`] if PUBREC was received. They are also discarded after a connection with Clean
    /// Session 1, whose state must not be used again \[MQTT-3.1.2-6\].
    ///
    /// # Errors
    ///
    /// - [`RequestError::Encode`] or [`RequestError::PacketTooLarge`]: the CONNECT is not valid, or does not fit.
    /// - [`RequestError::ClientIdMismatch`]: the session belongs to another client id.
    /// - [`RequestError::NoRoomForConnect`]: the CONNECT is longer than those before, and the kept PUBLISHes leave no
    ///   room for it. They stay, but an older connection was closed. On the other errors, the session is unchanged.
    pub fn connect(&mut self, options: &Connect<'_>, now: Instant) -> Result<(), RequestError> {
        self.write_connect(options)?;
        debug!(
            "connecting: client id {}, Clean Session {}, keep alive {} s",
            options.client_id, options.clean_session, options.keep_alive
        );
        self.timers.on_connect(options.keep_alive, now);
        self.link.start(options.clean_session);
        Ok(())
    }

    /// Writes the CONNECT of a later [`Self::connect`] into its room in the send buffer, and sends nothing.
    ///
    /// With Clean Session 0, messages at QoS 1 and 2 can be published from now on. They are sent after CONNACK. As in
    /// `connect`, an older connection is closed, and its PUBLISHes are kept or discarded.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub fn prepare(&mut self, options: &Connect<'_>) -> Result<(), RequestError> {
        self.write_connect(options)?;
        self.link.prepare(options.clean_session);
        Ok(())
    }

    /// Closes an older connection and writes a CONNECT.
    fn write_connect(&mut self, options: &Connect<'_>) -> Result<(), RequestError> {
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
        self.link.close(ProtocolError::Closed);
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
        Ok(())
    }

    /// Reports that the transport failed, was closed by the peer, or was dropped. Nothing more is received or sent.
    ///
    /// [`Self::poll`] first returns the events of the packets that were received before. Then it returns
    /// [`ProtocolError::Closed`], or the reason that one of these packets gave, such as a refusal. The session keeps
    /// the state that must survive the connection.
    pub fn connection_lost(&mut self) {
        self.link.end_input();
    }

    /// Reports that the transport accepts nothing more. Bytes that it has received can still be read, until
    /// [`Self::connection_lost`] or for one response timeout.
    pub(crate) fn output_lost(&mut self, now: Instant) {
        self.link.end_output();
        self.timers.on_output_ended(now);
    }

    /// Returns the bytes that must be sent next, or an empty slice. The caller writes them to the transport at `now`.
    ///
    /// One call returns all packets that can be sent, so that several small packets need one write. Acknowledgements
    /// are sent before them, in a write of their own.
    pub fn pending(&mut self, now: Instant) -> &[u8] {
        if !self.has_pending() {
            return &[];
        }
        self.lend(now)
    }

    /// As [`Self::pending`], if [`Self::has_pending`].
    #[inline(never)] // called from two places
    pub(crate) fn lend(&mut self, now: Instant) -> &[u8] {
        self.timers.check_clock(now, &mut self.sender.in_flight);
        self.timers.on_write_offered(now);
        self.sender.lend()
    }

    /// Reports that the transport accepted the first `n` bytes that [`Self::pending`] returned last. `now` is the time
    /// at which that write ended.
    pub fn consume(&mut self, n: usize, now: Instant) {
        if n == 0 || !self.link.can_send() {
            return;
        }
        self.on_write_accepted(n, now);
    }

    /// Returns the memory for the bytes that are received next. Commit them before any other call.
    ///
    /// It is empty while the receive buffer is full. [`Self::input_blocked_by`] then returns the step that must come
    /// first. Do not read in that case: a read into an empty slice would look like the end of the stream.
    ///
    /// Payload of the last event that [`Self::read_payload`] has not copied stays until the next [`Self::poll`]. If
    /// none of it was copied and it leaves no space, this call discards it.
    pub fn space(&mut self) -> &mut [u8] {
        if self.events.is_empty() && !self.receiver.keeps_payload() {
            self.receiver.release();
        }
        self.offer_space()
    }

    /// As [`Self::space`], but first discards the payload of the last event, as [`Self::poll`] does.
    pub(crate) fn released_space(&mut self) -> &mut [u8] {
        if self.events.is_empty() {
            self.receiver.release();
        }
        self.offer_space()
    }

    fn offer_space(&mut self) -> &mut [u8] {
        let space = self.receiver.space();
        if !space.is_empty() {
            self.timers.on_read_offered();
        }
        space
    }

    /// Returns the step that must come before more packets are handled, or `None` if they can be handled.
    ///
    /// While it returns something, [`Self::space`] may be empty although [`Self::poll`] returned `None`.
    pub fn input_blocked_by(&self) -> Option<InputBlock> {
        if !self.events.is_empty() {
            Some(InputBlock::Event)
        } else if self.checkpoint_pending() {
            Some(InputBlock::Checkpoint)
        } else if self.receiver.is_partly_copied() {
            Some(InputBlock::Payload)
        } else if self.may_answer() {
            None
        } else {
            Some(InputBlock::Acknowledgements)
        }
    }

    /// Reports that `n` bytes were received into the [`Self::space`].
    pub fn commit(&mut self, n: usize) {
        self.receiver.commit(n);
        self.timers.on_bytes_received(n);
    }

    /// Handles received packets until an event is pending, then the timers. Returns a token for the pending event.
    ///
    /// Call it until it returns `None`. Then send the pending bytes, and read, or wait until [`Self::deadline`]. An
    /// event stays pending until it is taken with [`Self::event`].
    ///
    /// # Errors
    ///
    /// [`ProtocolError`]: the reason why the connection was closed. Remaining events are returned first. The error is
    /// repeated until [`Self::connect`].
    pub fn poll(&mut self, now: Instant) -> Result<Option<EventToken>, ProtocolError> {
        self.poll_inner(now)
            .map_err(|ConnectionClosed| self.close_reason())
    }

    /// As [`Self::poll`]. [`Self::close_reason`] returns the reason why the connection was closed.
    pub(crate) fn poll_inner(
        &mut self,
        now: Instant,
    ) -> Result<Option<EventToken>, ConnectionClosed> {
        if self.only_continues_packet() {
            self.continue_packet(now);
            return Ok(None);
        }
        let has_event = !self.events.is_empty();
        if !has_event {
            self.receiver.release();
        }
        if self.link.is_open() {
            if self.payload_left() > 0 && !self.has_pending() {
                self.timers.on_payload_missing();
            }
            self.timers.begin_poll(now, &mut self.sender.in_flight);
            if has_event {
                self.check_timeouts(now)?;
            } else {
                self.process(now)?;
            }
            self.ping_if_due(now);
            let is_over = self.link.is_input_ended() || self.timers.is_input_over(now);
            if self.link.is_ending() && is_over && self.events.is_empty() {
                let reason = if self.link.is_disconnected() {
                    ProtocolError::Closed
                } else {
                    self.sender.close_reason()
                };
                self.link.close(reason);
            }
        }
        if !self.link.is_open() && self.events.is_empty() {
            self.clean_up_connection();
            if !self.events.push_report(&mut self.sender) {
                return Err(ConnectionClosed);
            }
        }
        Ok(self.events.token())
    }

    /// Returns `true` if CONNACK was received and the connection was not closed.
    ///
    /// A session does not notice that its client was dropped together with the transport. Call
    /// [`Self::connection_lost`] then.
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// Returns `true` if CONNECT was queued and CONNACK was not received yet.
    pub fn is_connecting(&self) -> bool {
        self.link.is_connecting()
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

    /// Returns the [response timeout](Self::set_response_timeout) in ms.
    pub const fn response_timeout(&self) -> u32 {
        self.timers.response_timeout()
    }

    /// Returns `true` if the server has accepted the connection, and all PUBLISHes at QoS 0 were sent.
    #[cfg(feature = "async")]
    pub(crate) fn is_qos0_sent(&self) -> bool {
        self.link.is_accepted() && !self.sender.buffer.has_qos0_publish()
    }

    /// Returns `true` if there is a connection on which packets can be sent.
    pub(crate) fn is_online(&self) -> bool {
        self.link.can_send()
    }

    /// Returns `true` if DISCONNECT was sent on this connection.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.link.is_disconnected()
    }

    /// Returns `true` if the transport may still deliver bytes.
    pub(crate) fn may_receive(&self) -> bool {
        self.link.is_open() && !self.link.is_input_ended()
    }

    /// Returns `true` if the connection was closed by anything but our DISCONNECT.
    pub(crate) fn has_failed(&self) -> bool {
        self.link.has_failed()
    }

    /// Returns `true` if a packet is queued that cannot be sent before CONNACK.
    pub(crate) fn waits_for_connack(&self) -> bool {
        self.is_connecting() && self.sender.buffer.waits_for_connack()
    }

    /// Returns the number of in-flight slots in use. A request occupies its slot until the event that reports its end
    /// was taken.
    pub fn in_flight(&self) -> usize {
        self.sender.in_flight.len()
    }

    /// Returns the packet id of the last publish at QoS 1 or 2, subscribe or unsubscribe. The SUBSCRIBEs of the
    /// standing subscriptions count, too.
    pub fn last_packet_id(&self) -> Option<PacketId> {
        PacketId::new(self.sender.in_flight.last_id())
    }

    /// Returns `true` if client or server keep state that belongs to the client id.
    fn holds_state(&self) -> bool {
        self.link.server_has_session
            || !self.sender.in_flight.is_empty()
            || !self.received_ids.is_empty()
    }

    /// Returns why the connection was closed.
    pub(crate) fn close_reason(&self) -> ProtocolError {
        self.link.close_reason()
    }

    /// Returns the time of the next calls that are needed even if nothing is received: [`Self::poll`], then
    /// [`Self::pending`] and [`Self::space`]. `None` means that only received bytes need a call.
    ///
    /// The instant has already passed while something can be done at once. Examples: an event is pending, a checkpoint
    /// is due, a packet is in the receive buffer, or there are bytes that the transport has not refused.
    pub fn deadline(&self) -> Option<Instant> {
        if self.link.is_open() && self.is_ready() {
            return Some(self.timers.at_once());
        }
        self.timer_deadline()
    }

    /// Returns the time at which the next timer runs out, as [`Self::deadline`] does if nothing can be done at once.
    ///
    /// Inside a payload that the caller provides, no PINGREQ can be sent.
    pub(crate) fn timer_deadline(&self) -> Option<Instant> {
        if !self.link.is_open() {
            return None;
        }
        self.timers.deadline(
            self.events.is_empty(),
            self.is_input_handled(),
            &self.sender.in_flight,
            !self.sender.buffer.is_in_payload(),
        )
    }

    /// Returns `true` if something can be done at once.
    fn is_ready(&self) -> bool {
        !self.events.is_empty()
            || self.checkpoint_pending()
            || self.has_report()
            || self.link.is_input_ended()
            || self.has_packet()
            || (self.has_pending() && !self.timers.is_write_refused())
    }

    /// Returns `true` if the end of a request can be reported.
    fn has_report(&self) -> bool {
        self.link.is_accepted()
            && !self.receiver.is_streaming()
            && self.sender.in_flight.next_report().is_some()
    }

    /// Returns `true` if a packet in the receive buffer can be handled, or an event is pending.
    pub(crate) fn has_input(&self) -> bool {
        !self.events.is_empty() || self.has_packet()
    }

    /// Returns `true` if received bytes can be handled. The last call of `poll` may have left them because there was no
    /// room for an answer.
    fn has_packet(&self) -> bool {
        (self.receiver.may_have_packet() || self.receiver.is_blocked) && self.may_answer()
    }

    /// Returns `true` if only acknowledgements are pending, and the next packet can be handled first. Its answer is
    /// then sent in the same write.
    pub(crate) fn may_delay_acks(&self) -> bool {
        self.has_input() && !self.timers.is_write_pending() && self.sender.has_only_acks()
    }

    /// Reports that the transport has not flushed the bytes that it accepted.
    pub(crate) fn on_flush_pending(&mut self, now: Instant) {
        self.timers.on_flush_pending(now);
    }

    /// Reports that the transport has flushed the bytes that it accepted.
    pub(crate) fn on_flushed(&mut self, now: Instant) {
        self.timers.on_flushed(self.has_more(), now);
        if self.link.is_disconnected() {
            self.timers.await_end(now);
        }
    }
}
