//! The requests of the caller: publish, subscribe, unsubscribe, ping, disconnect.

use super::{
    error::RequestError,
    event::Message,
    image::{ImageError, Saved, Snapshot},
    in_flight::SlotState,
    link::Link,
    raw_packet,
    received_ids::ReceivedIds,
    send::{Encode, Sender},
    state::{Session, queue_ping},
    timers::Timers,
};
use crate::codec::{
    Delivery, EncodeError, PacketId, PublishHeader, QoS, TopicName, subscribe, unsubscribe,
};

/// A handle that queues requests of a [`Session`], and saves it. It borrows no part that an [event](super::Event)
/// borrows, so a handler can answer a message with the payload of that message.
///
/// Nothing is sent before the handler has returned.
pub struct Publisher<'a, 'b> {
    pub(super) link: &'a Link,
    pub(super) timers: &'a mut Timers,
    pub(super) received_ids: &'a mut ReceivedIds<'b>,
    pub(super) sender: &'a mut Sender<'b>,
    /// Size of the receive buffer in bytes.
    pub(super) receive_capacity: usize,
}

/// The error of a request that must wait because others have waited longer.
#[cfg(feature = "async")]
const NOT_IN_TURN: RequestError = RequestError::SendBufferFull { needed: 0, free: 0 };

impl core::fmt::Debug for Publisher<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher<'_, '_> {
    /// As [`Session::publish`].
    ///
    /// # Errors
    ///
    /// As [`Session::publish`].
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, RequestError> {
        let len = message.payload.len();
        self.publish_payload(message, len, Some(message.payload))
    }

    /// As [`Session::subscribe`].
    ///
    /// # Errors
    ///
    /// As [`Session::subscribe`].
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, RequestError> {
        // [MQTT-3.8.4-5] The SUBACK has one code for each filter.
        let needed = raw_packet::suback_len(filters.len());
        let capacity = self.receive_capacity;
        if needed > capacity {
            return Err(RequestError::AnswerTooLarge { needed, capacity });
        }
        let state = Some(SlotState::Suback);
        self.request(state, Some(&[]), &|id, out| {
            subscribe::encode(id, filters.iter().copied(), out)
        })
    }

    /// As [`Session::unsubscribe`].
    ///
    /// # Errors
    ///
    /// As [`Session::unsubscribe`].
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, RequestError> {
        let state = Some(SlotState::Unsuback);
        self.request(state, Some(&[]), &|id, out| {
            unsubscribe::encode(id, filters.iter().copied(), out)
        })
    }

    /// As [`Session::ping`].
    ///
    /// # Errors
    ///
    /// As [`Session::ping`].
    pub fn ping(&mut self) -> Result<(), RequestError> {
        self.check_open()?;
        if !self.link.is_connected() {
            return Err(RequestError::NotConnected);
        }
        queue_ping(self.sender, self.timers);
        Ok(())
    }

    /// As [`Session::save`].
    ///
    /// # Errors
    ///
    /// As [`Session::save`].
    pub fn save(&self, out: &mut [u8]) -> Result<Saved, ImageError> {
        let snapshot = Snapshot {
            link: self.link,
            received_ids: self.received_ids,
            sender: self.sender,
        };
        snapshot.save(out)
    }

    /// As [`Session::saved`].
    pub fn saved(&mut self, generation: u16) {
        self.sender.changes.mark_saved_up_to(generation);
    }

    /// As [`Session::discard_publish`].
    ///
    /// # Errors
    ///
    /// As [`Session::discard_publish`].
    pub fn discard_publish(&mut self, id: PacketId) -> Result<(), RequestError> {
        self.sender.discard_publish(id, self.link.is_connecting())
    }

    pub(super) fn publish_payload(
        &mut self,
        message: &Message<'_>,
        payload_len: usize,
        payload: Option<&[u8]>,
    ) -> Result<Option<PacketId>, RequestError> {
        let topic = TopicName::new(message.topic).map_err(EncodeError::Topic)?;
        let state = SlotState::of_publish(message.qos);
        if state.is_none() || payload.is_none() || !self.is_offline() {
            self.check_open()?;
        }
        let id = self.sender.request(state, payload, &|packet_id, out| {
            let dup = false;
            let header = PublishHeader {
                topic,
                delivery: match state {
                    None => Delivery::AtMostOnce,
                    Some(SlotState::Puback) => Delivery::AtLeastOnce { packet_id, dup },
                    Some(_) => Delivery::ExactlyOnce { packet_id, dup },
                },
                retain: message.retain,
                payload_len,
            };
            header.encode(out).map(<[u8]>::len)
        })?;
        Ok(state.map(|_| id))
    }

    /// Returns the length of a PUBLISH that will be queued later, or an error if it can never be queued.
    #[cfg(feature = "async")]
    fn check_publish(
        &self,
        message: &Message<'_>,
        payload_len: usize,
        is_streamed: bool,
    ) -> Result<usize, RequestError> {
        let topic = TopicName::new(message.topic).map_err(EncodeError::Topic)?;
        let is_kept = message.qos != QoS::AtMostOnce;
        if !is_kept || is_streamed || !self.is_offline() {
            self.check_open()?;
        }
        let (packet_id, dup) = (PacketId::MIN, false);
        let header = PublishHeader {
            topic,
            delivery: match message.qos {
                QoS::AtMostOnce => Delivery::AtMostOnce,
                QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
                QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
            },
            retain: message.retain,
            payload_len,
        };
        let payload_len = if is_streamed { 0 } else { payload_len };
        let needed = header.encoded_len()?.saturating_add(payload_len);
        let capacity = self.sender.buffer.packet_capacity();
        if needed > capacity {
            return Err(RequestError::PacketTooLarge { needed, capacity });
        }
        Ok(needed)
    }

    /// Returns `true` if messages at QoS 1 and 2 are queued for the next connection, because there is none. Room for its
    /// CONNECT is reserved.
    fn is_offline(&self) -> bool {
        self.link.can_queue_offline() && self.sender.buffer.has_connect()
    }

    /// Queues a SUBSCRIBE or UNSUBSCRIBE with [`Sender::request`], if there is a connection for it.
    fn request(
        &mut self,
        state: Option<SlotState>,
        payload: Option<&[u8]>,
        encode: &Encode<'_>,
    ) -> Result<PacketId, RequestError> {
        self.check_open()?;
        self.sender.request(state, payload, encode)
    }

    pub(super) fn check_open(&self) -> Result<(), RequestError> {
        if self.link.disconnecting || !self.link.can_send() {
            return Err(RequestError::NotConnected);
        }
        Ok(())
    }
}

impl<'b> Session<'b> {
    /// Returns a handle that queues requests.
    pub(crate) fn publisher(&mut self) -> Publisher<'_, 'b> {
        Publisher {
            link: &self.link,
            timers: &mut self.timers,
            received_ids: &mut self.received_ids,
            sender: &mut self.sender,
            receive_capacity: self.receiver.capacity(),
        }
    }

    /// Queues a PUBLISH. At QoS 1 and 2, returns the packet id that [`Event::Puback`](super::Event::Puback) or
    /// [`Event::Pubcomp`](super::Event::Pubcomp) will report.
    ///
    /// Without a connection, a message at QoS 1 or 2 is queued for the next one. The last [`Self::connect`] or
    /// [`Self::prepare`] must have had Clean Session 0.
    ///
    /// A topic, filter, client id or will topic should contain no control characters (U+0001 to U+001F, U+007F to
    /// U+009F). It should contain no non-characters such as U+FFFF (section 1.5.3). The session does not refuse them,
    /// but a server may close the connection, as mosquitto does.
    ///
    /// # Errors
    ///
    /// Nothing was queued, and the connection is unchanged.
    ///
    /// - [`RequestError::NotConnected`]: there is no connection, and the message cannot be queued for the next one. Or
    ///   DISCONNECT was queued.
    /// - [`RequestError::InflightFull`], [`RequestError::SendBufferFull`]: there is no room now.
    /// - [`RequestError::PacketTooLarge`]: the message can never fit into the send buffer.
    /// - [`RequestError::Encode`]: the topic is not valid, or the packet is too long.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, RequestError> {
        self.publisher().publish(message)
    }

    /// As [`Self::publish`], if `is_turn`. If it is not its turn, or if all in-flight slots are in use, a permanent
    /// error takes precedence over lack of room.
    #[cfg(feature = "async")]
    pub(crate) fn publish_in_turn(
        &mut self,
        message: &Message<'_>,
        is_turn: bool,
    ) -> Result<Option<PacketId>, RequestError> {
        let len = message.payload.len();
        self.publish_payload_in_turn(message, len, Some(message.payload), is_turn)
    }

    #[cfg(feature = "async")]
    pub(super) fn publish_payload_in_turn(
        &mut self,
        message: &Message<'_>,
        payload_len: usize,
        payload: Option<&[u8]>,
        is_turn: bool,
    ) -> Result<Option<PacketId>, RequestError> {
        let mut publisher = self.publisher();
        let result = if is_turn {
            publisher.publish_payload(message, payload_len, payload)
        } else {
            Err(NOT_IN_TURN)
        };
        match result {
            Err(full @ (RequestError::InflightFull { .. } | NOT_IN_TURN)) => {
                let needed = publisher.check_publish(message, payload_len, payload.is_none())?;
                Err(match full {
                    RequestError::SendBufferFull { free, .. } => {
                        RequestError::SendBufferFull { needed, free }
                    }
                    full => full,
                })
            }
            result => result,
        }
    }

    /// Returns an error if it is not the turn of a request. A permanent error takes precedence over lack of room.
    #[cfg(feature = "async")]
    pub(crate) fn check_turn(&mut self, is_turn: bool) -> Result<(), RequestError> {
        if is_turn {
            return Ok(());
        }
        self.publisher().check_open()?;
        Err(NOT_IN_TURN)
    }

    /// Queues a SUBSCRIBE for one or more topic filters with their maximum QoS, and returns its packet id.
    /// [`Event::Suback`](super::Event::Suback) reports the return codes in the same order.
    ///
    /// # Errors
    ///
    /// Nothing was queued, and the connection is unchanged.
    ///
    /// - [`RequestError::NotConnected`]: there is no connection, or DISCONNECT was queued.
    /// - [`RequestError::InflightFull`], [`RequestError::SendBufferFull`]: there is no room now.
    /// - [`RequestError::PacketTooLarge`], [`RequestError::AnswerTooLarge`]: the packet can never fit into the send
    ///   buffer, or its SUBACK into the receive buffer.
    /// - [`RequestError::Encode`]: there is no filter, or one is not valid.
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, RequestError> {
        self.publisher().subscribe(filters)
    }

    /// Queues an UNSUBSCRIBE for one or more topic filters, and returns the packet id that
    /// [`Event::Unsuback`](super::Event::Unsuback) will report.
    ///
    /// # Errors
    ///
    /// As [`Self::subscribe`], but never [`RequestError::AnswerTooLarge`].
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, RequestError> {
        self.publisher().unsubscribe(filters)
    }

    /// Discards a message at QoS 1 or 2 that the server has not acknowledged. Use it if the server closes every
    /// connection at that message, or if [`Event::PayloadNeeded`](super::Event::PayloadNeeded) asks for a payload that
    /// does not exist any more.
    ///
    /// [`Event::PublishDiscarded`](super::Event::PublishDiscarded) reports it. If the message was sent, its id stays
    /// reserved until that event. At QoS 1 the event follows at the end of the connection, at QoS 2 when the server has
    /// forgotten the session. Four such ids at QoS 2 occupy no in-flight slot. Each further one occupies a slot, until a
    /// connect with Clean Session 1. If the server acknowledges the message nevertheless, it is reported as delivered,
    /// unless all slots are in use at that moment.
    ///
    /// # Errors
    ///
    /// - [`RequestError::NotKept`]: the session does not know the id, or the server has received the message.
    /// - [`RequestError::PartlySent`]: the message is being sent, or was sent and CONNACK was not received yet. Retry
    ///   when it was written and the server has accepted the connection.
    pub fn discard_publish(&mut self, id: PacketId) -> Result<(), RequestError> {
        self.publisher().discard_publish(id)
    }

    /// Queues a PINGREQ, to check that the server responds. Keep alive does not need this.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotConnected`]: CONNACK was not received.
    pub fn ping(&mut self) -> Result<(), RequestError> {
        self.publisher().ping()
    }

    /// Queues a DISCONNECT after everything else. Nothing can be queued after it \[MQTT-3.14.4-2\].
    ///
    /// # Errors
    ///
    /// - [`RequestError::NotConnected`]: there is no connection, or DISCONNECT was queued before.
    /// - [`RequestError::PayloadPending`]: the caller is providing a payload.
    pub fn disconnect(&mut self) -> Result<(), RequestError> {
        self.publisher().check_open()?;
        if self.sender.buffer.has_source() {
            return Err(RequestError::PayloadPending);
        }
        self.sender.disconnect();
        self.link.disconnecting = true;
        Ok(())
    }
}
