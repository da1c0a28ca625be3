//! What the caller asks for: publish, subscribe, unsubscribe, ping, disconnect.

use super::{Link, RequestError, Session, event::Message, inflight::State};
use crate::codec::{
    Delivery, EncodeError, PacketId, Publish, QoS, TopicName, subscribe, unsubscribe,
};

const PINGREQ: [u8; 2] = [0xC0, 0];

impl Session<'_> {
    /// Queues a message; at QoS 1 and 2 the id under which [`Event::Puback`](super::Event::Puback) or [`Event::Pubcomp`](super::Event::Pubcomp) will report it.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, RequestError> {
        let topic = TopicName::new(message.topic).map_err(EncodeError::Topic)?;
        let publish = Publish {
            topic,
            payload: message.payload,
            delivery: Delivery::AtMostOnce,
            retain: message.retain,
        };
        let Some(state) = State::of_publish(message.qos) else {
            self.check_open()?;
            self.outbound
                .push(|free| publish.encode(free).map(<[u8]>::len))?;
            return Ok(None);
        };
        self.request(state, |id, free| {
            let delivery = state.delivery(id);
            Publish {
                delivery,
                ..publish
            }
            .encode(free)
            .map(<[u8]>::len)
        })
        .map(Some)
    }

    /// Queues a SUBSCRIBE for one or more topic filters, each with the highest QoS wanted; [`Event::Suback`](super::Event::Suback) brings
    /// the answers, in the same order, under the id returned.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, RequestError> {
        self.request(State::Suback, |id, free| {
            subscribe::encode(id, filters.iter().copied(), free)
        })
    }

    /// Queues an UNSUBSCRIBE for one or more topic filters; [`Event::Unsuback`](super::Event::Unsuback) answers it under the id returned.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing was queued, and the connection is fine.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, RequestError> {
        self.request(State::Unsuback, |id, free| {
            unsubscribe::encode(id, filters.iter().copied(), free)
        })
    }

    /// Queues a PINGREQ. Keep alive needs no help from the caller; this asks whether the server is there right now.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotConnected`] before CONNACK; [`RequestError::LaneFull`] while too much is queued.
    pub fn ping(&mut self) -> Result<(), RequestError> {
        self.check_open()?;
        if self.link != Link::Up {
            return Err(RequestError::NotConnected);
        }
        // One place is kept for the answer to a packet at hand.
        if !self.outbound.lane_has_room(2) {
            return Err(RequestError::LaneFull);
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
        if self.outbound.is_attended() {
            return Err(RequestError::PayloadPending);
        }
        self.outbound.push_disconnect();
        self.leaving = true;
        Ok(())
    }

    /// Queues a packet with an id of its own and takes a slot for it.
    fn request(
        &mut self,
        state: State,
        encode: impl Fn(PacketId, &mut [u8]) -> Result<usize, EncodeError>,
    ) -> Result<PacketId, RequestError> {
        let id = self.free_slot()?;
        self.outbound.push(|free| encode(id, free))?;
        self.take_slot(id, state);
        Ok(id)
    }

    /// The id that the next request gets, if there is a slot for it.
    pub(super) fn free_slot(&self) -> Result<PacketId, RequestError> {
        self.check_open()?;
        if self.inflight.is_full() {
            let capacity = self.inflight.capacity();
            return Err(RequestError::InflightFull { capacity });
        }
        Ok(self.inflight.free_id())
    }

    pub(super) fn take_slot(&mut self, id: PacketId, state: State) {
        self.inflight.insert(id, state);
        self.dirty |= matches!(state, State::Puback | State::Pubrec);
    }

    pub(super) fn check_open(&self) -> Result<(), RequestError> {
        if self.leaving || matches!(self.link, Link::Down(_)) {
            return Err(RequestError::NotConnected);
        }
        if self.outbound.in_payload() {
            return Err(RequestError::PayloadPending);
        }
        Ok(())
    }

    pub(super) fn queue_ping(&mut self) {
        if self.outbound.push_lane(&PINGREQ) {
            self.keep_alive.ping_queued(self.outbound.lane_len());
        }
    }
}
