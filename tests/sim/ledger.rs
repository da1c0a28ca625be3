//! Records all requests and their results on both sides, and checks every guarantee.

use std::collections::{HashMap, VecDeque};

use umqtt::codec::{Delivery, Packet, PacketId, Publish, QoS, SubackReturnCode};

use crate::network::Time;

/// The end of a request of the client, as reported to its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Puback,
    Pubcomp,
    PublishDiscarded,
    DeliveryUnknown,
    /// The client was killed before it could save the request.
    Lost,
}

/// A message from the client. Its number is its index in [`Ledger::ups`], and is in its topic.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) qos: QoS,
    pub(crate) len: usize,
    pub(crate) retain: bool,
    /// The connection on which it was queued.
    pub(crate) queued_on: usize,
    id: Option<PacketId>,
    /// Values of [`Ledger::forgets`] and [`Ledger::discards`] when it was queued.
    forgets: u32,
    discards: u32,
    outcome: Option<Outcome>,
    /// The first connection that accepted a byte of it.
    accepted_on: Option<usize>,
    /// It was provided to a connection that may have accepted a byte of it.
    maybe_accepted: bool,
    released: bool,
    delivered: u32,
}

/// A message to the client.
#[derive(Clone)]
pub(crate) struct Down {
    pub(crate) qos: QoS,
    pub(crate) topic: String,
    pub(crate) len: usize,
    pub(crate) retain: bool,
    /// Its topic is longer than any receive buffer of these tests.
    pub(crate) unreadable: bool,
    /// The broker forgot it.
    pub(crate) lost: bool,
    /// The DUP flag with which it was sent last.
    pub(crate) dup: bool,
    pub(crate) discards: u32,
    pub(crate) delivered: u32,
}

impl Default for Down {
    fn default() -> Self {
        Self {
            qos: QoS::AtMostOnce,
            topic: String::new(),
            len: 0,
            retain: false,
            unreadable: false,
            lost: false,
            dup: false,
            discards: 0,
            delivered: 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Publish(usize),
    Subscribe { filters: usize, queued_on: usize },
    Unsubscribe { queued_on: usize },
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) ups: Vec<Up>,
    pub(crate) downs: Vec<Down>,
    /// Requests that the caller waits for.
    open: HashMap<PacketId, Request>,
    /// Number of sessions that the broker has forgotten.
    pub(crate) forgets: u32,
    /// Number of sessions that the client has discarded.
    pub(crate) discards: u32,
    /// Connections that the broker refused.
    refused: Vec<usize>,
    /// Connections whose refusal the client has reported.
    refusals_seen: Vec<usize>,
    /// Grants of the broker, by connection and id.
    granted: HashMap<(usize, PacketId), Vec<SubackReturnCode>>,
    /// The last message of each QoS that reached each side for the first time.
    last_up: [Option<usize>; 3],
    last_down: [Option<usize>; 3],
    /// The message that is being received in chunks.
    chunks: Option<(usize, usize)>,
    zero: Zero,
    /// The client was restored, so it does not know its QoS 0 publishes.
    pub(crate) restored: bool,
}

/// Messages at QoS 0: accepted, handed to a transport, reported as dropped.
#[derive(Default)]
struct Zero {
    accepted: usize,
    sent: usize,
    dropped: usize,
}

/// State that a device saves with the image of its session.
#[derive(Clone)]
pub(crate) struct Snapshot {
    open: HashMap<PacketId, Request>,
    ups: usize,
    /// Messages in flight that had not been discarded.
    live: Vec<usize>,
    delivered: Vec<u32>,
    last_down: [Option<usize>; 3],
}

pub(crate) fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number * 31 + i * 7) as u8).collect()
}

/// The number of the message with this topic.
pub(crate) fn number(topic: &str) -> usize {
    topic.split('/').nth(1).unwrap().parse().unwrap()
}

// Calls and events of the caller of the client.
impl Ledger {
    pub(crate) fn accepted_publish(&mut self, up: Up, id: Option<PacketId>) {
        let number = self.ups.len();
        self.zero.accepted += usize::from(id.is_none());
        assert_eq!(id.is_none(), up.qos == QoS::AtMostOnce, "an id above QoS 0");
        self.ups.push(Up { id, ..up });
        if let Some(id) = id {
            self.open(id, Request::Publish(number));
        }
    }

    pub(crate) fn new_up(&self, qos: QoS, len: usize, retain: bool, queued_on: usize) -> Up {
        Up {
            qos,
            len,
            retain,
            queued_on,
            id: None,
            forgets: self.forgets,
            discards: self.discards,
            outcome: None,
            accepted_on: None,
            maybe_accepted: false,
            released: false,
            delivered: 0,
        }
    }

    pub(crate) fn accepted_subscribe(&mut self, id: PacketId, filters: usize, queued_on: usize) {
        self.open(id, Request::Subscribe { filters, queued_on });
    }

    pub(crate) fn accepted_unsubscribe(&mut self, id: PacketId, queued_on: usize) {
        self.open(id, Request::Unsubscribe { queued_on });
    }

    fn open(&mut self, id: PacketId, request: Request) {
        let before = self.open.insert(id, request);
        assert!(before.is_none(), "id {id} is in flight: {before:?}");
    }

    fn close(&mut self, id: PacketId) -> Request {
        let request = self.open.remove(&id);
        request.unwrap_or_else(|| panic!("id {id} completed without a request"))
    }

    /// Records the end of a publish.
    pub(crate) fn completed(&mut self, id: PacketId, outcome: Outcome) {
        let request = self.close(id);
        let Request::Publish(number) = request else {
            panic!("{request:?} ended as {outcome:?}");
        };
        let up = &mut self.ups[number];
        let forgotten = self.forgets - up.forgets;
        match outcome {
            Outcome::Puback => {
                assert_eq!(up.qos, QoS::AtLeastOnce);
                assert!(up.delivered > 0, "message {number} was acknowledged unseen");
            }
            Outcome::Pubcomp => {
                assert_eq!(up.qos, QoS::ExactlyOnce);
                assert!(up.delivered > 0, "message {number} completed unseen");
            }
            Outcome::PublishDiscarded => assert!(
                self.discards > up.discards,
                "message {number} was discarded"
            ),
            Outcome::DeliveryUnknown => {
                assert_eq!(up.qos, QoS::ExactlyOnce);
                let discarded = self.discards > up.discards;
                assert!(
                    forgotten > 0 || discarded,
                    "message {number} was never forgotten"
                );
            }
            Outcome::Lost => {}
        }
        up.outcome = Some(outcome);
    }

    pub(crate) fn suback(&mut self, id: PacketId, codes: &[SubackReturnCode]) {
        let request = self.close(id);
        let Request::Subscribe { filters, queued_on } = request else {
            panic!("SUBACK for {request:?}");
        };
        assert_eq!(filters, codes.len());
        assert_eq!(self.granted[&(queued_on, id)], codes);
    }

    pub(crate) fn unsuback(&mut self, id: PacketId) {
        let request = self.close(id);
        assert!(
            matches!(request, Request::Unsubscribe { .. }),
            "UNSUBACK for {request:?}"
        );
    }

    /// Records the event that a SUBSCRIBE or UNSUBSCRIBE was refused, or that its outcome is unknown.
    pub(crate) fn unanswered(&mut self, id: PacketId, refused: bool) {
        let (Request::Subscribe { queued_on, .. } | Request::Unsubscribe { queued_on }) =
            self.close(id)
        else {
            panic!("no publish ends so");
        };
        assert_eq!(self.refusals_seen.contains(&queued_on), refused);
    }

    pub(crate) fn dropped(&mut self, count: u16) {
        self.zero.dropped += usize::from(count);
    }

    pub(crate) fn waits_for_nothing(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn requests(&self) -> usize {
        self.open.len()
    }

    /// Returns `true` if messages from before this connection must be sent again on it.
    fn resumes(&self, connection: usize) -> bool {
        self.open.values().any(|request| match *request {
            Request::Publish(number) => {
                let up = &self.ups[number];
                up.queued_on < connection && up.discards == self.discards && !up.released
            }
            _ => false,
        })
    }

    /// Records a whole message that was delivered to the caller.
    pub(crate) fn message(&mut self, publish: &Received<'_>) {
        assert!(self.chunks.is_none(), "a message within a message");
        let number = number(publish.topic);
        let down = &self.downs[number];
        assert_eq!(publish.bytes, payload(number, down.len));
        self.delivered(number, publish);
    }

    pub(crate) fn chunk(&mut self, chunk: &Received<'_>, offset: usize, total: usize) {
        let number = number(chunk.topic);
        let expected = self.chunks.take().unwrap_or((number, 0));
        assert_eq!((number, offset), expected, "chunks in order");
        let down = &self.downs[number];
        let end = offset + chunk.bytes.len();
        assert_eq!(total, down.len);
        assert!(end > offset, "an empty chunk");
        assert_eq!(chunk.bytes, &payload(number, total)[offset..end]);
        if end == total {
            self.delivered(number, chunk);
        } else {
            self.chunks = Some((number, end));
        }
    }

    pub(crate) fn chunks_ended(&mut self) {
        assert!(self.chunks.take().is_some(), "no message was cut off");
    }

    pub(crate) fn topic_too_long(&mut self, len: usize) {
        let number = self.downs.iter().position(|down| down.topic.len() == len);
        let number = number.expect("a message with such a topic");
        assert!(self.downs[number].unreadable);
        self.delivered_first(number);
    }

    fn delivered(&mut self, number: usize, publish: &Received<'_>) {
        let down = &self.downs[number];
        assert_eq!(publish.topic, down.topic);
        assert_eq!(
            (publish.qos, publish.retain, publish.dup),
            (down.qos, down.retain, down.dup),
            "message {number} as it was sent"
        );
        assert!(!down.unreadable);
        self.delivered_first(number);
    }

    fn delivered_first(&mut self, number: usize) {
        let discards = self.discards;
        let down = &mut self.downs[number];
        down.delivered += 1;
        let allowed = match down.qos {
            QoS::AtMostOnce => 1,
            QoS::AtLeastOnce => u32::MAX,
            QoS::ExactlyOnce => 1 + discards - down.discards,
        };
        assert!(
            down.delivered <= allowed,
            "message {number} was delivered again"
        );
        if down.delivered == 1 {
            in_order(&mut self.last_down[down.qos as usize], number, "delivered");
        }
    }
}

/// A message, or a part of one, as delivered to the caller.
pub(crate) struct Received<'a> {
    pub(crate) topic: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
}

fn in_order(last: &mut Option<usize>, number: usize, what: &str) {
    assert!(
        last.is_none_or(|last| last < number),
        "message {number} is {what} after {last:?}"
    );
    *last = Some(number);
}

// Actions of the broker.
impl Ledger {
    pub(crate) fn new_down(&mut self, down: Down) -> usize {
        self.downs.push(Down {
            discards: self.discards,
            delivered: 0,
            ..down
        });
        self.downs.len() - 1
    }

    /// Records that the broker forwards a message of the client. `ordered`: this broker keeps their order.
    pub(crate) fn arrived(&mut self, number: usize, ordered: bool) {
        let up = &mut self.ups[number];
        up.delivered += 1;
        let allowed = match up.qos {
            QoS::AtMostOnce => 1,
            QoS::AtLeastOnce => u32::MAX,
            QoS::ExactlyOnce => 1 + self.forgets - up.forgets,
        };
        assert!(up.delivered <= allowed, "message {number} arrived again");
        if up.delivered == 1 && ordered {
            in_order(&mut self.last_up[up.qos as usize], number, "new");
        }
    }

    /// Checks that a message was delivered to the caller before the client acknowledges it.
    pub(crate) fn acknowledged(&self, number: usize) {
        let down = &self.downs[number];
        assert!(
            // One that is skipped is acknowledged when its event is announced.
            down.delivered > 0 || down.unreadable,
            "message {number} was acknowledged before it was delivered"
        );
    }

    pub(crate) fn grant(&mut self, connection: usize, id: PacketId, codes: Vec<SubackReturnCode>) {
        self.granted.insert((connection, id), codes);
    }

    pub(crate) fn refuse(&mut self, connection: usize) {
        self.refused.push(connection);
    }

    /// Records that the client has reported the refusal of a connection.
    pub(crate) fn refusal_seen(&mut self, connection: usize) {
        assert!(
            self.refused.contains(&connection),
            "the broker did not refuse"
        );
        self.refusals_seen.push(connection);
    }
}

// Kill and restore.
impl Ledger {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let live = |request: &Request| match *request {
            Request::Publish(number) if self.ups[number].discards == self.discards => Some(number),
            _ => None,
        };
        Snapshot {
            open: self.open.clone(),
            ups: self.ups.len(),
            live: self.open.values().filter_map(live).collect(),
            delivered: self.downs.iter().map(|down| down.delivered).collect(),
            last_down: self.last_down,
        }
    }

    /// Restores the state after the device was killed: that of the snapshot, or none.
    pub(crate) fn roll_back(&mut self, snapshot: Option<&Snapshot>) {
        self.chunks = None;
        self.restored = true;
        let Some(snapshot) = snapshot else {
            for (_, request) in self.open.drain() {
                if let Request::Publish(number) = request {
                    self.ups[number].outcome = Some(Outcome::Lost);
                }
            }
            self.discards += 1;
            return;
        };
        for (number, up) in self.ups.iter_mut().enumerate().skip(snapshot.ups) {
            if up.qos > QoS::AtMostOnce {
                assert!(
                    up.accepted_on.is_none(),
                    "message {number} left before its checkpoint"
                );
                up.outcome = Some(Outcome::Lost);
            }
        }
        self.open.clone_from(&snapshot.open);
        for request in self.open.values() {
            if let Request::Publish(number) = *request {
                let up = &mut self.ups[number];
                up.outcome = None;
                up.maybe_accepted = true;
            }
        }
        for number in &snapshot.live {
            // A discard after the snapshot is undone.
            self.ups[*number].discards = self.discards;
        }
        for (number, down) in self.downs.iter_mut().enumerate() {
            down.delivered = snapshot.delivered.get(number).copied().unwrap_or(0);
        }
        self.last_down = snapshot.last_down;
    }
}

// The end.
impl Ledger {
    pub(crate) fn check_at_rest(&self) {
        assert!(self.open.is_empty(), "not completed: {:?}", self.open);
        for up in &self.ups {
            assert_eq!(up.outcome.is_some(), up.qos > QoS::AtMostOnce);
        }
        for (number, down) in self.downs.iter().enumerate() {
            let safe = !down.lost && down.qos > QoS::AtMostOnce;
            assert!(
                !safe || down.delivered > 0 || down.discards < self.discards,
                "message {number} to the client is lost"
            );
        }
        assert!(self.chunks.is_none(), "half a message");
        if !self.restored {
            assert_eq!(
                self.zero.accepted,
                self.zero.sent + self.zero.dropped,
                "QoS 0 publishes, accepted and accounted for"
            );
        }
    }
}

/// Checks the bytes that the client has written on one connection, packet by packet.
pub(crate) struct Tap {
    connection: usize,
    keep_alive: Time,
    /// The accepted part of the last packet.
    partial: Vec<u8>,
    packets: usize,
    disconnected: bool,
    /// Time at which the last packet was sent, or from which the keep alive of the client is checked.
    quiet_since: Time,
    last: [Option<usize>; 2],
    /// Messages that were provided to the transport, which has not reported whether it accepted a byte.
    lent: Vec<usize>,
    /// Messages at QoS 0 that were sent before CONNACK was received.
    early: usize,
    pub(crate) connack_seen: bool,
    pub(crate) subscribes: VecDeque<PacketId>,
}

impl Tap {
    pub(crate) fn new(connection: usize, keep_alive: u16, now: Time) -> Self {
        Self {
            connection,
            keep_alive: Time::from(keep_alive) * 1000,
            partial: Vec::new(),
            packets: 0,
            disconnected: false,
            quiet_since: now,
            last: [None; 2],
            lent: Vec::new(),
            early: 0,
            connack_seen: false,
            subscribes: VecDeque::new(),
        }
    }

    /// The client may have been silent until now: its keep alive is checked from here on.
    pub(crate) fn excuse(&mut self, now: Time) {
        self.quiet_since = self.quiet_since.max(now);
    }

    pub(crate) fn check_silence(&self, now: Time) {
        let silence = now - self.quiet_since;
        assert!(
            self.keep_alive == 0 || !self.partial.is_empty() || silence <= self.keep_alive,
            "silent for {silence} ms with a keep alive of {} ms",
            self.keep_alive
        );
    }

    /// Records that `bytes` were provided to the transport, which has accepted the first `taken` of them.
    /// `is_informed`: the client learns this number.
    pub(crate) fn write(
        &mut self,
        ledger: &mut Ledger,
        bytes: &[u8],
        taken: usize,
        is_informed: bool,
        now: Time,
    ) {
        let mut stream = std::mem::take(&mut self.partial);
        let known = stream.len();
        let taken_end = known + taken;
        stream.extend_from_slice(bytes);
        if taken > 0 && known == 0 && self.connack_seen {
            self.check_silence(now);
        }
        let mut at = 0;
        let mut complete = 0;
        while at < stream.len() {
            let decoded = Packet::decode(&stream[at..]).expect("written packets are valid");
            let (packet, len) = decoded.expect("pending ends with a whole packet");
            if at == 0 && taken > 0 && is_informed && !is_small(&packet) {
                // Bytes that were provided before and follow these were not accepted.
                self.lent.clear();
            }
            if let Some(number) = kept(&packet) {
                if at < taken_end {
                    let up = &mut ledger.ups[number];
                    up.accepted_on.get_or_insert(self.connection);
                }
                if at >= taken_end || !is_informed {
                    self.lent.push(number);
                }
            }
            if at + len <= taken_end {
                complete = at + len;
                self.packet(ledger, &packet, is_informed);
                self.quiet_since = now;
            }
            at += len;
        }
        stream.truncate(taken_end);
        self.partial = stream.split_off(complete);
    }

    fn packet(&mut self, ledger: &mut Ledger, packet: &Packet<'_>, is_informed: bool) {
        assert!(!self.disconnected, "{packet:?} after DISCONNECT");
        assert_eq!(
            matches!(packet, Packet::Connect(_)),
            self.packets == 0,
            "CONNECT must be first, and once: {packet:?}"
        );
        self.packets += 1;
        match packet {
            Packet::Publish(publish) => self.publish(ledger, publish, is_informed),
            Packet::Pubrel(pubrel) => {
                if let Some(Request::Publish(number)) = ledger.open.get(&pubrel.packet_id) {
                    ledger.ups[*number].released = true;
                }
            }
            Packet::Subscribe(subscribe) => self.request(ledger, subscribe.packet_id()),
            Packet::Unsubscribe(unsubscribe) => self.request(ledger, unsubscribe.packet_id()),
            Packet::Disconnect => self.disconnected = true,
            Packet::Connect(_) => {}
            small if is_small(small) => {}
            _ => panic!("a client does not send {packet:?}"),
        }
    }

    fn publish(&mut self, ledger: &mut Ledger, publish: &Publish<'_>, is_informed: bool) {
        let number = number(publish.topic.as_str());
        let up = &ledger.ups[number];
        assert_eq!(publish.payload, payload(number, up.len));
        assert_eq!(
            (publish.delivery.qos(), publish.retain),
            (up.qos, up.retain)
        );
        assert_eq!(publish.delivery.packet_id(), up.id);
        let class = usize::from(up.qos > QoS::AtMostOnce);
        in_order(&mut self.last[class], number, "sent");
        if up.qos == QoS::AtMostOnce {
            assert_eq!(
                up.queued_on, self.connection,
                "QoS 0 is for one connection only"
            );
            if is_informed {
                ledger.zero.sent += 1;
                self.early += usize::from(!self.connack_seen);
            }
            return;
        }
        assert!(
            self.connack_seen || !ledger.resumes(self.connection),
            "message {number} is sent before CONNACK, and older ones wait"
        );
        let must = up
            .accepted_on
            .is_some_and(|connection| connection < self.connection);
        let dup = publish.delivery.dup();
        assert!(dup || !must, "message {number} goes again without DUP");
        assert!(
            !dup || must || up.maybe_accepted,
            "message {number} goes for the first time with DUP"
        );
        assert!(!up.released, "message {number} goes again after PUBREL");
        assert!(
            up.outcome.is_none(),
            "message {number} goes after {:?}",
            up.outcome
        );
        assert!(
            up.discards == ledger.discards,
            "message {number} goes after it was discarded"
        );
    }

    fn request(&mut self, ledger: &Ledger, id: PacketId) {
        match ledger.open.get(&id) {
            Some(Request::Subscribe { queued_on, .. } | Request::Unsubscribe { queued_on }) => {
                assert_eq!(*queued_on, self.connection, "a request for one connection");
            }
            other => panic!("a SUBSCRIBE or UNSUBSCRIBE {id} for {other:?}"),
        }
        assert!(!self.subscribes.contains(&id), "{id} is sent twice");
        self.subscribes.push_back(id);
    }

    /// Records the end of the connection. A refused connection has delivered no message at QoS 0.
    pub(crate) fn end(&mut self, ledger: &mut Ledger) {
        for number in self.lent.drain(..) {
            ledger.ups[number].maybe_accepted = true;
        }
        if ledger.refusals_seen.contains(&self.connection) {
            ledger.zero.sent -= std::mem::take(&mut self.early);
        }
    }
}

/// Returns `true` for packets that may be sent before others.
fn is_small(packet: &Packet<'_>) -> bool {
    matches!(
        packet,
        Packet::Puback(_)
            | Packet::Pubrec(_)
            | Packet::Pubrel(_)
            | Packet::Pubcomp(_)
            | Packet::Pingreq
    )
}

/// Returns the number of a PUBLISH above QoS 0.
fn kept(packet: &Packet<'_>) -> Option<usize> {
    match packet {
        Packet::Publish(publish) if publish.delivery != Delivery::AtMostOnce => {
            Some(number(publish.topic.as_str()))
        }
        _ => None,
    }
}
