//! A small broker for one client. It follows the specification, and uses every freedom that the specification allows.

use std::collections::{HashMap, HashSet, VecDeque};

use fastrand::Rng;
use umqtt::codec::{
    Connack, Connect, ConnectReturnCode, Delivery, Packet, PacketId, Puback, Pubcomp, Publish,
    Pubrec, Pubrel, QoS, Suback, SubackReturnCode, Subscribe, TopicFilter, TopicName, Unsuback,
    Unsubscribe,
};

use crate::{
    ledger::{self, Ledger},
    network::{Connection, Time},
};

/// The behaviour of this broker.
pub(crate) struct Behavior {
    /// Maximum number of messages in flight to the client.
    pub(crate) window: usize,
    /// Packet ids are picked from 1 to the sum of `window` and this number.
    pub(crate) spare_ids: u16,
    /// A QoS 2 message is forwarded at PUBREL, not at PUBLISH (section 4.3.3 allows both).
    pub(crate) waits_for_pubrel: bool,
    /// Acknowledgements are sent in any order.
    pub(crate) reorders_acks: bool,
    /// It closes the connection on a PUBREL for an id that it never knew.
    pub(crate) closes_at_unknown_pubrel: bool,
    /// Maximum delays, in milliseconds.
    pub(crate) latency: Time,
    pub(crate) ack_delay: Time,
    pub(crate) connack_delay: Time,
    /// Probability that a CONNECT is refused.
    pub(crate) refuse: f64,
    /// Probability that an acknowledgement or a PUBREL is sent twice, and that a filter is refused.
    pub(crate) repeat: f64,
    /// Probability that a further message is sent at once.
    pub(crate) burst: f64,
}

pub(crate) struct Broker {
    pub(crate) behavior: Behavior,
    kept: Option<Kept>,
    links: Vec<Link>,
    /// Number of PUBRECs sent.
    pubrec_count: u64,
}

/// Session state (section 4.1).
#[derive(Default)]
struct Kept {
    /// The connection on which the session began.
    since: usize,
    filters: Vec<(String, QoS)>,
    queue: VecDeque<usize>,
    out: Vec<Out>,
    received: HashMap<PacketId, Inbound>,
    /// Ids that were received and released.
    released: HashSet<PacketId>,
}

/// A message in flight to the client.
struct Out {
    id: PacketId,
    number: usize,
    step: Step,
    sent: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Publish,
    Pubrel,
}

/// A QoS 2 message in flight from the client.
struct Inbound {
    number: usize,
    /// Index of its PUBREC, and the connection on which that was sent.
    pubrec: Option<(u64, usize)>,
}

/// A network connection, seen from the broker.
struct Link {
    connection: usize,
    unread: Vec<u8>,
    state: LinkState,
    later: Vec<(Time, Vec<u8>)>,
    /// Acknowledgements that the client must send, in order.
    pubacks: VecDeque<PacketId>,
    pubrecs: VecDeque<PacketId>,
    pubcomps: VecDeque<PacketId>,
    /// Ids of the received PUBRELs, and the index of the PUBREC that the last one answered.
    pubrels: HashSet<PacketId>,
    last_pubrel: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum LinkState {
    New,
    /// CONNECT was received. It is answered at this time.
    Connecting(Time),
    Open {
        clean: bool,
    },
    Closed,
}

/// The environment of the broker: time, random numbers, connections and the ledger.
pub(crate) struct World<'a> {
    pub(crate) now: Time,
    pub(crate) rng: &'a mut Rng,
    pub(crate) connections: &'a mut [Connection],
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) trace: bool,
}

impl Broker {
    pub(crate) fn new(behavior: Behavior) -> Self {
        Self {
            behavior,
            kept: None,
            links: Vec::new(),
            pubrec_count: 0,
        }
    }

    pub(crate) fn accept(&mut self, connection: usize) {
        self.links.push(Link {
            connection,
            unread: Vec::new(),
            state: LinkState::New,
            later: Vec::new(),
            pubacks: VecDeque::new(),
            pubrecs: VecDeque::new(),
            pubcomps: VecDeque::new(),
            pubrels: HashSet::new(),
            last_pubrel: 0,
        });
    }

    /// Queues a message that another client published.
    pub(crate) fn offer(&mut self, ledger: &mut Ledger, down: ledger::Down) {
        let online = self.links.iter().any(Link::is_open);
        let topic = TopicName::new(&down.topic).unwrap();
        let Some(kept) = &mut self.kept else { return };
        let granted = kept.filters.iter().filter_map(|(filter, qos)| {
            let filter = TopicFilter::new(filter).unwrap();
            filter.matches(topic).then_some(*qos)
        });
        let Some(granted) = granted.max() else { return };
        let qos = granted.min(down.qos);
        if online || qos > QoS::AtMostOnce {
            let number = ledger.new_down(ledger::Down { qos, ..down });
            kept.queue.push_back(number);
        }
    }

    /// Closes all connections. The state of a clean session is discarded.
    pub(crate) fn restart(&mut self, world: &mut World<'_>) {
        for index in 0..self.links.len() {
            self.close(index, world);
        }
    }

    /// Forgets the session, unless it is in use.
    pub(crate) fn forget(&mut self, ledger: &mut Ledger) {
        if !self.links.iter().any(Link::is_open) {
            self.drop_state(ledger);
        }
    }

    fn drop_state(&mut self, ledger: &mut Ledger) {
        let Some(kept) = self.kept.take() else { return };
        ledger.forgets += 1;
        for number in kept
            .queue
            .iter()
            .chain(kept.out.iter().map(|out| &out.number))
        {
            ledger.downs[*number].lost = true;
        }
    }

    /// The connection on which the present session began.
    pub(crate) fn session_since(&self) -> Option<usize> {
        self.kept.as_ref().map(|kept| kept.since)
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        let links = self.links.iter();
        links.clone().all(|link| link.later.is_empty())
            && self
                .kept
                .as_ref()
                .is_none_or(|kept| kept.queue.is_empty() && kept.out.is_empty())
    }

    /// Returns the time of the next step that does not depend on a received packet.
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
        let waiting = self
            .kept
            .as_ref()
            .is_some_and(|kept| !kept.queue.is_empty() && kept.out.len() < self.behavior.window);
        let links = self
            .links
            .iter()
            .filter(|link| link.state != LinkState::Closed);
        links
            .flat_map(|link| {
                let own_step = match link.state {
                    LinkState::Connecting(until) => Some(until),
                    LinkState::Open { .. } if waiting => Some(now + 20),
                    _ => None,
                };
                link.later.iter().map(|(at, _)| *at).chain(own_step)
            })
            .min()
    }

    /// Reads and handles received packets, and sends pending ones.
    pub(crate) fn turn(&mut self, world: &mut World<'_>) {
        for index in 0..self.links.len() {
            if self.links[index].state == LinkState::Closed {
                continue;
            }
            self.read(index, world);
            self.send_later(index, world);
            if self.links[index].is_open() {
                self.pump(index, world);
            }
            let connection = self.links[index].connection;
            if world.connections[connection].up.has_ended(world.now) {
                self.close(index, world);
            }
        }
    }

    fn read(&mut self, index: usize, world: &mut World<'_>) {
        let link = &mut self.links[index];
        let pipe = &mut world.connections[link.connection].up;
        let old_len = link.unread.len();
        link.unread.resize(old_len + pipe.arrived(world.now), 0);
        pipe.read(world.now, &mut link.unread[old_len..]);
        let unread = std::mem::take(&mut self.links[index].unread);
        let mut at = 0;
        while self.links[index].state != LinkState::Closed {
            let decoded = Packet::decode(&unread[at..]).expect("a client sends valid packets");
            let Some((packet, len)) = decoded else { break };
            if !self.packet(index, &packet, world) {
                break;
            }
            at += len;
        }
        self.links[index].unread = unread[at..].to_vec();
    }

    /// Handles a packet. Returns `false` if it must wait.
    fn packet(&mut self, index: usize, packet: &Packet<'_>, world: &mut World<'_>) -> bool {
        if world.trace {
            let connection = self.links[index].connection;
            eprintln!("{:>8} broker {connection} < {packet:?}", world.now);
        }
        match (self.links[index].state, packet) {
            (LinkState::New, Packet::Connect(_)) => {
                let delay = world.rng.u64(0..=self.behavior.connack_delay);
                self.links[index].state = LinkState::Connecting(world.now + delay);
                return delay == 0 && self.packet(index, packet, world);
            }
            (LinkState::Connecting(until), Packet::Connect(connect)) => {
                if until > world.now {
                    return false;
                }
                self.connect(index, connect, world);
            }
            (LinkState::Open { .. }, Packet::Publish(publish)) => {
                self.publish(index, publish, world);
            }
            (LinkState::Open { .. }, Packet::Puback(ack)) => {
                let expected = self.links[index].pubacks.pop_front();
                assert_eq!(expected, Some(ack.packet_id), "PUBACKs in order");
                self.finish(ack.packet_id, QoS::AtLeastOnce, Step::Publish, world.ledger);
            }
            (LinkState::Open { .. }, Packet::Pubrec(ack)) => {
                self.pubrec(index, ack.packet_id, world);
            }
            (LinkState::Open { .. }, Packet::Pubcomp(ack)) => {
                let expected = self.links[index].pubcomps.pop_front();
                assert_eq!(expected, Some(ack.packet_id), "PUBCOMPs in order");
                self.finish(ack.packet_id, QoS::ExactlyOnce, Step::Pubrel, world.ledger);
            }
            (LinkState::Open { .. }, Packet::Pubrel(ack)) => {
                self.pubrel(index, ack.packet_id, world);
            }
            (LinkState::Open { .. }, Packet::Subscribe(subscribe)) => {
                self.subscribe(index, subscribe, world);
            }
            (LinkState::Open { .. }, Packet::Unsubscribe(unsubscribe)) => {
                self.unsubscribe(index, unsubscribe, world);
            }
            (LinkState::Open { .. }, Packet::Pingreq) => {
                self.answer(index, &Packet::Pingresp, world);
            }
            (LinkState::Open { .. }, Packet::Disconnect) => self.close(index, world),
            (state, packet) => panic!("{packet:?} on a connection that is {state:?}"),
        }
        true
    }

    fn connect(&mut self, index: usize, connect: &Connect<'_>, world: &mut World<'_>) {
        if world.rng.f64() < self.behavior.refuse {
            let code = ConnectReturnCode::ServerUnavailable;
            world.ledger.refuse(self.links[index].connection);
            self.transmit(index, &Packet::Connack(Connack::Refused(code)), world);
            self.close(index, world);
            return;
        }
        // [MQTT-3.1.4-2] The same client has connected again.
        for other in 0..self.links.len() {
            if other != index && self.links[other].is_open() {
                self.close(other, world);
            }
        }
        let clean = connect.clean_session;
        if clean {
            self.drop_state(world.ledger);
        }
        let session_present = self.kept.is_some();
        let since = self.links[index].connection;
        self.kept.get_or_insert_with(|| Kept {
            since,
            ..Kept::default()
        });
        self.links[index].state = LinkState::Open { clean };
        let connack = Connack::Accepted { session_present };
        self.transmit(index, &Packet::Connack(connack), world);
        self.resume(index, world);
    }

    /// [MQTT-4.4.0-1] Sends unacknowledged PUBLISHes and PUBRELs again.
    fn resume(&mut self, index: usize, world: &mut World<'_>) {
        let unacknowledged: Vec<_> = self.state().out.iter().map(|out| out.id).collect();
        for id in unacknowledged {
            match self.out(id).step {
                Step::Publish => self.transmit_out(index, id, world),
                Step::Pubrel => self.transmit(index, &Packet::Pubrel(Pubrel::new(id)), world),
            }
        }
    }

    fn publish(&mut self, index: usize, publish: &Publish<'_>, world: &mut World<'_>) {
        let number = ledger::number(publish.topic.as_str());
        let ordered = !(self.behavior.reorders_acks && self.behavior.waits_for_pubrel);
        match publish.delivery {
            Delivery::AtMostOnce => world.ledger.arrived(number, true),
            Delivery::AtLeastOnce { packet_id, .. } => {
                world.ledger.arrived(number, true);
                let puback = Packet::Puback(Puback::new(packet_id));
                self.answer(index, &puback, world);
                if world.rng.f64() < self.behavior.repeat {
                    self.answer(index, &puback, world);
                }
            }
            Delivery::ExactlyOnce { packet_id, dup } => {
                let pubrec = None;
                let known = self.state().received.get(&packet_id);
                assert!(
                    known.is_none_or(|known| dup && known.number == number),
                    "id {packet_id} is in flight"
                );
                if known.is_none() {
                    let inbound = Inbound { number, pubrec };
                    self.state().received.insert(packet_id, inbound);
                    if !self.behavior.waits_for_pubrel {
                        world.ledger.arrived(number, ordered);
                    }
                }
                let pubrec = Packet::Pubrec(Pubrec::new(packet_id));
                self.answer(index, &pubrec, world);
                if world.rng.f64() < self.behavior.repeat {
                    self.answer(index, &pubrec, world);
                }
            }
        }
    }

    fn pubrel(&mut self, index: usize, id: PacketId, world: &mut World<'_>) {
        let ordered = !self.behavior.reorders_acks;
        let first = self.links[index].pubrels.insert(id);
        if let Some(inbound) = self.state().received.remove(&id) {
            let (place, _) = inbound.pubrec.expect("PUBREL follows PUBREC");
            let last = std::mem::replace(&mut self.links[index].last_pubrel, place);
            assert!(first && last < place, "PUBRELs in the order of the PUBRECs");
            self.state().released.insert(id);
            if self.behavior.waits_for_pubrel {
                world.ledger.arrived(inbound.number, ordered);
            }
        } else if self.behavior.closes_at_unknown_pubrel && !self.state().released.contains(&id) {
            self.close(index, world);
            return;
        }
        self.answer(index, &Packet::Pubcomp(Pubcomp::new(id)), world);
    }

    fn pubrec(&mut self, index: usize, id: PacketId, world: &mut World<'_>) {
        let expected = self.links[index].pubrecs.pop_front();
        assert_eq!(expected, Some(id), "PUBRECs in order");
        let out = self.out(id);
        out.step = Step::Pubrel;
        let number = out.number;
        assert_eq!(world.ledger.downs[number].qos, QoS::ExactlyOnce);
        world.ledger.acknowledged(number);
        let pubrel = Packet::Pubrel(Pubrel::new(id));
        self.transmit(index, &pubrel, world);
        if world.rng.f64() < self.behavior.repeat {
            self.transmit(index, &pubrel, world);
        }
    }

    /// Completes a message to the client, unless it was complete before.
    fn finish(&mut self, id: PacketId, qos: QoS, step: Step, ledger: &Ledger) {
        let done =
            |out: &Out| out.id == id && out.step == step && ledger.downs[out.number].qos == qos;
        let Some(at) = self.state().out.iter().position(done) else {
            assert_eq!(step, Step::Pubrel, "PUBACK {id} answers nothing");
            return;
        };
        let out = self.state().out.remove(at);
        ledger.acknowledged(out.number);
    }

    fn subscribe(&mut self, index: usize, subscribe: &Subscribe<'_>, world: &mut World<'_>) {
        let mut codes = Vec::new();
        for (filter, qos) in subscribe.filters() {
            if world.rng.f64() < self.behavior.repeat {
                codes.push(SubackReturnCode::Failure);
                continue;
            }
            let filter = filter.as_str().to_owned();
            self.state().filters.retain(|(other, _)| *other != filter);
            self.state().filters.push((filter, qos));
            codes.push(SubackReturnCode::Granted(qos));
        }
        let id = subscribe.packet_id();
        let suback = Packet::Suback(Suback::new(id, &codes).unwrap());
        self.answer(index, &suback, world);
        let connection = self.links[index].connection;
        world.ledger.grant(connection, id, codes);
    }

    fn unsubscribe(&mut self, index: usize, unsubscribe: &Unsubscribe<'_>, world: &mut World<'_>) {
        for filter in unsubscribe.filters() {
            self.state()
                .filters
                .retain(|(other, _)| *other != filter.as_str());
        }
        let unsuback = Packet::Unsuback(Unsuback::new(unsubscribe.packet_id()));
        self.answer(index, &unsuback, world);
    }

    /// Sends new messages as far as the window allows.
    fn pump(&mut self, index: usize, world: &mut World<'_>) {
        while self.state().out.len() < self.behavior.window
            && world.rng.f64() < self.behavior.burst
            && let Some(number) = self.state().queue.pop_front()
        {
            if world.ledger.downs[number].qos == QoS::AtMostOnce {
                self.transmit_message(index, number, Delivery::AtMostOnce, world);
                continue;
            }
            let id = self.free_id(world.rng);
            self.state().out.push(Out {
                id,
                number,
                step: Step::Publish,
                sent: false,
            });
            self.transmit_out(index, id, world);
        }
    }

    /// Returns one of a few free ids. Ids are soon used again, which detects state that is kept for too long.
    fn free_id(&mut self, rng: &mut Rng) -> PacketId {
        let count = u16::try_from(self.behavior.window).unwrap() + self.behavior.spare_ids;
        let kept = self.state();
        let ids: Vec<_> = (1..=count)
            .filter_map(PacketId::new)
            .filter(|id| kept.out.iter().all(|out| out.id != *id))
            .collect();
        *rng.choice(&ids).expect("more ids than messages in flight")
    }

    fn transmit_out(&mut self, index: usize, id: PacketId, world: &mut World<'_>) {
        let out = self.out(id);
        let (packet_id, number) = (out.id, out.number);
        let dup = std::mem::replace(&mut out.sent, true);
        let delivery = match world.ledger.downs[number].qos {
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
            _ => Delivery::AtLeastOnce { packet_id, dup },
        };
        self.transmit_message(index, number, delivery, world);
    }

    fn transmit_message(
        &mut self,
        index: usize,
        number: usize,
        delivery: Delivery,
        world: &mut World<'_>,
    ) {
        let down = &mut world.ledger.downs[number];
        down.dup = delivery.dup();
        let (topic, retain) = (down.topic.clone(), down.retain);
        let payload = ledger::payload(number, down.len);
        let publish = Publish {
            topic: TopicName::new(&topic).unwrap(),
            payload: &payload,
            delivery,
            retain,
        };
        self.transmit(index, &Packet::Publish(publish), world);
    }

    /// Sends an answer, possibly late.
    fn answer(&mut self, index: usize, packet: &Packet<'_>, world: &mut World<'_>) {
        let mut at = world.now + world.rng.u64(0..=self.behavior.ack_delay);
        let later = &mut self.links[index].later;
        if !self.behavior.reorders_acks {
            at = at.max(later.last().map_or(0, |(last, _)| *last));
        }
        later.push((at, encode(packet)));
    }

    fn send_later(&mut self, index: usize, world: &mut World<'_>) {
        loop {
            let later = &mut self.links[index].later;
            let due = later.iter().position(|(at, _)| *at <= world.now);
            let Some(due) = due else { return };
            let (_, bytes) = later.remove(due);
            let (packet, _) = Packet::decode(&bytes).unwrap().unwrap();
            self.transmit(index, &packet, world);
        }
    }

    fn transmit(&mut self, index: usize, packet: &Packet<'_>, world: &mut World<'_>) {
        let link = &mut self.links[index];
        if world.trace {
            eprintln!("{:>8} broker {} > {packet:?}", world.now, link.connection);
        }
        match packet {
            Packet::Publish(publish) => match publish.delivery {
                Delivery::AtMostOnce => {}
                Delivery::AtLeastOnce { packet_id, .. } => link.pubacks.push_back(packet_id),
                Delivery::ExactlyOnce { packet_id, .. } => link.pubrecs.push_back(packet_id),
            },
            Packet::Pubrel(pubrel) => link.pubcomps.push_back(pubrel.packet_id),
            Packet::Pubrec(pubrec) => {
                let kept = self.kept.as_mut().expect("a session");
                if let Some(inbound) = kept.received.get_mut(&pubrec.packet_id)
                    && inbound.pubrec.is_none_or(|(_, on)| on != link.connection)
                {
                    self.pubrec_count += 1;
                    inbound.pubrec = Some((self.pubrec_count, link.connection));
                }
            }
            _ => {}
        }
        let at = world.now + world.rng.u64(0..=self.behavior.latency);
        let down = &mut world.connections[link.connection].down;
        down.write(&encode(packet), at);
    }

    fn close(&mut self, index: usize, world: &mut World<'_>) {
        let link = &mut self.links[index];
        link.later.clear();
        let state = std::mem::replace(&mut link.state, LinkState::Closed);
        if state != LinkState::Closed {
            world.connections[link.connection].down.close(world.now);
            world.connections[link.connection].up.abandon();
        }
        // [MQTT-3.1.2-6] The state of a clean session ends with its connection.
        if state == (LinkState::Open { clean: true }) {
            self.drop_state(world.ledger);
        }
    }

    /// Returns the session state. The client must be connected.
    fn state(&mut self) -> &mut Kept {
        self.kept.as_mut().expect("a session")
    }

    fn out(&mut self, id: PacketId) -> &mut Out {
        let found = self.state().out.iter_mut().find(|out| out.id == id);
        found.unwrap_or_else(|| panic!("id {id} is not in flight to the client"))
    }
}

impl Link {
    fn is_open(&self) -> bool {
        matches!(self.state, LinkState::Open { .. })
    }
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = vec![0; packet.encoded_len().unwrap()];
    packet.encode(&mut bytes).unwrap();
    bytes
}
