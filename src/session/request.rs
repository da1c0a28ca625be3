//! What the caller asks for: publish, subscribe, unsubscribe, ping, disconnect.

use super::{RequestError, Session, event::Message, in_flight::State, send::Encode};
use crate::codec::{
    EncodeError, PacketId, PublishHeader, QoS, TopicName, subscribe, unsubscribe, wire,
};

impl Session<'_> {
    /// Queues a message; at QoS 1 and 2 the id under which [`Event::Puback`](super::Event::Puback) or [`Event::Pubcomp`](super::Event::Pubcomp) will report it.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, RequestError> {
        self.queue_publish(message, None)
    }

    /// Queues a message, or what comes before its payload if that has this length and stays outside.
    pub(super) fn queue_publish(
        &mut self,
        message: &Message<'_>,
        outside: Option<usize>,
    ) -> Result<Option<PacketId>, RequestError> {
        let topic = TopicName::new(message.topic).map_err(EncodeError::Topic)?;
        let state = State::of_publish(message.qos);
        let payload_len = outside.unwrap_or(message.payload.len());
        let id = self.request(state, outside.is_some(), message.payload, &|id, free| {
            let header = PublishHeader {
                topic,
                delivery: State::delivery(state, id),
                retain: message.retain,
                payload_len,
            };
            header.encode(free).map(<[u8]>::len)
        })?;
        Ok(state.map(|_| id))
    }

    /// Queues a SUBSCRIBE for one or more topic filters, each with the highest QoS wanted; [`Event::Suback`](super::Event::Suback) brings
    /// the answers, in the same order, under the id returned.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, RequestError> {
        self.request(Some(State::Suback), false, &[], &|id, free| {
            subscribe::encode(id, filters.iter().copied(), free)
        })
    }

    /// Queues an UNSUBSCRIBE for one or more topic filters; [`Event::Unsuback`](super::Event::Unsuback) answers it under the id returned.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, RequestError> {
        self.request(Some(State::Unsuback), false, &[], &|id, free| {
            unsubscribe::encode(id, filters.iter().copied(), free)
        })
    }

    /// Queues a PINGREQ. Keep alive needs no help from the caller; this asks whether the server is there right now.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotConnected`] before CONNACK; [`RequestError::AckQueueFull`] while too much is queued;
    /// [`RequestError::PayloadPending`] inside a payload.
    pub fn ping(&mut self) -> Result<(), RequestError> {
        self.check_open()?;
        if !self.is_connected() {
            return Err(RequestError::NotConnected);
        }
        // One place is kept for the answer to a packet at hand.
        if !self.sender.lane_has_room(2) {
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
        if self.sender.is_attended() {
            return Err(RequestError::PayloadPending);
        }
        self.sender.push_disconnect();
        self.leaving = true;
        Ok(())
    }

    /// Queues the packet that `encode` writes and the payload behind it, of which all but that stays outside if it
    /// `is_long`. If the packet is to be answered it gets an id of its own, which is returned, and a slot.
    pub(super) fn request(
        &mut self,
        state: Option<State>,
        is_long: bool,
        payload: &[u8],
        encode: &Encode<'_>,
    ) -> Result<PacketId, RequestError> {
        self.check_open()?;
        let mut id = PacketId::MIN;
        if state.is_some() {
            if self.sender.in_flight.is_full() {
                let capacity = self.sender.in_flight.capacity();
                return Err(RequestError::InflightFull { capacity });
            }
            id = self.sender.in_flight.free_id();
        }
        if is_long && self.sender.next_long().is_some() {
            return Err(RequestError::PayloadPending);
        }
        let begin = self.sender.push(id, encode, payload)?;
        if is_long {
            self.sender.make_long(begin);
        }
        if let Some(state) = state {
            self.sender.in_flight.insert(id, state);
            self.sender.changed |= matches!(state, State::Puback | State::Pubrec);
        }
        Ok(id)
    }

    pub(super) fn check_open(&self) -> Result<(), RequestError> {
        if self.leaving || !self.is_open() {
            return Err(RequestError::NotConnected);
        }
        if self.sender.in_payload() {
            return Err(RequestError::PayloadPending);
        }
        Ok(())
    }

    pub(super) fn queue_ping(&mut self) {
        if self.sender.push_lane(&wire::PINGREQ_PACKET) {
            self.keep_alive.ping_queued(self.sender.lane_len());
        }
    }
}
