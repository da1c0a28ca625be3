//! What the caller asks for: publish, subscribe, unsubscribe, ping, disconnect.

use super::{
    RequestError,
    event::Message,
    send::{Payload, Request},
    state::Session,
};
use crate::codec::{EncodeError, PacketId, QoS, TopicName};

impl Session<'_> {
    /// Queues a message; at QoS 1 and 2 the id under which [`Event::Puback`](super::Event::Puback) or [`Event::Pubcomp`](super::Event::Pubcomp) will report it.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, RequestError> {
        self.queue_publish(message, Payload::Whole(message.payload))
    }

    /// Queues a message with this payload.
    pub(super) fn queue_publish(
        &mut self,
        message: &Message<'_>,
        payload: Payload<'_>,
    ) -> Result<Option<PacketId>, RequestError> {
        let topic = TopicName::new(message.topic).map_err(EncodeError::Topic)?;
        self.check_open()?;
        let id = self.sender.request(&Request::Publish {
            topic,
            qos: message.qos,
            retain: message.retain,
            payload,
        })?;
        Ok((message.qos != QoS::AtMostOnce).then_some(id))
    }

    /// Queues a SUBSCRIBE for one or more topic filters, each with the highest QoS wanted; [`Event::Suback`](super::Event::Suback) brings
    /// the answers, in the same order, under the id returned.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, RequestError> {
        self.check_open()?;
        self.sender.request(&Request::Subscribe(filters))
    }

    /// Queues an UNSUBSCRIBE for one or more topic filters; [`Event::Unsuback`](super::Event::Unsuback) answers it under the id returned.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, RequestError> {
        self.check_open()?;
        self.sender.request(&Request::Unsubscribe(filters))
    }

    /// Queues a PINGREQ. Keep alive needs no help from the caller; this asks whether the server is there right now.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotConnected`] before CONNACK; [`RequestError::AckQueueFull`] while too much is queued;
    /// [`RequestError::PayloadPending`] inside a payload.
    pub fn ping(&mut self) -> Result<(), RequestError> {
        self.check_open()?;
        if !self.link.is_connected() {
            return Err(RequestError::NotConnected);
        }
        // One place is kept for the answer to a packet at hand.
        if !self.sender.acks.has_room(2) {
            return Err(RequestError::AckQueueFull);
        }
        self.queue_ping();
        Ok(())
    }

    /// Queues a DISCONNECT behind everything else; nothing can be queued after it \[MQTT-3.14.4-2\].
    ///
    /// # Errors
    ///
    /// [`RequestError::NotConnected`] if there is no connection or this was called before;
    /// [`RequestError::PayloadPending`] while a payload is being handed over.
    pub fn disconnect(&mut self) -> Result<(), RequestError> {
        self.check_open()?;
        if self.sender.buffer.has_source() {
            return Err(RequestError::PayloadPending);
        }
        self.sender.disconnect();
        self.link.start_disconnect();
        Ok(())
    }

    pub(super) fn check_open(&self) -> Result<(), RequestError> {
        if self.link.is_disconnecting() || !self.link.is_open() {
            return Err(RequestError::NotConnected);
        }
        if self.sender.buffer.is_in_payload() {
            return Err(RequestError::PayloadPending);
        }
        Ok(())
    }
}
