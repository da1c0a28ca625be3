//! The sessions of all clients, and the retained messages.

use std::{collections::HashMap, sync::mpsc::SyncSender};

use umqtt::codec::{
    Connack, Connect, Delivery, Packet, Puback, Pubcomp, Publish, Pubrec, QoS, Suback,
    SubackReturnCode, Subscribe, TopicName, Unsuback,
};

use crate::session::Session;

/// A message without its way to a client.
#[derive(Clone)]
pub(crate) struct Stored {
    topic: String,
    payload: Vec<u8>,
    pub(crate) qos: QoS,
    retain: bool,
}

impl Stored {
    /// Returns the will of a client.
    pub(crate) fn will(connect: &Connect<'_>) -> Option<Self> {
        let will = connect.will?;
        Some(Self {
            topic: will.topic.to_owned(),
            payload: will.message.to_owned(),
            qos: will.qos,
            retain: will.retain,
        })
    }

    pub(crate) fn topic(&self) -> Option<TopicName<'_>> {
        TopicName::new(&self.topic).ok()
    }

    pub(crate) fn publish(&self, delivery: Delivery, retain: bool) -> Option<Publish<'_>> {
        Some(Publish {
            delivery,
            retain,
            ..Publish::new(self.topic()?, &self.payload)
        })
    }
}

#[derive(Default)]
pub(crate) struct State {
    /// By client id.
    sessions: HashMap<String, Session>,
    /// By topic.
    retained: HashMap<String, Stored>,
    /// Number of connections so far.
    connections: u64,
}

impl State {
    /// Begins a connection. Returns its number. An older connection of this client is closed [MQTT-3.1.4-2].
    pub(crate) fn connect(&mut self, connect: &Connect<'_>, sender: SyncSender<Vec<u8>>) -> u64 {
        self.connections = self.connections.wrapping_add(1);
        let mut client_id = connect.client_id.to_owned();
        if client_id.is_empty() {
            client_id = format!("anonymous {}", self.connections);
        }
        let stored = self.sessions.remove(&client_id);
        let stored = stored.filter(|old| !old.is_clean && !connect.clean_session);
        let session_present = stored.is_some();
        let mut session = stored.unwrap_or_default();
        session.is_clean = connect.clean_session;
        session.number = self.connections;
        let connack = Connack::Accepted { session_present };
        session.connect(sender, encode(&Packet::Connack(connack)));
        self.sessions.insert(client_id, session);
        self.connections
    }

    /// Ends a connection, unless the client has a newer one.
    pub(crate) fn disconnect(&mut self, number: u64) {
        self.sessions
            .retain(|_, session| session.number != number || !session.is_clean);
        if let Some(session) = self.session(number) {
            session.connection = None;
        }
    }

    fn session(&mut self, number: u64) -> Option<&mut Session> {
        let mut sessions = self.sessions.values_mut();
        sessions.find(|session| session.number == number)
    }

    /// Handles a packet of a connection. Returns `false` if the connection has to be closed.
    pub(crate) fn handle(&mut self, number: u64, packet: &Packet<'_>) -> bool {
        if let Packet::Publish(publish) = packet {
            return self.received(number, publish).is_some();
        }
        if let Packet::Subscribe(subscribe) = packet {
            return self.subscribe(number, subscribe).is_some();
        }
        let Some(session) = self.session(number) else {
            return false;
        };
        match *packet {
            Packet::Puback(puback) => session.acknowledged(puback.packet_id),
            Packet::Pubrec(pubrec) => session.half_acknowledged(pubrec.packet_id),
            Packet::Pubcomp(pubcomp) => session.acknowledged(pubcomp.packet_id),
            Packet::Pubrel(pubrel) => {
                session.received.remove(&pubrel.packet_id);
                session.send(encode(&Packet::Pubcomp(Pubcomp::new(pubrel.packet_id))));
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.filters() {
                    let kept = |(other, _): &(String, QoS)| other != filter.as_str();
                    session.subscriptions.retain(kept);
                }
                let unsuback = Unsuback::new(unsubscribe.packet_id());
                session.send(encode(&Packet::Unsuback(unsuback)));
            }
            Packet::Pingreq => session.send(encode(&Packet::Pingresp)),
            Packet::Disconnect => {}
            _ => return false,
        }
        true
    }

    /// Passes a message on, and acknowledges it.
    fn received(&mut self, number: u64, publish: &Publish<'_>) -> Option<()> {
        let session = self.session(number)?;
        let (answer, is_new) = match publish.delivery {
            Delivery::AtMostOnce => (None, true),
            Delivery::AtLeastOnce { packet_id, .. } => {
                (Some(Packet::Puback(Puback::new(packet_id))), true)
            }
            Delivery::ExactlyOnce { packet_id, .. } => {
                let is_new = session.received.insert(packet_id);
                (Some(Packet::Pubrec(Pubrec::new(packet_id))), is_new)
            }
        };
        if let Some(answer) = answer {
            session.send(encode(&answer));
        }
        if is_new {
            self.publish(Stored {
                topic: publish.topic.as_str().to_owned(),
                payload: publish.payload.to_owned(),
                qos: publish.delivery.qos(),
                retain: publish.retain,
            });
        }
        Some(())
    }

    /// Passes a message to all subscribers, and retains it if it says so.
    pub(crate) fn publish(&mut self, message: Stored) {
        for session in self.sessions.values_mut() {
            if let Some(granted) = session.granted(&message) {
                session.publish(&message, granted, false);
            }
        }
        if message.retain && message.payload.is_empty() {
            self.retained.remove(&message.topic);
        } else if message.retain {
            self.retained.insert(message.topic.clone(), message);
        }
    }

    fn subscribe(&mut self, number: u64, subscribe: &Subscribe<'_>) -> Option<()> {
        let retained: Vec<Stored> = self.retained.values().cloned().collect();
        let session = self.session(number)?;
        let mut codes = Vec::new();
        for (filter, qos) in subscribe.filters() {
            let kept = |(other, _): &(String, QoS)| other != filter.as_str();
            session.subscriptions.retain(kept);
            session
                .subscriptions
                .push((filter.as_str().to_owned(), qos));
            codes.push(SubackReturnCode::Granted(qos));
        }
        let suback = Suback::new(subscribe.packet_id(), &codes).ok()?;
        session.send(encode(&Packet::Suback(suback)));
        for (filter, qos) in subscribe.filters() {
            for message in &retained {
                if message.topic().is_some_and(|topic| filter.matches(topic)) {
                    session.publish(message, qos, true);
                }
            }
        }
        Some(())
    }
}

/// Returns a packet as bytes; none if it is invalid, as no packet here is.
pub(crate) fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = vec![0; packet.encoded_len().unwrap_or_default()];
    let len = packet.encode(&mut bytes).map_or(0, <[u8]>::len);
    bytes.truncate(len);
    bytes
}
