//! Handles each received packet: one function `handle_*` for each kind of packet.

use super::{
    error::ProtocolError,
    events::PendingEvent,
    in_flight::SlotState,
    link::ConnectionClosed,
    raw_packet,
    receive::{Frame, Skipped},
    state::{Session, acknowledge_message},
};
use crate::{
    codec::{Connack, DecodeError, PacketId, PacketType, PublishHeader, QoS, Suback, wire},
    log::{self, debug, warn},
    time::Instant,
};

impl Session<'_> {
    /// Handles received packets until an event is pending, then the timers.
    pub(super) fn process(&mut self, now: Instant) -> Result<(), ConnectionClosed> {
        self.receiver.is_blocked = false;
        // Between the chunks of a message, reports wait, because a caller that reads the payload does not take them. A
        // checkpoint waits while there are chunks.
        if self.link.is_accepted()
            && !self.receiver.is_streaming()
            && !self.events.push_report(&mut self.sender)
        {
            self.ask_caller();
        }
        while self.events.is_empty() {
            // These PUBRELs precede the answer to any PUBREC that is received later [MQTT-4.6.0-4].
            self.send_pubrels();
            if !self.may_answer() {
                self.receiver.is_blocked = self.receiver.has_unread();
                break;
            }
            if !self.handle_frame(now)? {
                break;
            }
        }
        self.report_progress(now);
        if self.events.is_empty() {
            if !self.link.is_ending() || self.timers.is_flush_pending() {
                self.check_timers(now)?;
            }
            // The packets above may have changed the session. A caller without an event would wait for the next packet.
            if self.link.is_accepted() {
                self.ask_caller();
            }
        }
        self.send_pubrels();
        Ok(())
    }

    /// Handles the next packet, or part of one. Returns `false` if more bytes must be received first.
    fn handle_frame(&mut self, now: Instant) -> Result<bool, ConnectionClosed> {
        let is_accepted = self.link.is_accepted();
        match self.receiver.next_frame(is_accepted) {
            Err(reason) => return Err(self.link.close(reason)),
            Ok(None) => return Ok(false),
            Ok(Some(Frame::Packet)) => {
                self.timers.on_packet_received();
                self.handle_packet(now)?;
            }
            Ok(Some(Frame::Oversized)) => {
                self.timers.on_packet_received();
                let skip = self.link.is_disconnected() || self.lacks_id_room();
                let delivered = self.received_ids.as_slice();
                return match self.receiver.begin_oversized(delivered, skip) {
                    Ok(has_begun) => {
                        if has_begun {
                            let len = self.receiver.packet_len();
                            debug!("receiving Publish of {} bytes in parts", len);
                        }
                        Ok(has_begun)
                    }
                    Err(error) => Err(self.link.close(error.into())),
                };
            }
            Ok(Some(Frame::Chunk)) => self.events.push(PendingEvent::Chunk),
            Ok(Some(Frame::Skipped(skipped))) => self.handle_skipped(skipped, now),
        }
        Ok(true)
    }

    /// Reports received packets to the timers.
    fn report_progress(&mut self, now: Instant) {
        // The bytes that were offered to the transport may have been removed by an acknowledgement.
        if self.timers.is_write_pending() && !self.has_more() {
            self.timers.on_write_withdrawn();
        }
        self.timers.on_input_handled(
            self.receiver.is_inside_packet(),
            now,
            &mut self.sender.in_flight,
        );
    }

    /// Closes the connection if a timer has run out. Also closes it if the id table is full and no more QoS 2 message
    /// can be completed \[MQTT-4.8.0-2\].
    fn check_timers(&mut self, now: Instant) -> Result<(), ConnectionClosed> {
        self.check_timeouts(now)?;
        if self.timers.were_ids_full()
            && self.received_ids.is_empty()
            && self.sender.acks.is_empty()
            && !self.timers.is_write_pending()
        {
            return Err(self.link.close(self.received_ids.full_error()));
        }
        Ok(())
    }

    /// Makes an event pending if the session waits for the caller: for a checkpoint, or for a payload.
    fn ask_caller(&mut self) {
        if self.checkpoint_pending() {
            self.events.push(PendingEvent::Checkpoint);
        } else if !self.receiver.is_streaming()
            && let Some(id) = self.sender.next_payload_needed()
        {
            self.events.push(PendingEvent::PayloadNeeded(id));
        }
    }

    /// Queues every PUBREL that must be sent, in the order of their PUBRECs, as far as there is room.
    pub(super) fn send_pubrels(&mut self) {
        if self.link.is_connected() {
            // The acknowledgement of a pending event must find room.
            let reserved = usize::from(!self.events.is_empty());
            self.sender.send_pubrels(reserved);
        }
    }

    fn handle_packet(&mut self, now: Instant) -> Result<(), ConnectionClosed> {
        let first = self.receiver.header().first_byte();
        let id = raw_packet::packet_id(first, self.receiver.body());
        log::received(first, id, self.receiver.packet_len());
        match self.receiver.header().packet_type {
            PacketType::Publish => self.handle_publish(now)?,
            PacketType::Connack => self.handle_connack(now)?,
            // [MQTT-3.12.4-1]
            PacketType::Pingresp => self.timers.on_pingresp(),
            // The receiver has refused packets that a server must not send.
            _ => self.handle_ack()?,
        }
        if !self.events.borrows_packet() {
            self.receiver.discard_packet();
        }
        Ok(())
    }

    #[inline(never)]
    fn handle_connack(&mut self, now: Instant) -> Result<(), ConnectionClosed> {
        let early = ProtocolError::BeforeConnack(PacketType::Connack);
        let session_present = match Connack::decode_body(self.receiver.body()) {
            _ if !self.sender.buffer.is_connect_sent() => return Err(self.link.close(early)),
            Err(error) => return Err(self.link.close(error.into())),
            // [MQTT-3.2.2-5]
            Ok(Connack::Refused(code)) => {
                return Err(self.link.close(ProtocolError::Refused(code)));
            }
            // [MQTT-3.2.2-1]
            Ok(Connack::Accepted { session_present })
                if session_present && self.link.clean_session =>
            {
                let reason = ProtocolError::SessionPresentAfterCleanSession;
                return Err(self.link.close(reason));
            }
            Ok(Connack::Accepted { session_present }) => session_present,
        };
        if !session_present {
            // [MQTT-3.1.2-4], [MQTT-3.2.2-3] Our PUBLISHes are kept; the ids of received ones are not.
            self.received_ids.clear();
        }
        if self.link.has_unanswered_connect() {
            self.sender.subscriptions.forget();
        }
        self.link.accept(session_present);
        self.timers.on_connack();
        self.sender
            .on_connected(session_present, self.link.disconnecting);
        self.events.push(PendingEvent::Connected);
        if self.link.disconnecting && self.sender.is_empty() {
            self.timers.await_end(now);
            self.link.finish_disconnect();
        }
        Ok(())
    }

    /// Handles PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK. Each completes the request with its id and no
    /// other \[MQTT-2.3.1-7\] \[MQTT-3.8.4-2\].
    ///
    /// A server must not acknowledge a request with the wrong packet type, or before it was sent.
    #[inline(never)]
    fn handle_ack(&mut self) -> Result<(), ConnectionClosed> {
        let header = self.receiver.header();
        let packet_type = header.packet_type;
        let Some(packet_id) = raw_packet::packet_id(header.first_byte(), self.receiver.body())
        else {
            return Err(self.link.close(DecodeError::PacketIdZero.into()));
        };
        if packet_type == PacketType::Pubrel {
            self.handle_pubrel(packet_id);
            return Ok(());
        }
        let Some(slot) = self.sender.in_flight.waiting(packet_id) else {
            return self.handle_unknown_ack(packet_type, packet_id);
        };
        // PUBREC was received again, after DISCONNECT: PUBREL cannot be sent on this connection.
        if slot.state == SlotState::Pubrel && packet_type == PacketType::Pubrec {
            return Ok(());
        }
        let is_expected = slot.is_sent()
            || matches!(slot.state, SlotState::Pubcomp | SlotState::Declined)
            || self.sender.buffer.is_resend(packet_id);
        if !is_expected || !slot.state.is_answered_by(packet_type) {
            return Err(self.link.close(ProtocolError::UnexpectedAck {
                packet_type,
                packet_id,
            }));
        }
        if !slot.is_sent() && self.sender.buffer.is_partly_sent(packet_id) {
            if let Some(slot) = self.sender.in_flight.get_mut(packet_id) {
                slot.mark_answered();
            }
            return Ok(());
        }
        match packet_type {
            PacketType::Suback => self.events.push(PendingEvent::Suback(packet_id)),
            PacketType::Pubrec if slot.state == SlotState::Pubcomp => {
                self.sender.acks.push_ack(wire::PUBREL, packet_id);
            }
            // [MQTT-4.3.3-1] The PUBLISH is never sent again.
            PacketType::Pubrec => {
                self.sender.on_pubrec(packet_id);
            }
            // [MQTT-4.3.2-1], [MQTT-3.10.4-4] With its event, the id is free [MQTT-2.3.1-3].
            _ => {
                self.sender.complete(packet_id);
                self.events.push(PendingEvent::Completed(packet_id));
            }
        }
        Ok(())
    }

    /// Handles a PUBREL: the message with this id will not be sent again. [MQTT-4.3.3-2] An unknown id is answered as
    /// well.
    fn handle_pubrel(&mut self, id: PacketId) {
        let was_known = self.received_ids.remove(id);
        self.sender.complete_message(id, was_known);
    }

    /// Handles an acknowledgement for an id that is not in flight. It may be late, and completes no request.
    fn handle_unknown_ack(
        &mut self,
        packet_type: PacketType,
        packet_id: PacketId,
    ) -> Result<(), ConnectionClosed> {
        if packet_type == PacketType::Pubrec {
            if self.sender.revive_declined(packet_id) {
                return Ok(());
            }
            self.sender.acks.push_ack(wire::PUBREL, packet_id);
        } else if packet_type == PacketType::Suback
            && let Err(error) = Suback::decode_body(self.receiver.body())
        {
            return Err(self.link.close(error.into()));
        }
        Ok(())
    }

    #[inline(never)]
    fn handle_publish(&mut self, now: Instant) -> Result<(), ConnectionClosed> {
        if self.link.is_disconnected() {
            return Ok(());
        }
        let header = self.receiver.header();
        let body = self.receiver.body();
        // [MQTT-4.3.3-2] The id decides whether the message is new, not DUP [MQTT-3.3.1-3].
        if header.qos() == QoS::ExactlyOnce
            && let Some(id) = raw_packet::packet_id(header.first_byte(), body)
        {
            let repeated = self.received_ids.contains(id);
            if !repeated && self.received_ids.is_full() {
                self.timers.on_ids_full(now);
            }
            if repeated || self.timers.were_ids_full() {
                if let Err(error) = PublishHeader::decode_body(&header, body) {
                    return Err(self.link.close(error.into()));
                }
                if repeated {
                    self.sender.acks.push_ack(wire::PUBREC, id);
                }
                return Ok(());
            }
        }
        self.events.push(PendingEvent::Message);
        Ok(())
    }

    /// Acknowledges a PUBLISH larger than the receive buffer that was skipped \[MQTT-4.5.0-2\]: the caller has skipped
    /// its rest, the message is a repetition, or its topic did not fit.
    ///
    /// If there is no room for its id, a QoS 2 message is not acknowledged. The server sends it again on the next
    /// connection.
    #[inline(never)]
    fn handle_skipped(&mut self, Skipped { id, too_long }: Skipped, now: Instant) {
        if self.link.is_disconnected() {
            return;
        }
        let qos = self.receiver.header().qos();
        if qos == QoS::ExactlyOnce
            && let Some(id) = id
            && self.received_ids.contains(id)
        {
            self.sender.acks.push_ack(wire::PUBREC, id);
            return;
        }
        if self.lacks_id_room() {
            self.timers.on_ids_full(now);
            return;
        }
        acknowledge_message(qos, id, &mut self.sender, &mut self.received_ids);
        if let Some(len) = too_long {
            warn!("skipped a message whose topic has {} bytes", len);
            self.events.push(PendingEvent::TopicTooLong { len });
        }
    }

    /// Returns `true` if there is no room for the id of the current QoS 2 PUBLISH, or if there was none for an earlier
    /// one. Messages at QoS 2 are delivered in order \[MQTT-4.6.0-3\].
    fn lacks_id_room(&self) -> bool {
        let needs_id = self.receiver.header().qos() == QoS::ExactlyOnce;
        needs_id && (self.timers.were_ids_full() || self.received_ids.is_full())
    }
}
