//! Sent and received packets, and cuts of the connection in both directions.

use super::{
    World,
    model::{Up, Wait},
};
use crate::{
    broker::index_of_up,
    driver::Reason,
    finding::{Finding, Kind, require},
    fingerprint::Moment,
    wire::{self, Packet, Publish},
};

impl<const RX: usize, const TX: usize, const IF: usize, const IB: usize> World<'_, RX, TX, IF, IB> {
    /// Cuts the connection between two packets.
    pub(super) fn cut(&mut self) -> bool {
        self.model.faults -= 1;
        self.client.driver.connection_lost();
        self.over(Reason::Closed);
        true
    }

    /// Sends a part of the next piece, and cuts the connection. The broker does not handle the incomplete packet.
    pub(super) fn cut_up(&mut self, part: impl Fn(usize) -> usize) -> Result<bool, Finding> {
        let Some((len, is_payload)) = self.next_piece()? else {
            return Ok(false);
        };
        let n = part(len);
        if n > 0 {
            if is_payload {
                self.client.driver.payload_sent(n, self.now);
            } else {
                let bytes = self.client.driver.pending(self.now)[..n].to_vec();
                self.attempt(&bytes);
                self.client.driver.consume(n, self.now);
            }
        }
        Ok(self.cut())
    }

    /// Receives a part of the next packet, and cuts the connection.
    pub(super) fn cut_down(&mut self, part: impl Fn(usize) -> usize) -> Result<bool, Finding> {
        let Some(packet) = self.model.down.front() else {
            return Ok(false);
        };
        let bytes = packet.encode();
        let mut rest = &bytes[..part(bytes.len())];
        while !rest.is_empty() && self.model.is_open {
            let n = self.client.driver.receive(rest);
            if n == 0 {
                break;
            }
            rest = &rest[n..];
            if !self.setup.lazy {
                self.settle()?;
            }
        }
        if !self.model.is_open {
            return Ok(true);
        }
        Ok(self.cut())
    }

    /// Returns the length of the next bytes that can be sent at once, and `true` if they are payload.
    pub(super) fn next_piece(&mut self) -> Result<Option<(usize, bool)>, Finding> {
        let pending = self.client.driver.pending(self.now).to_vec();
        if pending.is_empty() {
            let left = self.client.driver.payload_left();
            return Ok((left > 0).then_some((left, true)));
        }
        // Records the PUBLISHes in the provided bytes. After a partly sent packet, these begin with its rest.
        if self.model.up.is_empty() {
            let mut rest = &pending[..];
            while let Some(len) = wire::packet_len(rest) {
                let packet = &rest[..len.min(rest.len())];
                if let Some(message) = self.message_in(packet) {
                    self.model.attempts[index_of_up(message)].lent = true;
                }
                rest = &rest[packet.len()..];
            }
        }
        let begun = self.model.up.len();
        let mut packet = self.model.up.clone();
        packet.extend(&pending);
        let Some(len) = wire::packet_len(&packet) else {
            return Err(Finding::new(Kind::Forbidden, format!("{packet:x?}")));
        };
        Ok(Some((len.saturating_sub(begun).min(pending.len()), false)))
    }

    /// Returns the message of a PUBLISH at QoS 1 or 2 from the client. The payload may be missing.
    pub(super) fn message_in(&self, packet: &[u8]) -> Option<u8> {
        let first = *packet.first()?;
        if first & 0xF0 != 0x30 || first & 6 == 0 {
            return None;
        }
        let id = u16::from_be_bytes([*packet.get(5)?, *packet.get(6)?]);
        self.message_of(id, Kind::Forbidden).ok()
    }

    /// Records that the first byte of a PUBLISH was sent.
    pub(super) fn attempt(&mut self, bytes: &[u8]) {
        if !self.model.up.is_empty() {
            return;
        }
        let pending = self.client.driver.pending(self.now).to_vec();
        if let Some(message) = self.message_in(&pending)
            && !bytes.is_empty()
        {
            self.model.attempts[index_of_up(message)].now = true;
        }
    }

    /// Sends the next piece. If this completes a packet, the broker handles it.
    pub(super) fn up(&mut self, publishes_first: bool, refused: bool) -> Result<bool, Finding> {
        let Some((len, is_payload)) = self.next_piece()? else {
            return Ok(false);
        };
        let driver = &mut self.client.driver;
        if is_payload {
            let Some(payload) = self.model.payload else {
                return Err(Finding::new(
                    Kind::Forbidden,
                    "a payload that is not provided",
                ));
            };
            let bytes = vec![payload.message; len];
            // The first half is sent from the caller's memory, the rest through the send buffer.
            let half = len / 2;
            driver.payload_sent(half, self.now);
            let mut at = half;
            while at < len {
                let staged = driver.stage_payload(&bytes[at..]);
                require!(staged > 0, Kind::Asleep, "no room to stage a payload");
                let pending = driver.pending(self.now).to_vec();
                require!(
                    pending == bytes[at..at + staged],
                    Kind::Forbidden,
                    "payload changed"
                );
                driver.consume(pending.len(), self.now);
                at += staged;
            }
            self.model.up.extend(bytes);
        } else {
            let bytes = driver.pending(self.now)[..len].to_vec();
            self.attempt(&bytes);
            self.client.driver.consume(len, self.now);
            self.model.up.extend(bytes);
        }
        if wire::packet_len(&self.model.up) != Some(self.model.up.len()) {
            return Ok(true);
        }
        let bytes = std::mem::take(&mut self.model.up);
        let Some(packet) = Packet::decode(&bytes) else {
            return Err(Finding::new(Kind::Forbidden, format!("{bytes:x?}")));
        };
        if let (Packet::Publish(publish), Some(payload)) = (packet, self.model.payload)
            && publish.message == payload.message
        {
            self.model.payload = None;
        }
        let is_last = !self.client.driver.has_pending();
        for packet in self.client.memory.sends(packet, is_last) {
            self.sent(packet, publishes_first, refused)?;
        }
        Ok(true)
    }

    /// Handles a packet that was sent whole.
    pub(super) fn sent(
        &mut self,
        packet: Packet,
        publishes_first: bool,
        refused: bool,
    ) -> Result<(), Finding> {
        let now = Moment(self.now);
        self.model.line.sent = now;
        match packet {
            Packet::Connect => {
                self.model.line.connected = now;
                self.model.line.waits.push((Wait::Connack, now));
            }
            Packet::Pingreq => {
                let is_first = self
                    .model
                    .line
                    .waits
                    .iter()
                    .all(|(wait, _)| *wait != Wait::Pingresp);
                if is_first {
                    self.model.line.waits.push((Wait::Pingresp, now));
                }
            }
            Packet::Publish(publish) => self.check_publish(publish)?,
            Packet::Subscribe(id, filters) => {
                self.model.line.waits.push((Wait::Suback(id), now));
                self.check_subscribe(id)?;
                if !self.model.is_broken {
                    self.model.refused -= u8::from(refused);
                    let suback = self.model.broker.subscribe(id, filters, refused);
                    self.model.down.push_back(suback);
                }
                return Ok(());
            }
            Packet::Pubrel(id) => {
                let pubrecs = &mut self.model.app.pubrecs;
                let Some(place) = pubrecs.iter().position(|(known, _)| *known == id) else {
                    return Err(Finding::new(Kind::EarlyPubrel, format!("PUBREL {id}")));
                };
                pubrecs[place].1 = true;
                let line = &mut self.model.line;
                require!(
                    line.pubrels <= place,
                    Kind::Order,
                    "PUBREL {id} after a later one"
                );
                line.pubrels = place;
                // If no slot is free, the session does not wait for the PUBCOMP of a discarded message.
                if !self.model.app.is_discarded(id) {
                    line.waits.push((Wait::Pubcomp(id), now));
                }
            }
            _ => {}
        }
        if !self.model.is_broken {
            let answers = self
                .model
                .broker
                .handle(&self.setup, packet, publishes_first)?;
            self.model.down.extend(answers);
        }
        Ok(())
    }

    /// Checks that only one SUBSCRIBE is in flight, with an unused id.
    fn check_subscribe(&self, id: u16) -> Result<(), Finding> {
        let in_use = self.model.app.ups.iter().any(|up| up.is_open_as(id));
        require!(!in_use, Kind::IdInUse, "SUBSCRIBE {id}");
        let waits = self.model.line.waits.iter();
        let subacks = waits.filter(|(wait, _)| matches!(wait, Wait::Suback(_)));
        require!(subacks.count() == 1, Kind::Forbidden, "two SUBSCRIBEs");
        Ok(())
    }

    /// Checks that a PUBLISH may be sent now, and records that its acknowledgement is awaited.
    pub(super) fn check_publish(&mut self, publish: Publish) -> Result<(), Finding> {
        let Publish {
            qos,
            dup,
            id,
            message,
            is_long,
        } = publish;
        let index = index_of_up(message);
        let expected = self.setup.ups.get(index);
        let is_known = expected.is_some_and(|up| up.qos == qos && up.is_long == is_long);
        require!(is_known, Kind::Forbidden, "{publish:?}");
        if qos == 0 {
            return Ok(());
        }
        let is_open = self.model.app.ups[index].is_open_as(id);
        require!(
            is_open,
            Kind::Twice,
            "message {message} is sent when it is not in flight"
        );
        let is_discarded = self.model.app.ups[index] == Up::Open { id, declined: true };
        require!(
            !is_discarded,
            Kind::Discarded,
            "message {message} is sent after it was discarded"
        );
        let attempt = self.model.attempts[index];
        require!(
            dup || !attempt.before,
            Kind::Dup,
            "message {message} is resent without DUP"
        );
        let may = attempt.before || attempt.lent || self.model.restored;
        require!(
            !dup || may,
            Kind::Dup,
            "message {message} is sent for the first time with DUP"
        );
        require!(
            !self.model.app.pubrecs.contains(&(id, true)),
            Kind::Twice,
            "message {message} is sent after its PUBREL [MQTT-4.3.3-1]"
        );
        let line = &mut self.model.line;
        require!(
            line.last_publish < message,
            Kind::Order,
            "message {message} after a later one"
        );
        line.last_publish = message;
        let wait = if qos == 1 {
            Wait::Puback(id)
        } else {
            Wait::Pubrec(id)
        };
        line.waits.push((wait, Moment(self.now)));
        Ok(())
    }

    /// Receives the next packet, or as much of it as the session accepts.
    pub(super) fn down(&mut self) -> Result<bool, Finding> {
        let Some(packet) = self.model.down.front().copied() else {
            return Ok(false);
        };
        let bytes = self.client.memory.arrives(packet).encode();
        if self.model.down_at == 0 {
            let Some(shown) = self.client.memory.receives(packet, self.setup.inbound) else {
                self.client.driver.connection_lost();
                self.over(Reason::NoRoom);
                return Ok(true);
            };
            for seen in shown {
                self.handle_event(seen)?;
            }
        }
        let mut moved = false;
        while self.model.down_at < bytes.len() {
            let n = self.client.driver.receive(&bytes[self.model.down_at..]);
            if n == 0 {
                break;
            }
            moved = true;
            self.model.down_at += n;
            self.model.line.came = Moment(self.now);
            if self.model.down_at == bytes.len() {
                self.model.down.pop_front();
                self.model.down_at = 0;
                self.arrived(packet);
                break;
            }
            if self.setup.lazy {
                break;
            }
            self.settle()?;
            if !self.model.is_open {
                break;
            }
        }
        Ok(moved)
    }

    /// Handles a packet that was received whole, even if the session has not handled it.
    pub(super) fn arrived(&mut self, packet: Packet) {
        let line = &mut self.model.line;
        let answered = match packet {
            Packet::Connack { .. } => Wait::Connack,
            Packet::Puback(id) => Wait::Puback(id),
            Packet::Pubrec(id) => {
                let pubrecs = &mut self.model.app.pubrecs;
                if pubrecs.iter().all(|(known, _)| *known != id) {
                    pubrecs.push((id, false));
                }
                Wait::Pubrec(id)
            }
            Packet::Pubcomp(id) => Wait::Pubcomp(id),
            Packet::Suback(id, _) => Wait::Suback(id),
            Packet::Pingresp => Wait::Pingresp,
            _ => return,
        };
        line.waits.retain(|(wait, _)| *wait != answered);
    }
}
