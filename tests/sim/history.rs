//! One random history: a client, a broker, the connection between them, and all faults.

use std::collections::HashSet;

use fastrand::Rng;
use umqtt::{
    Event, Instant, Message, ProtocolError, RequestError, Session, Storage, StreamedPublish,
    codec::{Connect, Credentials, QoS, Will},
};

use crate::{
    broker::{Behavior, Broker, World},
    ledger::{self, Ledger, Outcome, Received, Snapshot, Tap},
    network::{Connection, Time},
};

/// Maximum number of turns after the faults until all deliveries are complete.
const PATIENCE: usize = 5_000;

/// Runs the history of this seed. Panics if a guarantee is violated.
pub(crate) fn run(seed: u64, trace: bool) {
    let mut rng = Rng::with_seed(seed);
    let mut memory: Box<dyn Memory> = match rng.u8(..8) {
        0 => Box::new(Storage::<16, 48, 1, 1>::new()),
        1 => Box::new(Storage::<16, 64, 3, 2>::new()),
        2 => Box::new(Storage::<20, 100, 2, 8>::new()),
        3 => Box::new(Storage::<24, 400, 4, 4>::new()),
        4 => Box::new(Storage::<32, 128, 4, 3>::new()),
        5 => Box::new(Storage::<64, 200, 2, 1>::new()),
        6 => Box::new(Storage::<96, 256, 4, 8>::new()),
        _ => Box::new(Storage::<40, 80, 4, 5>::new()),
    };
    let mut history = History::new(rng, memory.capacities(), trace);
    while history.boot(&mut memory.session()) == Boot::Again {}
}

/// A storage of any capacities.
trait Memory {
    fn session(&mut self) -> Session<'_>;
    fn capacities(&self) -> Capacities;
}

#[derive(Clone, Copy, Debug)]
struct Capacities {
    rx: usize,
    tx: usize,
    inflight: usize,
    inbound: usize,
    image: usize,
}

impl<const RX: usize, const TX: usize, const INFLIGHT: usize, const INBOUND: usize> Memory
    for Storage<RX, TX, INFLIGHT, INBOUND>
{
    fn session(&mut self) -> Session<'_> {
        Session::new(self)
    }

    fn capacities(&self) -> Capacities {
        Capacities {
            rx: RX,
            tx: TX,
            inflight: INFLIGHT,
            inbound: INBOUND,
            image: Self::IMAGE_LEN,
        }
    }
}

/// The reason why a device stopped.
#[derive(PartialEq)]
enum Boot {
    /// The device was killed and starts again.
    Again,
    /// All deliveries are complete.
    Rest,
}

/// The random settings of a history: how often each kind of event occurs in a turn, and whether it occurs at all. So
/// some histories have only one kind of event.
#[derive(Debug)]
struct Plan {
    turns: usize,
    up: f64,
    subscribe: f64,
    ping: f64,
    leave: f64,
    clean: f64,
    pipeline: bool,
    down: f64,
    cut: f64,
    stall: f64,
    restart: f64,
    forget: f64,
    kill: f64,
    absence: f64,
    /// Ids wrap once.
    wrap: bool,
    /// Writes and reads of any size, calls in any order.
    fragments: bool,
    keep_alive: u16,
    window: usize,
    timeout: u32,
}

impl Plan {
    fn new(rng: &mut Rng) -> Self {
        let mut sometimes = |p: f64| {
            if rng.bool() {
                0.0
            } else {
                rng.f64() * rng.f64() * p
            }
        };
        Self {
            up: 0.1 + sometimes(0.9),
            subscribe: sometimes(0.1),
            ping: sometimes(0.1),
            leave: sometimes(0.05),
            clean: sometimes(0.4),
            down: 0.1 + sometimes(0.9),
            cut: sometimes(0.2),
            stall: sometimes(0.05),
            restart: sometimes(0.1),
            forget: sometimes(0.5),
            kill: sometimes(0.1),
            absence: sometimes(0.02),
            turns: rng.usize(10..120),
            pipeline: rng.bool(),
            wrap: rng.u16(..500) == 0,
            fragments: rng.bool(),
            keep_alive: *rng.choice(&[0, 1, 2, 5, 30, 65_535]).unwrap(),
            window: *rng.choice(&[1, 7, 64, 1_000]).unwrap(),
            timeout: rng.u32(2_000..10_000),
        }
    }

    /// The faults stop, and the caller makes no new requests.
    fn calm(&mut self) {
        for chance in [
            &mut self.up,
            &mut self.subscribe,
            &mut self.ping,
            &mut self.leave,
            &mut self.clean,
            &mut self.down,
            &mut self.cut,
            &mut self.stall,
            &mut self.restart,
            &mut self.forget,
            &mut self.kill,
            &mut self.absence,
        ] {
            *chance = 0.0;
        }
    }
}

fn behavior(rng: &mut Rng, inbound: usize) -> Behavior {
    let slow = rng.u64(..4);
    Behavior {
        window: if rng.bool() {
            rng.usize(1..=inbound)
        } else {
            rng.usize(1..=10)
        },
        spare_ids: rng.u16(1..5),
        waits_for_pubrel: rng.bool(),
        reorders_acks: rng.u8(..4) == 0,
        closes_at_unknown_pubrel: rng.u8(..4) == 0,
        latency: *rng.choice(&[0, 20, 300]).unwrap(),
        ack_delay: [0, 50, 1_000, 6_000][slow as usize],
        connack_delay: *rng.choice(&[0, 50, 3_000]).unwrap(),
        refuse: if rng.bool() { 0.0 } else { rng.f64() * 0.3 },
        repeat: if rng.bool() { 0.0 } else { rng.f64() * 0.3 },
        burst: 0.2 + rng.f64() * 0.8,
    }
}

struct History {
    rng: Rng,
    trace: bool,
    plan: Plan,
    capacities: Capacities,
    ledger: Ledger,
    broker: Broker,
    connections: Vec<Connection>,
    now: Time,
    /// Time of the clock of the device at the start.
    epoch: u32,
    turn: usize,
    calm_at: Option<usize>,

    /// The client's connection, by number.
    dialled: Option<usize>,
    tap: Tap,
    dial_at: Time,
    /// Time of the next call of the client.
    wake: Option<Time>,
    clean: bool,
    /// The broker has reported to this client, since its last restart, that it keeps a session.
    known: bool,
    /// Connect with Clean Session 1 until that was accepted.
    must_reset: bool,
    subscribe_due: bool,
    /// Connections of which the CONNACK was seen.
    connacks: HashSet<usize>,
    /// The CONNACK for a new session of the broker was lost, and the next one reports that the broker has kept the
    /// session. No client can notice this, and it may mistake new ids for old ones. Nothing is guaranteed from here on.
    blind: bool,
    /// The largest CONNECT of this session until now.
    connect_len: usize,

    checkpoints: bool,
    saved: Option<Saved>,
    /// All events were taken, so a poll would return none.
    expects_no_event: bool,
}

#[derive(Clone)]
struct Saved {
    image: Vec<u8>,
    snapshot: Snapshot,
    clean: bool,
    known: bool,
    connect_len: usize,
}

macro_rules! trace {
    ($self:ident, $($what:tt)*) => {
        if $self.trace {
            eprintln!("{:>8} {}", $self.now, format_args!($($what)*));
        }
    };
}

impl History {
    fn new(mut rng: Rng, capacities: Capacities, trace: bool) -> Self {
        let plan = Plan::new(&mut rng);
        let behavior = behavior(&mut rng, capacities.inbound);
        if trace {
            eprintln!("{capacities:?}\n{plan:?}");
        }
        Self {
            trace,
            plan,
            capacities,
            ledger: Ledger::default(),
            broker: Broker::new(behavior),
            connections: Vec::new(),
            now: 0,
            // Half of the clocks wrap soon.
            epoch: if rng.bool() {
                rng.u32(..)
            } else {
                0u32.wrapping_sub(rng.u32(..20_000))
            },
            turn: 0,
            calm_at: None,
            dialled: None,
            tap: Tap::new(0, 0, 0),
            dial_at: 0,
            wake: None,
            clean: false,
            known: false,
            must_reset: false,
            subscribe_due: false,
            connacks: HashSet::new(),
            blind: false,
            connect_len: 0,
            checkpoints: rng.bool(),
            saved: None,
            expects_no_event: false,
            rng,
        }
    }

    /// Runs a device until it is killed.
    fn boot(&mut self, session: &mut Session<'_>) -> Boot {
        session.set_response_timeout(self.plan.timeout);
        session.set_checkpoints(self.checkpoints);
        if let Some(saved) = &self.saved {
            let restored = session.restore(&saved.image);
            restored.expect("the image fits its storage");
        }
        loop {
            self.turn += 1;
            self.now = self.now.max(self.next());
            if self.calm_at.is_none() && self.turn > self.plan.turns {
                self.calm();
            }
            self.faults(session);
            if self.chance(self.plan.kill) && self.kill(session) {
                return Boot::Again;
            }
            self.broker_turn();
            self.client_turn(session);
            if self.blind {
                return Boot::Rest;
            }
            if self.is_at_rest(session) {
                break;
            }
            let calm_for = self.calm_at.map_or(0, |since| self.turn - since);
            assert!(calm_for < PATIENCE, "requests are still pending");
        }
        self.ledger.check_at_rest();
        self.check_empty(session);
        Boot::Rest
    }

    fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.f64() < chance
    }

    /// Returns the time of the next event.
    fn next(&mut self) -> Time {
        let pipes = self.connections.iter().enumerate();
        let dialled = self.dialled;
        let arrivals = pipes
            .flat_map(|(number, connection)| {
                let stall = Some(connection.stalled_until)
                    .filter(|until| dialled == Some(number) && *until > self.now);
                // The client reads the remaining bytes only when it can write.
                let down = connection.down.next().filter(|at| *at > self.now);
                [connection.up.next(), down, stall]
            })
            .flatten();
        let dial = dialled.is_none().then_some(self.dial_at);
        let next = arrivals
            .chain(self.wake)
            .chain(dial)
            .chain(self.broker.next(self.now))
            .min();
        // Most sleeps are short.
        let busy = self.calm_at.is_none() && self.rng.u8(..16) > 0;
        match next {
            Some(next) if busy => next.min(self.now + self.rng.u64(..1_000)),
            Some(next) if next > self.now && self.rng.u8(..4) == 0 => next + self.rng.u64(..100),
            Some(next) => next,
            None if self.calm_at.is_none() => self.now + 1_000,
            None => panic!("no side can continue"),
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_millis(self.epoch).add_millis(self.now as u32)
    }

    fn calm(&mut self) {
        trace!(self, "--- the faults stop");
        self.calm_at = Some(self.turn);
        self.tap.excuse(self.now);
        self.plan.calm();
        let behavior = &mut self.broker.behavior;
        behavior.refuse = 0.0;
        behavior.repeat = 0.0;
        behavior.burst = 1.0;
        behavior.latency = behavior.latency.min(20);
        behavior.ack_delay = behavior.ack_delay.min(20);
        behavior.connack_delay = behavior.connack_delay.min(20);
        for connection in &mut self.connections {
            connection.stalled_until = 0;
            if connection.up.is_severed() {
                connection.cut(&mut self.rng, Some(self.now));
            }
        }
    }

    fn faults(&mut self, session: &mut Session<'_>) {
        let open = self.dialled;
        if let Some(number) = open
            && self.chance(self.plan.cut)
        {
            self.cut(number, session);
        }
        if let Some(number) = open
            && self.chance(self.plan.stall)
        {
            self.connections[number].stalled_until = self.now + self.rng.u64(..20_000);
        }
        if self.chance(self.plan.restart) {
            let forget = self.chance(self.plan.forget);
            trace!(self, "the broker restarts, and forgets: {forget}");
            self.with_broker(|broker, world| broker.restart(world));
            if forget {
                self.broker.forget(&mut self.ledger);
            }
        }
        if open.is_none() && self.chance(self.plan.forget / 4.0) {
            trace!(self, "the broker forgets");
            self.broker.forget(&mut self.ledger);
        }
        if self.chance(self.plan.absence) {
            self.now += self.rng.u64(..30_000);
            self.tap.excuse(self.now);
        }
    }

    fn cut(&mut self, number: usize, session: &mut Session<'_>) {
        let kind = self.rng.u8(..4);
        trace!(self, "connection {number} is cut, kind {kind}");
        self.see_connack(session);
        let connection = &mut self.connections[number];
        match kind {
            // Neither side is informed.
            0 => connection.cut(&mut self.rng, None),
            // The client notices it at once, perhaps by a write that fails in the middle.
            1 => {
                let now = Instant::from_millis(self.epoch).add_millis(self.now as u32);
                self.tap.excuse(connection.stalled_until.min(self.now));
                let bytes = session.pending(now);
                let taken = self.rng.usize(..=bytes.len());
                let latency = self.rng.u64(..=self.broker.behavior.latency);
                let taken = connection.up.write(&bytes[..taken], self.now + latency);
                if !bytes.is_empty() {
                    self.tap
                        .write(&mut self.ledger, bytes, taken, false, self.now);
                }
                connection.cut(&mut self.rng, Some(self.now));
                self.lose_connection(session);
            }
            _ => {
                let at = self.now + self.rng.u64(..500);
                connection.cut(&mut self.rng, Some(at));
            }
        }
    }

    fn broker_turn(&mut self) {
        if self.chance(self.plan.down) {
            let down = self.draw_down();
            self.broker.offer(&mut self.ledger, down);
        }
        self.with_broker(Broker::turn);
    }

    fn with_broker(&mut self, act: impl FnOnce(&mut Broker, &mut World<'_>)) {
        let mut world = World {
            now: self.now,
            rng: &mut self.rng,
            connections: &mut self.connections,
            ledger: &mut self.ledger,
            trace: self.trace,
        };
        act(&mut self.broker, &mut world);
    }

    fn draw_down(&mut self) -> ledger::Down {
        let rx = self.capacities.rx;
        let number = self.ledger.downs.len();
        let mut topic = format!("d/{number}");
        let unreadable = self.rng.u8(..20) == 0;
        if unreadable {
            topic += "/";
            topic.extend(std::iter::repeat_n('x', 100 + number - topic.len()));
        } else if self.rng.bool() && topic.len() < rx - 8 {
            topic += "/";
            let padding = self.rng.usize(..=rx - 8 - topic.len());
            topic.extend(std::iter::repeat_n('y', padding));
        }
        let len = match self.rng.u8(..4) {
            0 => self.rng.usize(..3 * rx),
            _ => self.rng.usize(..8),
        };
        ledger::Down {
            qos: self.draw_qos(),
            topic,
            len,
            retain: self.rng.bool(),
            unreadable,
            ..ledger::Down::default()
        }
    }

    fn draw_qos(&mut self) -> QoS {
        QoS::try_from(self.rng.u8(..3)).unwrap()
    }

    fn is_at_rest(&self, session: &Session<'_>) -> bool {
        self.calm_at.is_some()
            && session.is_connected()
            && !session.has_pending()
            && self.expects_no_event
            && !self.subscribe_due
            && self.ledger.waits_for_nothing()
            && self.broker.is_at_rest()
            && self.dialled.is_some_and(|number| {
                let connection = &self.connections[number];
                connection.up.in_flight() + connection.down.in_flight() == 0
                    && !connection.up.is_severed()
            })
    }

    /// Checks that all memory is free again.
    fn check_empty(&mut self, session: &mut Session<'_>) {
        assert_eq!(session.in_flight(), 0);
        let free = self.capacities.tx - self.connect_len - 2;
        // Fixed header, topic length, topic, id.
        let payload = vec![0; free - 2 - 2 - 1 - 2 - usize::from(free > 129)];
        let message = Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("t", &payload)
        };
        let published = session.publish(&message);
        assert!(published.is_ok(), "memory is not free again: {published:?}");
        for _ in 1..self.capacities.inflight {
            let published = session.publish(&Message {
                qos: QoS::AtLeastOnce,
                ..Message::new("t", b"")
            });
            assert!(matches!(
                published,
                Err(RequestError::SendBufferFull { .. })
            ));
        }
    }
}

// The client.
impl History {
    fn client_turn(&mut self, session: &mut Session<'_>) {
        self.wake = None;
        self.expects_no_event = false;
        if self.dialled.is_none() {
            self.client_down(session);
        }
        if self.dialled.is_some() {
            self.requests(session);
        }
        let now = self.instant();
        let overdue = session
            .deadline()
            .is_some_and(|deadline| deadline.has_passed(now));
        if self.plan.fragments && !overdue && self.calm_at.is_none() && self.rng.bool() {
            for _ in 0..self.rng.u8(..6) {
                self.any_call(session);
            }
            self.wake = Some(self.now + self.rng.u64(..30));
            return;
        }
        self.rounds(session);
        if self.subscribe_due && session.is_connected() {
            self.subscribe(session);
            self.rounds(session);
        }
        self.sleep(session);
    }

    /// Makes the calls of a client until there is nothing to do.
    fn rounds(&mut self, session: &mut Session<'_>) {
        let mut rounds = 0;
        while self.round(session) {
            rounds += 1;
            assert!(rounds < PATIENCE, "a client that never sleeps");
        }
    }

    /// Makes the calls of a client. Returns `false` if there is nothing to do.
    fn round(&mut self, session: &mut Session<'_>) -> bool {
        let polled = self.poll(session);
        let wrote = self.write(session);
        let read = !polled && self.read(session);
        wrote || polled || read
    }

    /// Makes one call of any kind.
    fn any_call(&mut self, session: &mut Session<'_>) {
        match self.rng.u8(..4) {
            0 => self.write(session),
            1 => self.poll(session),
            2 => self.read(session),
            _ => {
                // An event that is announced and not taken is announced again.
                let announced = session.poll(self.instant());
                if let Err(reason) = announced {
                    self.connection_over(reason, session);
                }
                true
            }
        };
    }

    fn see_connack(&mut self, session: &Session<'_>) {
        if session.is_connected() && !self.tap.connack_seen {
            self.tap.connack_seen = true;
            self.tap.excuse(self.now);
        }
    }

    fn sleep(&mut self, session: &mut Session<'_>) {
        if self.dialled.is_none() {
            return;
        }
        self.expects_no_event = true;
        self.see_connack(session);
        if !session.has_pending() {
            assert!(!session.space().is_empty(), "no space for received bytes");
            if self.tap.connack_seen {
                self.tap.check_silence(self.now);
            }
        }
        let now = self.instant();
        let deadline = session.deadline();
        assert!(
            deadline.is_none_or(|deadline| !deadline.has_passed(now)),
            "the deadline has passed and there is nothing to do"
        );
        self.wake = deadline.map(|deadline| self.now + Time::from(deadline.millis_after(now)));
    }

    fn client_down(&mut self, session: &mut Session<'_>) {
        // First the events received before the end, then the reason.
        while self.poll(session) {}
        self.expects_no_event = true;
        if self.now >= self.dial_at {
            self.dial(session);
        }
    }

    fn dial(&mut self, session: &mut Session<'_>) {
        let calm = self.calm_at.is_some();
        let clean_session = self.must_reset || self.chance(self.plan.clean);
        let generous = !calm && self.rng.u8(..4) == 0;
        let connect = Connect {
            clean_session,
            keep_alive: self.plan.keep_alive,
            will: generous.then(|| Will::new("w", b"")),
            credentials: generous.then_some(Credentials {
                user_name: "u",
                password: None,
            }),
            ..Connect::new("c")
        };
        let len = connect.encoded_len().unwrap();
        if let Err(error) = session.connect(&connect, self.instant()) {
            trace!(self, "connect: {error:?}");
            let room = matches!(
                error,
                RequestError::NoRoomForConnect { .. } | RequestError::PacketTooLarge { .. }
            );
            assert!(room && len > self.connect_len, "connect: {error:?}");
            return;
        }
        self.connect_len = self.connect_len.max(len);
        if clean_session || self.clean {
            self.connect_len = len;
            self.ledger.discards += 1;
            self.known = false;
        }
        self.clean = clean_session;
        let number = self.connections.len();
        trace!(self, "connection {number}, clean: {clean_session}");
        self.connections.push(Connection::new(self.plan.window));
        self.broker.accept(number);
        self.tap = Tap::new(number, connect.keep_alive, self.now);
        self.dialled = Some(number);
    }

    fn requests(&mut self, session: &mut Session<'_>) {
        let early = !session.is_connected();
        if early && !self.plan.pipeline {
            return;
        }
        if self.must_reset && !self.clean {
            // The broker may use the ids of this session for other messages.
            return;
        }
        while self.chance(self.plan.up.min(0.8)) {
            self.publish(session);
        }
        if self.plan.wrap && session.in_flight() > 0 {
            self.use_up_ids(session);
        }
        if self.chance(self.plan.subscribe) {
            self.subscribe(session);
        }
        if self.chance(self.plan.subscribe / 4.0) {
            self.unsubscribe(session);
        }
        if self.chance(self.plan.ping)
            && let Err(error) = session.ping()
        {
            let expected = error == RequestError::NotConnected && !session.is_connected();
            assert!(expected || session.disconnect().is_err(), "ping: {error:?}");
        }
        if self.chance(self.plan.leave) {
            trace!(self, "disconnect");
            let _ = session.disconnect();
        }
    }

    /// Publishes and discards messages until the next id is near those in flight.
    fn use_up_ids(&mut self, session: &mut Session<'_>) {
        for _ in 0..self.rng.u32(65_530..65_535) {
            let message = StreamedPublish::New {
                topic: "t",
                qos: QoS::AtLeastOnce,
                retain: false,
            };
            if session.begin_payload(message, 1).is_err() {
                return;
            }
            session.abandon_payload();
        }
        self.plan.wrap = false;
    }

    fn publish(&mut self, session: &mut Session<'_>) {
        let number = self.ledger.ups.len();
        let (mut qos, retain) = (self.draw_qos(), self.rng.bool());
        if self.checkpoints && session.is_message_open() {
            // It would need a checkpoint, and there is none before the current message is complete.
            qos = QoS::AtMostOnce;
        }
        let len = match self.rng.u8(..8) {
            0 => self.rng.usize(..self.capacities.tx),
            _ => self.rng.usize(..8),
        };
        let topic = format!("u/{number}");
        let message = Message {
            topic: &topic,
            payload: &ledger::payload(number, len),
            qos,
            retain,
            dup: self.rng.bool(),
        };
        match session.publish(&message) {
            Ok(id) => {
                trace!(self, "publish {number} {qos:?}: {id:?}");
                let up = self.ledger.new_up(qos, len, retain, self.dialled.unwrap());
                self.ledger.accepted_publish(up, id);
            }
            Err(error) => self.check_refusal(error, session),
        }
    }

    fn subscribe(&mut self, session: &mut Session<'_>) {
        let all = [("d/#", self.draw_qos()), ("x", self.draw_qos())];
        let filters = &all[..self.rng.usize(1..=2)];
        match session.subscribe(filters) {
            Ok(id) => {
                trace!(self, "subscribe {id}");
                self.subscribe_due = false;
                let connection = self.dialled.unwrap();
                self.ledger
                    .accepted_subscribe(id, filters.len(), connection);
            }
            Err(error) => self.check_refusal(error, session),
        }
    }

    fn unsubscribe(&mut self, session: &mut Session<'_>) {
        match session.unsubscribe(&["d/#"]) {
            Ok(id) => {
                trace!(self, "unsubscribe {id}");
                let connection = self.dialled.unwrap();
                self.ledger.accepted_unsubscribe(id, connection);
            }
            Err(error) => self.check_refusal(error, session),
        }
    }

    /// Checks that the reason of a refused call is true.
    fn check_refusal(&self, error: RequestError, session: &mut Session<'_>) {
        let is_justified = match error {
            RequestError::InflightFull { capacity } => {
                capacity == self.capacities.inflight && session.in_flight() == capacity
            }
            RequestError::SendBufferFull { needed, free } => needed > free,
            RequestError::PacketTooLarge { needed, capacity } => {
                needed > capacity && capacity == self.capacities.tx - 2 - self.connect_len
            }
            RequestError::NotConnected => session.disconnect().is_err(),
            _ => false,
        };
        assert!(
            is_justified,
            "{error:?} with {} in flight",
            session.in_flight()
        );
    }

    fn write(&mut self, session: &mut Session<'_>) -> bool {
        let Some(number) = self.dialled else {
            return false;
        };
        self.see_connack(session);
        let now = self.instant();
        let bytes = session.pending(now);
        if bytes.is_empty() {
            return false;
        }
        let connection = &mut self.connections[number];
        let limit = if self.plan.fragments {
            self.rng.usize(1..=bytes.len())
        } else {
            bytes.len()
        };
        let at = self.now + self.rng.u64(..=self.broker.behavior.latency);
        self.tap.excuse(connection.stalled_until.min(self.now));
        let taken = if connection.stalled_until > self.now {
            0
        } else {
            connection.up.write(&bytes[..limit], at)
        };
        self.tap
            .write(&mut self.ledger, bytes, taken, true, self.now);
        if taken == 0 {
            self.tap.excuse(self.now);
            return false;
        }
        session.consume(taken, now);
        true
    }

    fn read(&mut self, session: &mut Session<'_>) -> bool {
        let Some(number) = self.dialled else {
            return false;
        };
        let down = &mut self.connections[number].down;
        if down.has_ended(self.now) {
            trace!(self, "the end of connection {number} is read");
            self.lose_connection(session);
            return true;
        }
        let space = session.space();
        let limit = if self.plan.fragments && !space.is_empty() {
            self.rng.usize(1..=space.len())
        } else {
            space.len()
        };
        let read = down.read(self.now, &mut space[..limit]);
        session.commit(read);
        read > 0
    }

    fn poll(&mut self, session: &mut Session<'_>) -> bool {
        match session.poll(self.instant()) {
            Ok(Some(ready)) => {
                self.redeem(ready, session);
                true
            }
            Ok(None) => false,
            Err(reason) => {
                let over = self.dialled.is_some();
                self.connection_over(reason, session);
                over
            }
        }
    }

    /// Takes the event that a token announces, and records it.
    fn redeem(&mut self, ready: umqtt::EventToken, session: &mut Session<'_>) {
        let completes = ready.completed_request();
        let requests = self.ledger.requests();
        let event = match session.event(ready) {
            Ok(event) => event.expect("a fresh token announces an event"),
            Err(error) => panic!("the broker is lawful: {error:?}"),
        };
        trace!(self, "{event:?}");
        let id = match event {
            Event::Puback(id)
            | Event::Pubcomp(id)
            | Event::Suback(id, _)
            | Event::Unsuback(id)
            | Event::OutcomeUnknown(id)
            | Event::RequestRejected(id)
            | Event::PublishDiscarded(id)
            | Event::DeliveryUnknown(id) => Some(id),
            _ => None,
        };
        assert_eq!(completes, id, "{event:?}");
        let is_checkpoint = event == Event::CheckpointDue;
        self.event(event);
        if is_checkpoint {
            self.save(session);
        }
        let completed = requests - self.ledger.requests();
        assert_eq!(completed, usize::from(id.is_some()));
    }

    fn event(&mut self, event: Event<'_>) {
        let ledger = &mut self.ledger;
        match event {
            Event::Connected {
                session_present,
                unknown_session,
                ..
            } => {
                assert_eq!(unknown_session, session_present && !self.known);
                self.known = !self.clean;
                self.must_reset = unknown_session || (self.must_reset && !self.clean);
                self.subscribe_due = !session_present;
                if session_present {
                    let since = self.broker.session_since();
                    self.blind = since.is_some_and(|since| !self.connacks.contains(&since));
                }
                self.connacks.extend(self.dialled);
            }
            Event::Message(message) => ledger.message(&Received {
                topic: message.topic,
                bytes: message.payload,
                qos: message.qos,
                retain: message.retain,
                dup: message.dup,
            }),
            Event::Chunk(chunk) => {
                let received = Received {
                    topic: chunk.topic,
                    bytes: chunk.bytes,
                    qos: chunk.delivery.qos(),
                    retain: chunk.retain,
                    dup: chunk.delivery.dup(),
                };
                ledger.chunk(&received, chunk.offset, chunk.total);
            }
            Event::ChunksAborted => ledger.chunks_ended(),
            Event::TopicTooLong { len } => ledger.topic_too_long(len),
            Event::Puback(id) => ledger.completed(id, Outcome::Puback),
            Event::Pubcomp(id) => ledger.completed(id, Outcome::Pubcomp),
            Event::PublishDiscarded(id) => ledger.completed(id, Outcome::PublishDiscarded),
            Event::DeliveryUnknown(id) => ledger.completed(id, Outcome::DeliveryUnknown),
            Event::Suback(id, codes) => ledger.suback(id, &codes.iter().collect::<Vec<_>>()),
            Event::Unsuback(id) => ledger.unsuback(id),
            Event::OutcomeUnknown(id) => ledger.unanswered(id, false),
            Event::RequestRejected(id) => ledger.unanswered(id, true),
            Event::Qos0Dropped(count) => ledger.dropped(count),
            Event::CheckpointDue => {} // The caller saves.
            other => panic!("{other:?} is new here"),
        }
    }

    /// Handles the end of the connection, which the session has reported.
    fn connection_over(&mut self, reason: ProtocolError, session: &mut Session<'_>) {
        let Some(number) = self.dialled else {
            let last = self.connections.len().checked_sub(1);
            if let (ProtocolError::Refused(_), Some(number)) = (reason, last) {
                self.ledger.refusal_seen(number);
            }
            return;
        };
        trace!(self, "connection {number} is over: {reason:?}");
        let lawful = match reason {
            ProtocolError::Closed => true,
            ProtocolError::Refused(_) => {
                self.ledger.refusal_seen(number);
                true
            }
            ProtocolError::ConnackTimeout
            | ProtocolError::PingrespTimeout
            | ProtocolError::RequestTimeout { .. }
            | ProtocolError::WriteTimeout => true,
            ProtocolError::TooManyQos2Messages { capacity } => {
                capacity == self.capacities.inbound && self.broker.behavior.window > capacity
            }
            _ => false,
        };
        assert!(lawful, "the broker is lawful: {reason:?}");
        self.lose_connection(session);
    }

    fn lose_connection(&mut self, session: &mut Session<'_>) {
        let Some(number) = self.dialled.take() else {
            return;
        };
        session.connection_lost();
        self.hang_up(number);
    }

    fn hang_up(&mut self, number: usize) {
        self.tap.end(&mut self.ledger);
        let connection = &mut self.connections[number];
        connection.down.abandon();
        connection.up.close(self.now);
        self.dial_at = self.now + self.rng.u64(..2_000);
    }
}

// Save, kill, restore.
impl History {
    fn save(&mut self, session: &Session<'_>) {
        let mut image = vec![0; self.capacities.image];
        let saved = session.save(&mut image).expect("IMAGE_LEN is enough");
        image.truncate(saved.len);
        self.saved = Some(Saved {
            image,
            snapshot: self.ledger.snapshot(),
            clean: self.clean,
            known: self.known,
            connect_len: self.connect_len,
        });
    }

    /// The device loses power, or saves and sleeps. Returns `false` if it cannot sleep now.
    fn kill(&mut self, session: &mut Session<'_>) -> bool {
        if !self.checkpoints {
            // An older image would be outdated.
            self.saved = None;
        }
        if !self.checkpoints && self.rng.u8(..8) > 0 {
            if !self.expects_no_event {
                return false;
            }
            self.save(session);
        }
        trace!(self, "--- killed, with an image: {}", self.saved.is_some());
        if let Some(number) = self.dialled.take() {
            self.hang_up(number);
        }
        self.ledger
            .roll_back(self.saved.as_ref().map(|saved| &saved.snapshot));
        self.wake = None;
        match &self.saved {
            Some(saved) => {
                self.clean = saved.clean;
                self.known = saved.known;
                self.connect_len = saved.connect_len;
            }
            None => {
                self.clean = false;
                self.known = false;
                self.connect_len = 0;
                self.must_reset = true;
            }
        }
        true
    }
}
