//! Exchanges a token for its event, and queues the acknowledgement of a message.

use super::{
    error::ProtocolError,
    event::{Chunk, Event, Message},
    events::{EventToken, PendingEvent},
    in_flight::{InFlight, Report},
    link::Link,
    publisher::Publisher,
    raw_packet,
    receive::Receiver,
    send::Sender,
    state::{Session, acknowledge_message},
};
use crate::codec::{DecodeError, Delivery, PacketId, Publish, PublishHeader, Suback};

/// The answer of an event handler: whether it has handled its event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
#[non_exhaustive]
#[doc(alias = "set_manual_acks")] // rumqttc
pub enum Handled {
    /// The event was handled. A message is acknowledged, and a checkpoint counts as saved.
    #[default]
    Done,
    /// The message or checkpoint cannot be handled now. A message is not acknowledged, and a checkpoint does not count
    /// as saved. The handler is given the same event again, and nothing more is received until then. For any other
    /// event, this is the same as [`Self::Done`].
    NotNow,
    /// The event was handled. The rest of a message that is received in chunks is skipped. The message is acknowledged
    /// as usual.
    SkipRest,
}

impl From<()> for Handled {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl<'b> Session<'b> {
    /// Takes the pending event that [`Self::poll`] announced. Returns `None` if it was taken before, or was discarded
    /// with its connection.
    ///
    /// This queues the acknowledgement of a message. It cannot be sent before the borrow of the event ends.
    ///
    /// # Errors
    ///
    /// The packet is malformed, and the connection was closed.
    pub fn event(&mut self, token: EventToken) -> Result<Option<Event<'_>>, ProtocolError> {
        let event = self.event_and_publisher(token)?;
        Ok(event.map(|(event, _)| event))
    }

    /// As [`Self::event`], with a [`Publisher`] that can be used while the event is borrowed, to answer a message or to
    /// save the session.
    ///
    /// # Errors
    ///
    /// As [`Self::event`].
    #[expect(clippy::needless_pass_by_value, reason = "a token is used once")]
    pub fn event_and_publisher(
        &mut self,
        token: EventToken,
    ) -> Result<Option<(Event<'_>, Publisher<'_, 'b>)>, ProtocolError> {
        if !self.events.is_current(&token) {
            return Ok(None);
        }
        let pending = self.events.take();
        let Some((event, answer, mut publisher)) = self.borrow_event(pending)? else {
            return Ok(None);
        };
        publisher.acknowledge(answer);
        Ok(Some((event, publisher)))
    }

    /// Passes the pending event to a handler. Returns its answer, or `None` if the event was discarded with its
    /// connection.
    ///
    /// # Errors
    ///
    /// As [`Self::event`].
    #[expect(clippy::needless_pass_by_value, reason = "a token is used once")]
    pub(crate) fn handle_event(
        &mut self,
        token: EventToken,
        handler: &mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'b>) -> Handled,
    ) -> Result<Option<Handled>, ProtocolError> {
        if !self.events.is_current(&token) {
            return Ok(None);
        }
        let pending = self.events.take();
        let Some((event, answer, mut publisher)) = self.borrow_event(pending)? else {
            return Ok(None);
        };
        let can_wait = matches!(
            event,
            Event::Message(_) | Event::Chunk(_) | Event::CheckpointDue
        );
        let mut handled = handler(event, &mut publisher);
        match handled {
            Handled::NotNow if can_wait => {
                self.receiver.return_borrowed();
                if pending.is_checkpoint() {
                    self.sender.changes.mark_unsaved();
                } else {
                    self.events.push(pending);
                }
                return Ok(Some(handled));
            }
            Handled::NotNow => handled = Handled::Done,
            Handled::SkipRest | Handled::Done => {}
        }
        publisher.acknowledge(answer);
        if handled == Handled::SkipRest {
            self.skip_message();
        }
        Ok(Some(handled))
    }

    /// Returns the event that was taken from the queue, the message that must be acknowledged, and a publisher.
    fn borrow_event(
        &mut self,
        pending: PendingEvent,
    ) -> Result<Option<(Event<'_>, Option<Delivery>, Publisher<'_, 'b>)>, ProtocolError> {
        let Self {
            link,
            timers,
            received_ids,
            sender,
            receiver,
            ..
        } = self;
        let receive_capacity = receiver.capacity();
        let mut answer = None;
        let event = match pending {
            PendingEvent::None => return Ok(None),
            PendingEvent::Connected => Event::Connected {
                session_present: link.session_present,
                unknown_session: link.unknown_session,
                connect_unanswered: link.take_connect_unanswered(),
            },
            PendingEvent::Message => {
                let (message, delivery) = borrow_message(receiver, link)?;
                answer = Some(delivery);
                Event::Message(message)
            }
            PendingEvent::Chunk => {
                let Some(chunk) = borrow_chunk(receiver) else {
                    return Ok(None);
                };
                answer = chunk.is_last().then_some(chunk.delivery);
                Event::Chunk(chunk)
            }
            PendingEvent::TopicTooLong { len } => Event::TopicTooLong {
                len: usize::from(len),
            },
            PendingEvent::Completed(id) => match take_report(&mut sender.in_flight, id) {
                Some(event) => event,
                None => return Ok(None),
            },
            PendingEvent::Suback(id) => borrow_suback(id, receiver, sender, link)?,
            PendingEvent::ChunksAborted => Event::ChunksAborted,
            PendingEvent::Qos0Dropped(count) => Event::Qos0Dropped(count),
            PendingEvent::PayloadNeeded(id) => Event::PayloadNeeded(id),
            PendingEvent::Checkpoint => {
                sender.changes.mark_saved();
                Event::CheckpointDue
            }
        };
        let publisher = Publisher {
            link,
            timers,
            received_ids,
            sender,
            receive_capacity,
        };
        Ok(Some((event, answer, publisher)))
    }

    /// Discards the pending event that [`Self::poll`] announced. A message is not acknowledged, so that the server
    /// delivers it again.
    pub(crate) fn discard_event(&mut self, token: EventToken) -> Result<(), ProtocolError> {
        if self.events.discard_message() {
            self.receiver.discard_message();
            return Ok(());
        }
        self.event(token).map(drop)
    }
}

impl Publisher<'_, '_> {
    /// Queues the acknowledgement of a message that the caller was given.
    fn acknowledge(&mut self, delivery: Option<Delivery>) {
        if let Some(delivery) = delivery {
            let (qos, id) = (delivery.qos(), delivery.packet_id());
            acknowledge_message(qos, id, self.sender, self.received_ids);
        }
    }
}

/// Returns the event for the end of the request with this id.
fn take_report<'e>(in_flight: &mut InFlight<'_>, id: PacketId) -> Option<Event<'e>> {
    Some(match in_flight.take_report(id)? {
        Report::Puback => Event::Puback(id),
        Report::Pubcomp => Event::Pubcomp(id),
        Report::Unsuback => Event::Unsuback(id),
        Report::OutcomeUnknown => Event::OutcomeUnknown(id),
        Report::RequestRejected => Event::RequestRejected(id),
        Report::PublishDiscarded => Event::PublishDiscarded(id),
        Report::DeliveryUnknown => Event::DeliveryUnknown(id),
    })
}

/// Returns the SUBACK in the receive buffer. It has one code for each filter \[MQTT-3.8.4-5\], in their order
/// \[MQTT-3.9.3-1\].
fn borrow_suback<'e, 'b: 'e>(
    id: PacketId,
    receiver: &'e mut Receiver<'_>,
    sender: &mut Sender<'b>,
    link: &mut Link,
) -> Result<Event<'e>, ProtocolError> {
    let is_standing = sender.in_flight.is_standing(id);
    let filters = sender.subscriptions.current();
    let expected = if is_standing {
        filters.len()
    } else {
        sender
            .buffer
            .body_of(id)
            .map_or(0, raw_packet::filter_count)
    };
    let suback = match Suback::decode_body(receiver.borrow_packet()) {
        Ok(suback) => suback,
        Err(error) => return Err(link.reject_event(error.into())),
    };
    let got = suback.codes().len();
    if got != expected {
        return Err(link.reject_event(ProtocolError::SubackCount { expected, got }));
    }
    let codes = suback.codes();
    if is_standing {
        sender.on_subscribed(codes);
        return Ok(Event::Subscribed { filters, codes });
    }
    sender.finish_subscribe(id);
    Ok(Event::Suback(id, codes))
}

/// Returns the message in the receive buffer. There is room for its id and its acknowledgement.
fn borrow_message<'e>(
    receiver: &'e mut Receiver<'_>,
    link: &mut Link,
) -> Result<(Message<'e>, Delivery), ProtocolError> {
    let header = receiver.header();
    let body = receiver.borrow_packet();
    let (message, before) = match PublishHeader::decode_body(&header, body) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(link.reject_event(DecodeError::Truncated.into())),
        Err(error) => return Err(link.reject_event(error.into())),
    };
    let payload = body.get(before..).unwrap_or_default();
    let shown = Message::from(Publish {
        topic: message.topic,
        payload,
        delivery: message.delivery,
        retain: message.retain,
    });
    Ok((shown, message.delivery))
}

/// Returns the part of a message in the receive buffer. With the last part, the message is acknowledged.
fn borrow_chunk<'e>(receiver: &'e mut Receiver<'_>) -> Option<Chunk<'e>> {
    let (message, offset, bytes) = receiver.borrow_chunk()?;
    Some(Chunk {
        topic: message.topic.as_str(),
        delivery: message.delivery,
        retain: message.retain,
        offset,
        total: message.payload_len,
        bytes,
    })
}
