//! Exchanges a token for its event, and queues the acknowledgement of a message.

use super::{
    error::ProtocolError,
    event::{Chunk, Event, Message},
    events::{EventToken, PendingEvent},
    in_flight::Report,
    raw_packet,
    state::{Session, acknowledge_message},
};
use crate::codec::{DecodeError, PacketId, Publish, PublishHeader, Suback};

impl Session<'_> {
    /// Takes the pending event that [`Self::poll`] announced. Returns `None` if it was taken before, or was discarded with
    /// its connection.
    ///
    /// This queues the acknowledgement of a message. It cannot be sent before the borrow of the event ends.
    ///
    /// # Errors
    ///
    /// The packet is malformed, and the connection was closed.
    #[expect(clippy::needless_pass_by_value, reason = "a token is used once")]
    pub fn event(&mut self, ready: EventToken) -> Result<Option<Event<'_>>, ProtocolError> {
        if !self.events.is_current(&ready) {
            return Ok(None);
        }
        Ok(Some(match self.events.take() {
            PendingEvent::None => return Ok(None),
            PendingEvent::Connected => Event::Connected {
                session_present: self.link.session_present,
                unknown_session: self.link.unknown_session,
                connect_unanswered: self.link.take_connect_unanswered(),
            },
            PendingEvent::Message => return self.message(),
            PendingEvent::Chunk => return Ok(self.chunk()),
            PendingEvent::TopicTooLong { len } => Event::TopicTooLong {
                len: usize::from(len),
            },
            PendingEvent::Completed(id) => match self.sender.in_flight.take_report(id) {
                None => return Ok(None),
                Some(Report::Puback) => Event::Puback(id),
                Some(Report::Pubcomp) => Event::Pubcomp(id),
                Some(Report::Unsuback) => Event::Unsuback(id),
                Some(Report::OutcomeUnknown) => Event::OutcomeUnknown(id),
                Some(Report::RequestRejected) => Event::RequestRejected(id),
                Some(Report::PublishDiscarded) => Event::PublishDiscarded(id),
                Some(Report::DeliveryUnknown) => Event::DeliveryUnknown(id),
            },
            PendingEvent::Suback(id) => return self.suback(id),
            PendingEvent::ChunksAborted => Event::ChunksAborted,
            PendingEvent::Qos0Dropped(count) => Event::Qos0Dropped(count),
            PendingEvent::PayloadNeeded(id) => Event::PayloadNeeded(id),
            PendingEvent::Checkpoint => {
                self.sender.mark_saved();
                Event::Checkpoint(self.checkpoint())
            }
        }))
    }

    /// Discards the pending event that [`Self::poll`] announced. A message is not acknowledged: at QoS 2 its id would be kept,
    /// and the server could never deliver it.
    pub(crate) fn discard_event(&mut self, ready: EventToken) -> Result<(), ProtocolError> {
        if self.events.discard_message() {
            self.receiver.discard_message();
            return Ok(());
        }
        self.event(ready).map(drop)
    }

    /// Returns the SUBACK in the receive buffer. It has one code for each filter \[MQTT-3.8.4-5\], in their order
    /// \[MQTT-3.9.3-1\].
    fn suback(&mut self, id: PacketId) -> Result<Option<Event<'_>>, ProtocolError> {
        let expected = self
            .sender
            .buffer
            .body_of(id)
            .map_or(0, raw_packet::filter_count);
        let suback = match Suback::decode_body(self.receiver.borrow_packet()) {
            Ok(suback) => suback,
            Err(error) => return Err(self.link.reject_event(error.into())),
        };
        let got = suback.codes().len();
        if got != expected {
            return Err(self
                .link
                .reject_event(ProtocolError::SubackCount { expected, got }));
        }
        self.sender.answered(id);
        Ok(Some(Event::Suback(id, suback.codes())))
    }

    /// Returns the message in the receive buffer, for whose id and acknowledgement there is room.
    fn message(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        let header = self.receiver.header();
        let body = self.receiver.borrow_packet();
        let (message, before) = match PublishHeader::decode_body(&header, body) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(self.link.reject_event(DecodeError::Truncated.into())),
            Err(error) => return Err(self.link.reject_event(error.into())),
        };
        let payload = body.get(before..).unwrap_or_default();
        let (qos, id) = (message.delivery.qos(), message.delivery.packet_id());
        acknowledge_message(qos, id, &mut self.sender, &mut self.received_ids);
        Ok(Some(Event::Message(Message::from(Publish {
            topic: message.topic,
            payload,
            delivery: message.delivery,
            retain: message.retain,
        }))))
    }

    /// Returns the part of a message in the receive buffer. With the last part, the message is acknowledged.
    fn chunk(&mut self) -> Option<Event<'_>> {
        let (message, offset, bytes) = self.receiver.borrow_chunk()?;
        let chunk = Chunk {
            topic: message.topic.as_str(),
            delivery: message.delivery,
            retain: message.retain,
            offset,
            total: message.payload_len,
            bytes,
        };
        if chunk.is_last() {
            let (qos, id) = (message.delivery.qos(), message.delivery.packet_id());
            acknowledge_message(qos, id, &mut self.sender, &mut self.received_ids);
        }
        Some(Event::Chunk(chunk))
    }
}
