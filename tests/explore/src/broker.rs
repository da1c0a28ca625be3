//! A server for one client. It follows the specification.

use crate::{
    finding::{Finding, Kind, require},
    setup::Setup,
    wire::{Filters, Packet, Publish},
};

#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Broker {
    /// Number of sessions that have begun.
    pub(crate) epoch: u8,
    kept: Option<Kept>,
    /// Number of receipts of each message of the client in this session, at most 2.
    pub(crate) arrived: Vec<u8>,
    /// Messages of the client that were received in any session.
    pub(crate) ever: Vec<bool>,
    /// Messages to the client that were lost with a session.
    pub(crate) lost: Vec<bool>,
    connection: Option<Connection>,
}

/// Session state (section 4.1).
#[derive(Clone, Hash, Debug, Default)]
struct Kept {
    queue: Vec<u8>,
    out: Vec<Out>,
    /// QoS 2 messages that the client has not released: id and message.
    received: Vec<(u16, u8)>,
    /// Filters, each with the granted QoS.
    subscriptions: Vec<(u8, u8)>,
}

/// A message in flight to the client.
#[derive(Clone, Copy, Hash, Debug)]
struct Out {
    id: u16,
    message: u8,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Publish,
    Pubrel,
}

/// Acknowledgements that the client must send on this connection, in order [MQTT-4.6.0-2] [MQTT-4.6.0-3].
#[derive(Clone, Hash, Debug, Default)]
struct Connection {
    pubacks: Vec<u16>,
    pubrecs: Vec<u16>,
    pubcomps: Vec<u16>,
}

impl Broker {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            arrived: vec![0; setup.ups.len()],
            ever: vec![false; setup.ups.len()],
            lost: vec![false; setup.downs.len()],
            ..Self::default()
        }
    }

    pub(crate) fn has_session(&self) -> bool {
        self.kept.is_some()
    }

    /// Returns `true` if the client is subscribed to this filter at this QoS.
    pub(crate) fn is_subscribed(&self, filter: (u8, u8)) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.subscriptions.contains(&filter))
    }

    /// Answers a SUBSCRIBE: grants the requested QoS, or refuses the first filter.
    pub(crate) fn subscribe(
        &mut self,
        id: u16,
        Filters(filters): Filters,
        refuses: bool,
    ) -> Packet {
        let mut codes = filters;
        if refuses && let [Some((_, code)), _] = &mut codes {
            *code = 0x80;
        }
        if let Some(kept) = &mut self.kept {
            let granted = codes.iter().flatten().filter(|(_, code)| *code < 3);
            for (letter, qos) in granted {
                kept.subscriptions.retain(|(known, _)| known != letter);
                kept.subscriptions.push((*letter, *qos));
            }
            kept.subscriptions.sort_unstable();
        }
        Packet::Suback(id, Filters(codes))
    }

    pub(crate) fn is_idle(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_none_or(|kept| kept.queue.is_empty() && kept.out.is_empty())
    }

    /// Returns `true` if the server must resend both, and can begin with the PUBLISHes or with the PUBRELs.
    pub(crate) fn has_choice(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| {
            let pubrels = kept.out.iter().filter(|out| out.step == Step::Pubrel);
            let pubrels = pubrels.count();
            pubrels > 0 && pubrels < kept.out.len()
        })
    }

    /// Returns `true` if a PUBLISH in flight to the client has a wanted message.
    pub(crate) fn has_unsent(&self, wanted: impl Fn(u8) -> bool) -> bool {
        self.kept.as_ref().is_some_and(|kept| {
            let mut out = kept.out.iter();
            out.any(|out| out.step == Step::Publish && wanted(out.message))
        })
    }

    pub(crate) fn disconnected(&mut self) {
        self.connection = None;
    }

    pub(crate) fn forget(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        for message in kept.out.iter().map(|out| out.message).chain(kept.queue) {
            self.lost[index_of_down(message)] = true;
        }
        self.arrived.fill(0);
    }

    /// Queues a message to the client.
    pub(crate) fn offer(&mut self, setup: &Setup, message: u8) -> Vec<Packet> {
        let Some(kept) = &mut self.kept else {
            return vec![];
        };
        if self.connection.is_none() && setup.down(message).qos == 0 {
            return vec![];
        }
        kept.queue.push(message);
        self.pump(setup)
    }

    /// Sends queued messages, as far as the window allows.
    fn pump(&mut self, setup: &Setup) -> Vec<Packet> {
        let mut packets = vec![];
        let (Some(kept), Some(connection)) = (&mut self.kept, &mut self.connection) else {
            return packets;
        };
        while kept.out.len() < setup.window
            && let Some(message) = kept.queue.first().copied()
        {
            kept.queue.remove(0);
            let down = setup.down(message);
            let mut id = 0;
            if down.qos > 0 {
                id = (1..)
                    .find(|id| kept.out.iter().all(|out| out.id != *id))
                    .unwrap_or(1);
                kept.out.push(Out {
                    id,
                    message,
                    step: Step::Publish,
                });
            }
            packets.push(publish(setup, message, id, false, connection));
        }
        packets
    }

    /// Handles a packet and returns the packets to be sent.
    pub(crate) fn handle(
        &mut self,
        setup: &Setup,
        packet: Packet,
        publishes_first: bool,
    ) -> Result<Vec<Packet>, Finding> {
        if packet == Packet::Connect {
            require!(
                self.connection.is_none(),
                Kind::Forbidden,
                "a second CONNECT"
            );
            return Ok(self.connect(setup, publishes_first));
        }
        let (Some(connection), Some(kept)) = (&mut self.connection, &mut self.kept) else {
            return Err(Finding::new(
                Kind::Forbidden,
                format!("{packet:?} before CONNECT"),
            ));
        };
        match packet {
            Packet::Publish(publish) => return self.publish(publish),
            Packet::Puback(id) => {
                require!(
                    first(&mut connection.pubacks) == Some(id),
                    Kind::Order,
                    "PUBACK {id}"
                );
                kept.out.retain(|out| out.id != id);
            }
            Packet::Pubrec(id) => {
                require!(
                    first(&mut connection.pubrecs) == Some(id),
                    Kind::Order,
                    "PUBREC {id}"
                );
                if let Some(out) = kept.out.iter_mut().find(|out| out.id == id) {
                    out.step = Step::Pubrel;
                }
                connection.pubcomps.push(id);
                return Ok(vec![Packet::Pubrel(id)]);
            }
            Packet::Pubcomp(id) => {
                require!(
                    first(&mut connection.pubcomps) == Some(id),
                    Kind::Order,
                    "PUBCOMP {id}"
                );
                kept.out.retain(|out| out.id != id);
            }
            Packet::Pubrel(id) => {
                kept.received.retain(|(received, _)| *received != id);
                return Ok(vec![Packet::Pubcomp(id)]);
            }
            Packet::Pingreq => return Ok(vec![Packet::Pingresp]),
            other => {
                return Err(Finding::new(
                    Kind::Forbidden,
                    format!("{other:?} from a client"),
                ));
            }
        }
        Ok(self.pump(setup))
    }

    /// [MQTT-4.4.0-1] Resends the unacknowledged PUBLISHes and PUBRELs. Each kind keeps its order.
    fn connect(&mut self, setup: &Setup, publishes_first: bool) -> Vec<Packet> {
        let session_present = self.kept.is_some();
        if !session_present {
            self.epoch += 1;
        }
        let kept = self.kept.get_or_insert_default();
        let mut connection = Connection::default();
        let mut packets = vec![Packet::Connack { session_present }];
        let mut steps = [Step::Pubrel, Step::Publish];
        if publishes_first {
            steps.reverse();
        }
        for step in steps {
            for out in kept.out.iter().filter(|out| out.step == step) {
                packets.push(match step {
                    Step::Publish => publish(setup, out.message, out.id, true, &mut connection),
                    Step::Pubrel => {
                        connection.pubcomps.push(out.id);
                        Packet::Pubrel(out.id)
                    }
                });
            }
        }
        self.connection = Some(connection);
        packets.extend(self.pump(setup));
        packets
    }

    fn publish(&mut self, publish: Publish) -> Result<Vec<Packet>, Finding> {
        let index = index_of_up(publish.message);
        let id = publish.id;
        let Some(kept) = &mut self.kept else {
            return Ok(vec![]);
        };
        let known = kept.received.iter().find(|(received, _)| *received == id);
        require!(
            known.is_none_or(|(_, message)| publish.qos == 2 && *message == publish.message),
            Kind::IdInUse,
            "id {id} is in flight"
        );
        if publish.qos == 2 && known.is_some() {
            return Ok(vec![Packet::Pubrec(id)]);
        }
        self.ever[index] = true;
        self.arrived[index] = self.arrived[index].saturating_add(1).min(2);
        match publish.qos {
            0 => Ok(vec![]),
            1 => Ok(vec![Packet::Puback(id)]),
            _ => {
                require!(
                    self.arrived[index] == 1,
                    Kind::Twice,
                    "message {index} arrived twice"
                );
                kept.received.push((id, publish.message));
                Ok(vec![Packet::Pubrec(id)])
            }
        }
    }
}

fn publish(setup: &Setup, message: u8, id: u16, dup: bool, connection: &mut Connection) -> Packet {
    let down = setup.down(message);
    match down.qos {
        0 => {}
        1 => connection.pubacks.push(id),
        _ => connection.pubrecs.push(id),
    }
    Packet::Publish(Publish {
        qos: down.qos,
        dup,
        id,
        message,
        is_long: down.is_long,
    })
}

fn first(ids: &mut Vec<u16>) -> Option<u16> {
    (!ids.is_empty()).then(|| ids.remove(0))
}

/// Returns the index of a message from the client. These messages are numbered from 1.
pub(crate) fn index_of_up(message: u8) -> usize {
    usize::from(message).wrapping_sub(1)
}

/// Returns the index of a message to the client. These messages are numbered from 129.
pub(crate) fn index_of_down(message: u8) -> usize {
    usize::from(message).wrapping_sub(129)
}
