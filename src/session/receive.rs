//! What the session does with what arrives.

use heapless::VecView;

use super::{
    EventToken, Link, Over, Session,
    error::ProtocolError,
    event::{Chunk, Event, Message},
    image::Checkpoint,
    in_flight::State,
    inbound::Frame,
    raw_packet,
    send::Sender,
};
use crate::{
    codec::{
        Connack, DecodeError, PacketId, PacketType, Publish, PublishHeader, QoS, Suback, wire,
    },
    fmt::{debug, warn},
    time::Instant,
};

/// The event that waits for the caller.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) enum Due {
    Nothing,
    Connected,
    /// A PUBLISH lies in the receive buffer.
    Message,
    /// Bytes of a long PUBLISH lie in the receive buffer.
    Chunk,
    TopicTooLong {
        len: u16,
    },
    /// An answer, or the news that there will be none.
    Ended(PacketId, State),
    /// A SUBACK lies in the receive buffer.
    Suback(PacketId),
    ChunksAborted,
    PayloadNeeded(PacketId),
    Checkpoint,
    Qos0Dropped(u16),
}

impl Due {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(super) fn ready(&self) -> Option<EventToken> {
        let completes = match *self {
            Self::Nothing => return None,
            Self::Ended(id, _) | Self::Suback(id) => Some(id),
            _ => None,
        };
        Some(EventToken { completes })
    }

    /// The event is made from the packet in the receive buffer.
    fn shows_packet(&self) -> bool {
        matches!(self, Self::Message | Self::Suback(_))
    }

    /// The receive buffer has been cleared, and no payload can be given.
    pub(super) fn connection_ended(&mut self) {
        if self.shows_packet() || matches!(self, Self::Chunk | Self::PayloadNeeded(_)) {
            *self = Self::Nothing;
        }
    }
}

impl Session<'_> {
    /// Redeems what [`Self::poll`] announced: the event that waits, or `None` if that has been redeemed, or has gone with its
    /// connection.
    ///
    /// The acknowledgement of a message is queued here, and cannot leave before the borrow of the event ends.
    ///
    /// # Errors
    ///
    /// The packet is malformed: the connection is over.
    #[expect(clippy::needless_pass_by_value, reason = "the token is used up")]
    pub fn event(&mut self, ready: EventToken) -> Result<Option<Event<'_>>, ProtocolError> {
        let EventToken { .. } = ready;
        let due = core::mem::replace(&mut self.due, Due::Nothing);
        Ok(Some(match due {
            Due::Nothing => return Ok(None),
            Due::Connected => Event::Connected {
                session_present: self.session_present,
                unknown_session: self.unknown_session,
            },
            Due::Message => return self.message(),
            Due::Chunk => return Ok(self.chunk()),
            Due::TopicTooLong { len } => Event::TopicTooLong {
                len: usize::from(len),
            },
            Due::Ended(id, state) => match state {
                State::Puback => Event::Puback(id),
                State::Unsuback => Event::Unsuback(id),
                State::OutcomeUnknown => Event::OutcomeUnknown(id),
                State::RequestRejected => Event::RequestRejected(id),
                State::PublishDiscarded => Event::PublishDiscarded(id),
                State::DeliveryUnknown => Event::DeliveryUnknown(id),
                State::Pubcomp
                | State::Pubrec
                | State::Pubrel
                | State::Suback
                | State::Declined => Event::Pubcomp(id),
            },
            Due::Suback(id) => return self.suback(id),
            Due::ChunksAborted => Event::ChunksAborted,
            Due::Qos0Dropped(count) => Event::Qos0Dropped(count),
            Due::PayloadNeeded(id) => Event::PayloadNeeded(id),
            Due::Checkpoint => {
                self.sender.changed = false;
                Event::Checkpoint(Checkpoint(self))
            }
        }))
    }

    /// Handles packets until one is for the caller, then what the time brings.
    pub(super) fn advance(&mut self, now: Instant) -> Result<(), Over> {
        self.behind = false;
        // Between the chunks of a message no report comes: whoever reads its payload would not see it.
        if self.is_connected() && (self.inbound.in_message() || !self.take_report()) {
            self.take_question();
        }
        while self.due.is_nothing() {
            // Before any PUBREC that comes later is answered [MQTT-4.6.0-4].
            self.send_pubrels(now);
            if !self.may_answer() {
                self.behind = true;
                break;
            }
            let is_connected = self.is_connected();
            match self.inbound.frame(is_connected) {
                Err(reason) => return Err(self.fail(reason)),
                Ok(None) => break,
                Ok(Some(Frame::Packet)) => self.packet(now)?,
                Ok(Some(Frame::Long)) => match self.inbound.begin_long(self.received) {
                    Err(error) => return Err(self.fail(error.into())),
                    Ok(false) => break,
                    Ok(true) => {}
                },
                Ok(Some(Frame::Chunk)) => self.begin_chunk()?,
                Ok(Some(Frame::Passed { id, too_long })) => self.passed(id, too_long)?,
            }
        }
        // What had to leave may have been acknowledged instead.
        if self.stalled_since.is_some() && !self.has_more() {
            self.stalled_since = None;
        }
        if self.inbound.take_progress() {
            self.keep_alive.progress(now);
            if self.inbound.is_passing() {
                self.restart_waits(now);
            }
        }
        if self.due.is_nothing() {
            self.check_waits(now)?;
            if self.full_since.is_some() && self.received.is_empty() && self.sender.acks.is_empty()
            {
                return Err(self.fail(self.inbound_full()));
            }
            let inside = self.inbound.is_inside() && self.may_answer();
            if self.pace.is_too_slow(inside, self.response_timeout, now) {
                return Err(self.fail(ProtocolError::TooSlow));
            }
            // What has come may have changed the session, and a caller to whom nothing is told goes to sleep.
            if self.is_connected() {
                self.take_question();
            }
        }
        self.send_pubrels(now);
        if self.ping_due().is_some_and(|due| due.has_passed(now)) {
            self.queue_ping();
        }
        Ok(())
    }

    /// Whether the next packet may be dealt with: no checkpoint is owed, and there is room for its answer.
    ///
    /// A QoS 2 message for whose id there is no room passes unanswered, and so do those behind it, until the messages
    /// before it are complete; then the connection ends, and the next begins with it. Were it to end at once, a server
    /// that sends without a limit would see little of what it has been answered. A long message does end it at once:
    /// the acknowledgements of those before it leave first, else the next connection would get no further.
    pub(super) fn may_answer(&self) -> bool {
        if self.owes_checkpoint() {
            false
        } else if self.received.is_full() {
            self.sender.acks.is_empty()
        } else {
            self.sender.acks.has_room(1)
        }
    }

    /// Makes a report due, if one waits.
    pub(super) fn take_report(&mut self) -> bool {
        self.due = if !self.unseen.is_nothing() {
            core::mem::replace(&mut self.unseen, Due::Nothing)
        } else if core::mem::take(&mut self.chunks_ended) {
            Due::ChunksAborted
        } else if let Some(slot) = self.sender.in_flight.take_report() {
            Due::Ended(slot.id, slot.state)
        } else if self.sender.qos0_dropped > 0 {
            Due::Qos0Dropped(core::mem::take(&mut self.sender.qos0_dropped))
        } else {
            return false;
        };
        true
    }

    /// Makes due what the caller has to be asked for.
    fn take_question(&mut self) {
        if self.owes_checkpoint() {
            self.due = Due::Checkpoint;
        } else if !self.inbound.in_message()
            && let Some(id) = self.sender.next_payload_needed()
        {
            self.due = Due::PayloadNeeded(id);
        }
    }

    /// Sends every PUBREL that is owed, in the order of their PUBRECs, as far as the lane has room.
    fn send_pubrels(&mut self, now: Instant) {
        if !self.is_connected() {
            return;
        }
        // The answer to what waits for the caller must find room.
        let reserved = usize::from(!self.due.is_nothing());
        self.sender.send_pubrels(reserved, now);
    }

    fn packet(&mut self, now: Instant) -> Result<(), Over> {
        match self.inbound.header().packet_type {
            PacketType::Publish => self.publish_came(now)?,
            PacketType::Connack => self.connack()?,
            // [MQTT-3.12.4-1]
            PacketType::Pingresp => self.keep_alive.pingresp(),
            // `admit` has refused what a server may not send.
            _ => self.acknowledged()?,
        }
        if !self.due.shows_packet() {
            self.inbound.drop_packet();
        }
        Ok(())
    }

    #[inline(never)]
    fn connack(&mut self) -> Result<(), Over> {
        let early = ProtocolError::BeforeConnack(PacketType::Connack);
        let session_present = match Connack::decode_body(self.inbound.body()) {
            _ if !self.sender.buffer.is_connect_sent() => return Err(self.fail(early)),
            Err(error) => return Err(self.fail(error.into())),
            // [MQTT-3.2.2-5]
            Ok(Connack::Refused(code)) => return Err(self.fail(ProtocolError::Refused(code))),
            // [MQTT-3.2.2-1]
            Ok(Connack::Accepted { session_present }) if session_present && self.clean => {
                return Err(self.fail(ProtocolError::SessionPresentAfterCleanSession));
            }
            Ok(Connack::Accepted { session_present }) => session_present,
        };
        if !session_present {
            // [MQTT-3.1.2-4], [MQTT-3.2.2-3] PUBLISHes stay; the ids of what came do not.
            self.received.clear();
        }
        self.unknown_session = session_present && !self.known;
        self.known = !self.clean;
        // [MQTT-3.2.2-2]
        self.session_present = session_present;
        self.link = Link::Up;
        debug!("connected, session present: {}", session_present);
        self.sender.on_connected(session_present);
        self.due = Due::Connected;
        if self.leaving && self.sender.is_empty() {
            self.leave();
        }
        Ok(())
    }

    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK, which ends the request of its id and no other
    /// \[MQTT-2.3.1-7\] \[MQTT-3.8.4-2\].
    ///
    /// One for an id that nobody waits for may be late; it completes nothing. One of the wrong kind, or for a PUBLISH,
    /// SUBSCRIBE or UNSUBSCRIBE that has not left, cannot come from a lawful server.
    #[inline(never)]
    fn acknowledged(&mut self) -> Result<(), Over> {
        let header = self.inbound.header();
        let packet_type = header.packet_type;
        let Some(packet_id) = raw_packet::packet_id(header.first_byte(), self.inbound.body())
        else {
            return Err(self.fail(DecodeError::PacketIdZero.into()));
        };
        // [MQTT-4.3.3-2] PUBCOMP also for an id that is not known.
        if packet_type == PacketType::Pubrel {
            self.released(packet_id);
            self.sender.acks.push_ack(wire::PUBCOMP, packet_id);
            return Ok(());
        }
        let Some(slot) = self.sender.in_flight.waiting(packet_id) else {
            return self.late(packet_type, packet_id);
        };
        let may_come = slot.is_sent()
            || slot.state == State::Declined
            || self.sender.buffer.waits_for_resend(packet_id);
        if !may_come || !slot.state.is_answered_by(packet_type) {
            return Err(self.fail(ProtocolError::UnexpectedAck {
                packet_type,
                packet_id,
            }));
        }
        match packet_type {
            PacketType::Suback => self.due = Due::Suback(packet_id),
            PacketType::Pubrec if slot.state == State::Pubcomp => {
                self.sender.acks.push_ack(wire::PUBREL, packet_id);
            }
            // [MQTT-4.3.3-1] The PUBLISH never goes again.
            PacketType::Pubrec => {
                self.sender.on_pubrec(packet_id);
            }
            // [MQTT-4.3.2-1], [MQTT-3.10.4-4] The id is free [MQTT-2.3.1-3].
            _ => {
                self.sender.complete(packet_id);
                self.due = Due::Ended(packet_id, slot.outcome());
            }
        }
        Ok(())
    }

    /// The message with this id will not come again; the last id takes the place of its.
    fn released(&mut self, id: PacketId) {
        let last = self.received.last().copied();
        let place = self.received.iter_mut().find(|place| **place == id);
        if let (Some(place), Some(last)) = (place, last) {
            *place = last;
            self.received.pop();
            self.sender.changed = true;
        }
    }

    /// An acknowledgement for an id that nobody waits for.
    fn late(&mut self, packet_type: PacketType, packet_id: PacketId) -> Result<(), Over> {
        if packet_type == PacketType::Pubrec {
            self.sender.acks.push_ack(wire::PUBREL, packet_id);
        } else if packet_type == PacketType::Suback
            && let Err(error) = Suback::decode_body(self.inbound.body())
        {
            return Err(self.fail(error.into()));
        }
        Ok(())
    }

    /// Checked against the filters asked for \[MQTT-3.8.4-5\], in whose order the codes are \[MQTT-3.9.3-1\].
    fn suback(&mut self, id: PacketId) -> Result<Option<Event<'_>>, ProtocolError> {
        let expected = self
            .sender
            .buffer
            .body_of(id)
            .map_or(0, raw_packet::filter_count);
        let suback = match Suback::decode_body(self.inbound.show_packet()) {
            Ok(suback) => suback,
            Err(error) => return refused(&mut self.link, error.into()),
        };
        let got = suback.codes().len();
        if got != expected {
            return refused(&mut self.link, ProtocolError::SubackCount { expected, got });
        }
        self.sender.complete(id);
        Ok(Some(Event::Suback(id, suback.codes())))
    }

    #[inline(never)]
    fn publish_came(&mut self, now: Instant) -> Result<(), Over> {
        let header = self.inbound.header();
        let body = self.inbound.body();
        let id = raw_packet::packet_id(header.first_byte(), body);
        // [MQTT-4.3.3-2] The id decides whether it is new, not DUP [MQTT-3.3.1-3].
        if let Some(id) = id
            && header.qos() == QoS::ExactlyOnce
        {
            let repeated = self.received.contains(&id);
            if !repeated && self.received.is_full() {
                self.full_since.get_or_insert(now);
            }
            if repeated || self.full_since.is_some() {
                if let Err(error) = PublishHeader::decode_body(&header, body) {
                    return Err(self.fail(error.into()));
                }
                if repeated {
                    self.sender.acks.push_ack(wire::PUBREC, id);
                }
                return Ok(());
            }
        }
        self.due = Due::Message;
        Ok(())
    }

    fn message(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        let header = self.inbound.header();
        let body = self.inbound.show_packet();
        let (message, before) = match PublishHeader::decode_body(&header, body) {
            Ok(Some(found)) => found,
            Ok(None) => return refused(&mut self.link, DecodeError::Truncated.into()),
            Err(error) => return refused(&mut self.link, error.into()),
        };
        let payload = body.get(before..).unwrap_or_default();
        // `publish_came` has seen that there is room.
        let (qos, id) = (message.delivery.qos(), message.delivery.packet_id());
        self.sender.changed |= delivered(qos, id, &mut self.sender, self.received);
        Ok(Some(Event::Message(Message::from(Publish {
            topic: message.topic,
            payload,
            delivery: message.delivery,
            retain: message.retain,
        }))))
    }

    fn begin_chunk(&mut self) -> Result<(), Over> {
        self.check_received()?;
        self.due = Due::Chunk;
        Ok(())
    }

    fn chunk(&mut self) -> Option<Event<'_>> {
        let (message, offset, bytes) = self.inbound.show_chunk()?;
        let chunk = Chunk {
            topic: message.topic.as_str(),
            delivery: message.delivery,
            retain: message.retain,
            offset,
            total: message.payload_len,
            bytes,
        };
        if chunk.is_last() {
            // `begin_chunk` has seen that there is room.
            let (qos, id) = (message.delivery.qos(), message.delivery.packet_id());
            self.sender.changed |= delivered(qos, id, &mut self.sender, self.received);
        }
        Some(Event::Chunk(chunk))
    }

    /// A message has passed by of which the caller did not want to see the rest, that is not new, or whose topic did
    /// not fit; it is acknowledged like any other \[MQTT-4.5.0-2\].
    #[inline(never)]
    fn passed(&mut self, id: Option<PacketId>, too_long: Option<u16>) -> Result<(), Over> {
        let qos = self.inbound.header().qos();
        if qos == QoS::ExactlyOnce
            && let Some(id) = id
            && self.received.contains(&id)
        {
            self.sender.acks.push_ack(wire::PUBREC, id);
            return Ok(());
        }
        self.check_received()?;
        self.sender.changed |= delivered(qos, id, &mut self.sender, self.received);
        if let Some(len) = too_long {
            warn!("skipped a message whose topic has {} bytes", len);
            self.due = Due::TopicTooLong { len };
        }
        Ok(())
    }

    /// Lack of room for the id of the long message at hand ends the connection, and keeps the session \[MQTT-4.8.0-2\].
    fn check_received(&mut self) -> Result<(), Over> {
        let is_kept = self.inbound.header().qos() == QoS::ExactlyOnce;
        if is_kept && (self.full_since.is_some() || self.received.is_full()) {
            return Err(self.fail(self.inbound_full()));
        }
        Ok(())
    }

    pub(super) fn inbound_full(&self) -> ProtocolError {
        let capacity = self.received.capacity();
        ProtocolError::TooManyQos2Messages { capacity }
    }
}

/// The packet at hand ends the connection instead of becoming an event.
#[inline(never)]
fn refused<'a>(link: &mut Link, reason: ProtocolError) -> Result<Option<Event<'a>>, ProtocolError> {
    *link = Link::Down(reason);
    Err(reason)
}

/// The caller has had a message: it is answered \[MQTT-3.3.4-1\] under its id \[MQTT-2.3.1-6\], in its turn
/// \[MQTT-4.6.0-2\] \[MQTT-4.6.0-3\] and only now \[MQTT-4.3.2-2\], and remembered at QoS 2. Says whether that changed
/// anything.
fn delivered(
    qos: QoS,
    id: Option<PacketId>,
    sender: &mut Sender<'_>,
    received: &mut VecView<PacketId>,
) -> bool {
    let Some(id) = id else {
        return false;
    };
    if qos == QoS::ExactlyOnce {
        sender.acks.push_ack(wire::PUBREC, id);
        let _ = received.push(id);
    } else {
        sender.acks.push_ack(wire::PUBACK, id);
    }
    true
}
