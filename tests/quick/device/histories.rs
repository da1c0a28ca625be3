//! Random histories of an async device: its tasks, their broker and the network between them, under a virtual clock.
//!
//! Each history follows from its seed. Tasks publish at all QoS, with and without streamed payloads, and subscribe.
//! Calls and `run` are dropped at any poll, handlers postpone events, and connections are cut at any byte. The broker
//! forgets the session, sessions change during a save, and there may be more tasks than places. In most histories
//! the faults then end: each task must end, and each message must be received. In the others, the device is shut down
//! or its runner is dropped while tasks wait: each task must end.
//!
//! A debug build runs 200 histories, and a release build (`.ci/exhaustive`) 10,000. `DEVICE_COUNT=n` sets the number of
//! histories, and `DEVICE_FIRST=n` the first seed. The counts of all kinds of events are printed (see [`KINDS`]).

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    rc::Rc,
    sync::Mutex,
};

use embassy_futures::select::{Either, select};
use fastrand::Rng;
use umqtt::{
    Config, DeviceError, Ended, Event, Handled, ProtocolError, RequestError, Storage,
    StreamedPublish,
    asynch::{Device, DeviceState, Mqtt, Runner},
    client::Error,
    codec::{Connect, Delivery, Packet, PacketId, QoS},
};

use super::tasks::{Tasks, pause};
use crate::common::{
    connack, message, publish_as, pubrel, server,
    world::{NetworkFaults, World},
};

/// Seeds that failed once.
const FAILED: &[u64] = &[396, 1_817];

/// The number of histories, unless `DEVICE_COUNT` sets it.
const COUNT: u64 = if cfg!(debug_assertions) { 200 } else { 10_000 };

/// Kinds of events in the histories, with their minimum counts in 1,000 histories.
const KINDS: &[(&str, u64)] = &[
    ("publish was dropped", 50),
    ("publish_and_wait was dropped", 100),
    ("publish_slices was dropped", 65),
    ("publish_from was dropped", 65),
    ("subscribe was dropped", 35),
    ("connected was dropped", 35),
    ("all places were taken", 100),
    ("a connection was closed inside a payload", 50),
    ("run was dropped", 200),
    ("run was dropped while connected", 200),
    ("the runner was dropped while tasks waited", 20),
    ("the device was shut down while tasks waited", 20),
    ("a dial hung", 450),
    ("a message was not handled now", 2_000),
    ("a chunk was not handled now", 1_500),
    ("a checkpoint was not handled now", 600),
    ("a save was overtaken", 100),
    ("the connection was cut inside a packet", 4_000),
    ("the connection was cut", 4_000),
    ("the server closed the connection", 4_000),
    ("the connection was reset", 4_000),
    ("the server forgot the session", 400),
    ("a message was sent again", 200),
    ("a message was received again", 200),
    ("the handler answered", 900),
    ("NotConnected", 1_500),
    ("CheckpointDue", 15),
    ("NotWritten", 10),
    ("PayloadInterrupted", 8),
    ("DeliveryUnknown", 2),
    ("OutcomeUnknown", 10),
];

/// Number of places for tasks that wait.
const PLACES: usize = 4;

/// Virtual time in ms at which the faults end.
const CALM_AT: u32 = 60_000;
/// Virtual time in ms until which all tasks must end.
const END_AT: u32 = 900_000;

#[test]
fn random_histories_lose_and_repeat_nothing() {
    let setting = |name: &str| std::env::var(name).ok()?.parse().ok();
    let first = setting("DEVICE_FIRST").unwrap_or(0);
    let count = setting("DEVICE_COUNT").unwrap_or(COUNT);
    let seeds = Mutex::new(first..first + count);
    let kinds = Mutex::new(Kinds::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().unwrap().next() else {
                        break;
                    };
                    let ran = std::panic::catch_unwind(|| run(seed));
                    let Ok(ran) = ran else {
                        panic!("DEVICE_FIRST={seed} DEVICE_COUNT=1");
                    };
                    let mut kinds = kinds.lock().unwrap();
                    for (kind, n) in ran {
                        *kinds.entry(kind).or_default() += n;
                    }
                }
            });
        }
    });
    let kinds = kinds.into_inner().unwrap();
    println!("{count} histories: {kinds:#?}");
    for (kind, per_mille) in KINDS {
        let n = kinds.get(kind).copied().unwrap_or_default();
        assert!(
            n >= count * per_mille / 1_000,
            "{kind}: {n} times in {count} histories"
        );
    }
}

#[test]
fn recorded_failed_histories_pass() {
    for seed in FAILED {
        run(*seed);
    }
}

/// The counts of each kind of event.
type Kinds = BTreeMap<&'static str, u64>;

/// The end of a history.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// All messages are received, and the device is shut down.
    Calm,
    /// At this time, in ms, the device is shut down.
    ShutDown(u32),
    /// At this time, in ms, the runner is dropped.
    RunnerDropped(u32),
}

/// The expected state of a message from the device. Its number is its index.
#[derive(Clone, Copy)]
struct Up {
    task: usize,
    qos: QoS,
    len: usize,
    /// Number of times that the broker had lost the session before.
    forgets: u32,
    arrived: u32,
    /// It has to arrive.
    is_accepted: bool,
    /// It must not arrive.
    is_rejected: bool,
}

/// A message to the device.
#[derive(Clone, Copy)]
struct Down {
    qos: QoS,
    handled: u32,
    forgets: u32,
    /// The broker forgot it.
    is_lost: bool,
}

/// A message in flight to the device.
struct Out {
    id: u16,
    number: usize,
    has_pubrec: bool,
}

/// The broker, and the packets of both sides.
#[derive(Default)]
struct Ledger {
    kinds: Kinds,
    ups: Vec<Up>,
    downs: Vec<Down>,
    /// Some messages to the device are larger than its receive buffer.
    has_chunks: bool,
    /// Messages whose end the handler must receive, by id.
    open: HashMap<PacketId, usize>,
    /// Requests whose calls were dropped, or whose end the handler may receive.
    dropped_calls: u32,
    forgets: u32,
    has_session: bool,
    is_online: bool,
    received: HashSet<PacketId>,
    out: Vec<Out>,
    next_id: u16,
    last_up: HashMap<(usize, QoS), usize>,
}

fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number * 31 + at * 7) as u8).collect()
}

impl Ledger {
    fn count(&mut self, kind: &'static str) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn begin(&mut self, task: usize, qos: QoS, len: usize) -> usize {
        self.ups.push(Up {
            task,
            qos,
            len,
            forgets: self.forgets,
            arrived: 0,
            is_accepted: false,
            is_rejected: false,
        });
        self.ups.len() - 1
    }

    /// Records a message that the broker has received.
    fn arrived(&mut self, topic: &str, bytes: &[u8], qos: QoS) {
        let number: usize = topic.strip_prefix("u/").unwrap().parse().unwrap();
        let forgets = self.forgets;
        let up = &mut self.ups[number];
        assert_eq!(up.qos, qos);
        assert!(
            bytes == payload(number, up.len),
            "payload of message {number}"
        );
        assert!(!up.is_rejected, "message {number} was rejected");
        up.arrived += 1;
        let allowed = match qos {
            QoS::AtMostOnce => 1,
            QoS::AtLeastOnce => u32::MAX,
            QoS::ExactlyOnce => 1 + forgets - up.forgets,
        };
        assert!(up.arrived <= allowed, "message {number} arrived again");
        if up.arrived == 1 {
            let last = self.last_up.insert((up.task, qos), number);
            assert!(
                last.is_none_or(|last| last < number),
                "{number} after {last:?}"
            );
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        match packet {
            Packet::Connect(_) => {
                self.is_online = true;
                let mut answer = connack(self.has_session);
                self.has_session = true;
                for out in &self.out {
                    if out.has_pubrec {
                        answer.extend(pubrel(out.id));
                    } else {
                        answer.extend(self.publish(out, true));
                    }
                }
                return answer;
            }
            Packet::Publish(publish) => {
                let qos = publish.delivery.qos();
                if publish.delivery.dup() {
                    self.count("a message was sent again");
                }
                let is_new = match publish.delivery {
                    Delivery::ExactlyOnce { packet_id, .. } => self.received.insert(packet_id),
                    _ => true,
                };
                if is_new {
                    self.arrived(publish.topic.as_str(), publish.payload, qos);
                }
            }
            Packet::Pubrel(ack) => {
                self.received.remove(&ack.packet_id);
            }
            Packet::Puback(ack) => self.out.retain(|out| out.id != ack.packet_id.get()),
            Packet::Pubcomp(ack) => self.out.retain(|out| out.id != ack.packet_id.get()),
            Packet::Pubrec(ack) => {
                let id = ack.packet_id.get();
                if let Some(out) = self.out.iter_mut().find(|out| out.id == id) {
                    out.has_pubrec = true;
                }
            }
            _ => {}
        }
        server(packet)
    }

    fn publish(&self, out: &Out, dup: bool) -> Vec<u8> {
        let qos = self.downs[out.number].qos;
        let delivery = crate::common::delivery(qos, out.id, dup);
        let topic = format!("d/{}", out.number);
        let bytes = payload(out.number, self.down_len(out.number));
        publish_as(&topic, &bytes, delivery, false)
    }

    /// Returns the length of a message to the device.
    fn down_len(&self, number: usize) -> usize {
        let is_large = self.has_chunks && number % 4 == 3;
        number % 90 + if is_large { 200 } else { 0 }
    }

    /// Publishes a message to the device, if it is connected. Returns the packet.
    fn offer(&mut self, qos: QoS) -> Vec<u8> {
        if !self.is_online || self.out.len() >= 3 {
            return Vec::new();
        }
        self.downs.push(Down {
            qos,
            handled: 0,
            forgets: self.forgets,
            is_lost: qos == QoS::AtMostOnce,
        });
        self.next_id = self.next_id % 50 + 1;
        while self.out.iter().any(|out| out.id == self.next_id) {
            self.next_id = self.next_id % 50 + 1;
        }
        let out = Out {
            id: self.next_id,
            number: self.downs.len() - 1,
            has_pubrec: false,
        };
        let bytes = self.publish(&out, false);
        if qos != QoS::AtMostOnce {
            self.out.push(out);
        }
        bytes
    }

    /// Makes the broker forget the session, unless the device is connected.
    fn forget(&mut self) {
        if !self.is_online {
            self.has_session = false;
            self.forgets += 1;
            self.received.clear();
            for out in self.out.drain(..) {
                self.downs[out.number].is_lost = true;
            }
            self.count("the server forgot the session");
        }
    }

    /// Records that the handler has handled a message.
    fn handled(&mut self, topic: &str, bytes: &[u8]) {
        let number: usize = topic.strip_prefix("d/").unwrap().parse().unwrap();
        assert!(
            bytes == payload(number, self.down_len(number)),
            "payload of message {number} to the device"
        );
        let forgets = self.forgets;
        let down = &mut self.downs[number];
        down.handled += 1;
        let allowed = match down.qos {
            QoS::AtMostOnce => 1,
            QoS::AtLeastOnce => u32::MAX,
            QoS::ExactlyOnce => 1 + forgets - down.forgets,
        };
        assert!(
            down.handled <= allowed,
            "message {number} was handled again"
        );
        if down.handled > 1 {
            self.count("a message was received again");
        }
    }

    /// Records that the handler has received the end of a request.
    fn record_reported(&mut self, id: PacketId) {
        if self.open.remove(&id).is_none() {
            assert!(self.dropped_calls > 0, "the end of {id} was reported twice");
            self.dropped_calls -= 1;
        }
    }

    fn is_at_rest(&self) -> bool {
        self.open.is_empty() && self.out.is_empty()
    }
}

/// The random settings of a history. Rates are in percent.
struct Plan {
    /// Calls that are dropped.
    drops: u8,
    /// Events that the handler does not handle now.
    refusals: u8,
    /// Received messages that the handler answers.
    answers: u8,
    keep_alive: u16,
    checkpoints: bool,
    tasks: usize,
    /// Maximum time in ms between two faults of the network.
    cut_every: u32,
    ending: Ending,
}

/// The common state of all tasks of a history.
struct History<'h> {
    seed: u64,
    world: &'h World,
    ledger: &'h RefCell<Ledger>,
    rng: &'h RefCell<Rng>,
    plan: &'h Plan,
    running: &'h Cell<usize>,
}

impl History<'_> {
    fn is_calm(&self) -> bool {
        self.world.millis() >= CALM_AT
    }

    fn chance(&self, percent: u8) -> bool {
        !self.is_calm() && self.rng.borrow_mut().u8(..100) < percent
    }

    fn below(&self, limit: usize) -> usize {
        self.rng.borrow_mut().usize(..limit)
    }

    fn qos(&self) -> QoS {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.below(3)]
    }

    fn count(&self, kind: &'static str) {
        self.ledger.borrow_mut().count(kind);
    }

    /// Counts an error. Checks that the device is shut down, or its runner dropped, only if the plan requires it.
    fn note(&self, error: DeviceError) {
        let kind = match error {
            DeviceError::TooManyTasks { .. } => "all places were taken",
            DeviceError::Request(RequestError::NotConnected) => "NotConnected",
            DeviceError::Request(RequestError::CheckpointDue) => "CheckpointDue",
            DeviceError::NotWritten => "NotWritten",
            DeviceError::PayloadInterrupted => "PayloadInterrupted",
            DeviceError::DeliveryUnknown => "DeliveryUnknown",
            DeviceError::OutcomeUnknown => "OutcomeUnknown",
            DeviceError::ShutDown => {
                assert!(matches!(self.plan.ending, Ending::ShutDown(_)));
                return;
            }
            DeviceError::RunnerGone => {
                assert!(matches!(self.plan.ending, Ending::RunnerDropped(_)));
                return;
            }
            _ => return,
        };
        self.count(kind);
    }

    /// Runs a call, and drops it at a random poll if the plan requires it.
    async fn limited<R>(
        &self,
        dropped: &'static str,
        call: impl Future<Output = Result<R, DeviceError>>,
    ) -> Option<Result<R, DeviceError>> {
        let mut left = if self.chance(self.plan.drops) {
            Some(self.below(6))
        } else {
            None
        };
        let mut call = Box::pin(call);
        let result = core::future::poll_fn(|cx| {
            match &mut left {
                Some(0) => return core::task::Poll::Ready(None),
                Some(left) => *left -= 1,
                None => {}
            }
            call.as_mut().poll(cx).map(Some)
        })
        .await;
        match &result {
            None => self.count(dropped),
            Some(Err(error)) => self.note(*error),
            Some(Ok(_)) => {}
        }
        result
    }

    /// Runs one task of the application.
    async fn task(&self, number: usize, mqtt: Mqtt<'_, PLACES>) {
        for _ in 0..8 {
            match self.below(10) {
                0..3 => self.publish(number, mqtt).await,
                3..6 => self.publish_and_wait(number, mqtt).await,
                6..8 => self.send_payload(number, mqtt).await,
                8 => {
                    let call = mqtt.subscribe(&[("x", QoS::AtLeastOnce)]);
                    let call = self.limited("subscribe was dropped", call).await;
                    self.end_subscribe(call.map(|granted| granted.map(drop)));
                }
                _ => {
                    let call = self.limited("connected was dropped", mqtt.connected());
                    if let Some(Err(error)) = call.await {
                        let is_expected = matches!(
                            error,
                            DeviceError::TooManyTasks { .. }
                                | DeviceError::ShutDown
                                | DeviceError::RunnerGone
                        );
                        assert!(is_expected, "{error:?}");
                    }
                }
            }
            let millis = self.below(3_000) as u32;
            pause(self.world, millis).await;
        }
        self.running.set(self.running.get() - 1);
    }

    async fn publish(&self, task: usize, mqtt: Mqtt<'_, PLACES>) {
        let (qos, len) = (self.qos(), self.below(60));
        let number = self.ledger.borrow_mut().begin(task, qos, len);
        let (topic, bytes) = (format!("u/{number}"), payload(number, len));
        let up = message(&topic, &bytes, qos);
        let result = if self.below(4) == 0 {
            Some(mqtt.try_publish(&up))
        } else {
            self.limited("publish was dropped", mqtt.publish(&up)).await
        };
        let ledger = &mut *self.ledger.borrow_mut();
        match result {
            None => ledger.ups[number].is_rejected = true,
            Some(Ok(id)) => {
                assert_eq!(id.is_some(), qos != QoS::AtMostOnce);
                ledger.ups[number].is_accepted = id.is_some();
                if let Some(id) = id {
                    assert!(ledger.open.insert(id, number).is_none());
                }
            }
            Some(Err(error)) => {
                ledger.ups[number].is_rejected = true;
                let is_expected = matches!(
                    error,
                    DeviceError::TooManyTasks { .. }
                        | DeviceError::ShutDown
                        | DeviceError::RunnerGone
                        | DeviceError::Request(
                            RequestError::NotConnected
                                | RequestError::CheckpointDue
                                | RequestError::SendBufferFull { .. }
                                | RequestError::InflightFull { .. }
                        )
                );
                assert!(is_expected, "{error:?}");
            }
        }
    }

    async fn publish_and_wait(&self, task: usize, mqtt: Mqtt<'_, PLACES>) {
        let (qos, len) = (self.qos(), self.below(60));
        let number = self.ledger.borrow_mut().begin(task, qos, len);
        let (topic, bytes) = (format!("u/{number}"), payload(number, len));
        let up = message(&topic, &bytes, qos);
        let call = mqtt.publish_and_wait(&up);
        let result = self.limited("publish_and_wait was dropped", call).await;
        self.end_publish(number, result);
    }

    async fn send_payload(&self, task: usize, mqtt: Mqtt<'_, PLACES>) {
        let (qos, len) = (self.qos(), [0, 1, 70, 400][self.below(4)]);
        let number = self.ledger.borrow_mut().begin(task, qos, len);
        let (topic, bytes) = (format!("u/{number}"), payload(number, len));
        let message = StreamedPublish::New {
            topic: &topic,
            qos,
            retain: false,
        };
        let result = if self.below(2) == 0 {
            let (one, other) = bytes.split_at(self.below(len + 1));
            let slices = [one, other];
            let call = mqtt.publish_slices(message, &slices);
            self.limited("publish_slices was dropped", call).await
        } else {
            let call = mqtt.publish_from(message, len, &bytes[..]);
            self.limited("publish_from was dropped", call).await
        };
        self.end_publish(number, result);
    }

    /// Records the end of a call that waited for its message.
    fn end_publish(&self, number: usize, result: Option<Result<(), DeviceError>>) {
        let ledger = &mut *self.ledger.borrow_mut();
        let up = &mut ledger.ups[number];
        match result {
            None => ledger.dropped_calls += 1,
            Some(Ok(())) => assert!(up.arrived > 0, "message {number} was acknowledged unseen"),
            Some(Err(error)) => match error {
                DeviceError::NotWritten => assert_eq!(up.qos, QoS::AtMostOnce),
                // The handler receives the event that the message was discarded, or was acknowledged.
                DeviceError::PayloadInterrupted
                | DeviceError::ShutDown
                | DeviceError::RunnerGone => ledger.dropped_calls += 1,
                DeviceError::DeliveryUnknown => assert!(ledger.forgets > up.forgets),
                DeviceError::TooManyTasks { .. }
                | DeviceError::Request(RequestError::NotConnected | RequestError::CheckpointDue) => {
                    up.is_rejected = true
                }
                error => panic!("message {number}: {error:?}"),
            },
        }
    }

    fn end_subscribe(&self, result: Option<Result<(), DeviceError>>) {
        match result {
            None | Some(Err(DeviceError::ShutDown | DeviceError::RunnerGone)) => {
                self.ledger.borrow_mut().dropped_calls += 1;
            }
            Some(
                Ok(())
                | Err(
                    DeviceError::TooManyTasks { .. }
                    | DeviceError::OutcomeUnknown
                    | DeviceError::Request(RequestError::NotConnected | RequestError::CheckpointDue),
                ),
            ) => {}
            Some(other) => panic!("subscribe: {other:?}"),
        }
    }

    /// Runs one connection after the other, and drops some of them.
    async fn network(&self, mut runner: Runner<'_, &World, PLACES>) {
        let mut chunks = Vec::new();
        loop {
            let hangs = self.chance(10);
            if hangs {
                self.count("a dial hung");
            }
            let millis = 1 + self.below(if hangs { 20_000 } else { 1_000 }) as u32;
            pause(self.world, millis).await;
            self.ledger.borrow_mut().is_online = false;
            if self.chance(10) {
                self.ledger.borrow_mut().forget();
            }
            let socket = self.world.dial();
            self.world.set_room(usize::MAX);
            chunks.clear();
            let run = runner.run(socket, |event, publisher| {
                let can_wait = matches!(
                    event,
                    Event::Message(_) | Event::Chunk(_) | Event::CheckpointDue
                );
                if can_wait && self.chance(self.plan.refusals) {
                    self.count(match event {
                        Event::Message(_) => "a message was not handled now",
                        Event::Chunk(_) => "a chunk was not handled now",
                        _ => "a checkpoint was not handled now",
                    });
                    return Handled::NotNow;
                }
                match event {
                    Event::Message(message) => {
                        self.ledger
                            .borrow_mut()
                            .handled(message.topic, message.payload);
                        if self.chance(self.plan.answers) {
                            self.count("the handler answered");
                            self.answer(publisher);
                        }
                    }
                    Event::Chunk(chunk) => {
                        if chunk.offset == 0 {
                            chunks.clear();
                        }
                        assert_eq!(chunk.offset, chunks.len());
                        chunks.extend_from_slice(chunk.bytes);
                        if chunk.is_last() {
                            self.ledger.borrow_mut().handled(chunk.topic, &chunks);
                        }
                    }
                    Event::Puback(id)
                    | Event::Pubcomp(id)
                    | Event::PublishDiscarded(id)
                    | Event::DeliveryUnknown(id)
                    | Event::OutcomeUnknown(id)
                    | Event::Suback(id, _) => self.ledger.borrow_mut().record_reported(id),
                    Event::PayloadNeeded(id) => panic!("payload of {id}: its task provides it"),
                    _ => {}
                }
                Handled::Done
            });
            if self.chance(20) {
                let millis = self.below(5_000) as u32;
                if let Either::Second(()) = select(run, pause(self.world, millis)).await {
                    self.count("run was dropped");
                    if self.ledger.borrow().is_online {
                        self.count("run was dropped while connected");
                    }
                }
                continue;
            }
            match run.await {
                Ended::Shutdown => return,
                Ended::Lost { error, .. } => {
                    if let Error::Protocol(ProtocolError::PayloadAborted) = error {
                        self.count("a connection was closed inside a payload");
                    }
                }
            }
        }
    }

    /// Publishes a message in the handler.
    fn answer(&self, publisher: &mut umqtt::Publisher<'_, '_>) {
        let (qos, len) = (self.qos(), self.below(20));
        let ledger = &mut *self.ledger.borrow_mut();
        let number = ledger.begin(usize::MAX, qos, len);
        let (topic, bytes) = (format!("u/{number}"), payload(number, len));
        match publisher.publish(&message(&topic, &bytes, qos)) {
            Ok(id) => {
                ledger.ups[number].is_accepted = id.is_some();
                if let Some(id) = id {
                    assert!(ledger.open.insert(id, number).is_none());
                }
            }
            Err(_) => ledger.ups[number].is_rejected = true,
        }
    }

    /// Causes faults of the network, and sends messages of other clients.
    async fn chaos(&self) {
        while !self.is_calm() {
            let millis = 1 + self.below(self.plan.cut_every as usize) as u32;
            pause(self.world, millis).await;
            if self.is_calm() {
                break;
            }
            match self.below(6) {
                0 => {
                    self.count("the connection was cut inside a packet");
                    let room = self.below(200);
                    self.world.set_room(room);
                    pause(self.world, 50).await;
                    self.world.cut();
                }
                1 => {
                    self.count("the connection was cut");
                    self.world.cut();
                }
                2 => {
                    self.count("the server closed the connection");
                    self.world.end();
                }
                3 => {
                    self.count("the connection was reset");
                    self.world.reset();
                }
                _ => {
                    let bytes = self.ledger.borrow_mut().offer(self.qos());
                    self.world.feed(&bytes);
                }
            }
        }
        self.world.set_room(usize::MAX);
    }

    /// Runs a task that saves, and lets the handler continue.
    async fn save_and_resume(&self, mqtt: Mqtt<'_, PLACES>) {
        let (mut image, mut newer) = ([0; 4_000], [0; 4_000]);
        loop {
            let millis = 1 + self.below(500) as u32;
            pause(self.world, millis).await;
            if self.plan.checkpoints {
                let saved = mqtt.save(&mut image).unwrap();
                if !self.is_calm() {
                    pause(self.world, millis / 10).await;
                    if mqtt.save(&mut newer).unwrap().generation != saved.generation {
                        self.count("a save was overtaken");
                    }
                }
                mqtt.saved(saved.generation).unwrap();
            }
            mqtt.resume();
            if matches!(
                mqtt.state(),
                DeviceState::ShutDown | DeviceState::RunnerGone
            ) {
                return;
            }
        }
    }

    /// Shuts the device down at its time, or when everything has ended; then all tasks have to end.
    async fn finish(&self, mqtt: Mqtt<'_, PLACES>) {
        match self.plan.ending {
            Ending::Calm => {}
            Ending::ShutDown(at) => {
                pause(self.world, at).await;
                if self.running.get() > 0 {
                    self.count("the device was shut down while tasks waited");
                }
                mqtt.shut_down();
            }
            Ending::RunnerDropped(at) => {
                pause(self.world, at).await;
                if self.running.get() > 0 {
                    self.count("the runner was dropped while tasks waited");
                }
            }
        }
        let is_over = || {
            self.plan.ending != Ending::Calm || self.is_calm() && self.ledger.borrow().is_at_rest()
        };
        while self.running.get() > 0 || !is_over() {
            pause(self.world, 1_000).await;
            assert!(
                self.world.millis() < END_AT,
                "seed {}: {} tasks run, for the handler: {:?}, out: {}",
                self.seed,
                self.running.get(),
                self.ledger.borrow().open,
                self.ledger.borrow().out.len(),
            );
        }
        mqtt.shut_down();
    }
}

/// Runs the history of this seed, and returns the counts of its events. Panics if a guarantee is violated.
fn run(seed: u64) -> Kinds {
    let mut rng = Rng::with_seed(seed);
    // Separate random numbers, so that the histories of older seeds do not change.
    let mut endings = Rng::with_seed(!seed);
    let end_at = endings.u32(..20_000);
    let has_chunks = endings.bool() && !FAILED.contains(&seed);
    let ending = match endings.u8(..10) {
        _ if FAILED.contains(&seed) => Ending::Calm,
        0 => Ending::ShutDown(end_at),
        1 => Ending::RunnerDropped(end_at),
        _ => Ending::Calm,
    };
    let plan = Plan {
        drops: [0, 10, 40][rng.usize(..3)],
        refusals: [0, 20, 60][rng.usize(..3)],
        answers: [0, 50][rng.usize(..2)],
        keep_alive: [0, 10][rng.usize(..2)],
        checkpoints: rng.u8(..4) == 0,
        tasks: rng.usize(1..PLACES + 3),
        cut_every: [500, 5_000, 30_000][rng.usize(..3)],
        ending,
    };
    let network_faults = NetworkFaults {
        pauses: [0, 10, 40][rng.usize(..3)],
        most: [7, 60, usize::MAX][rng.usize(..3)],
    };
    let world = World::with(seed, network_faults);
    let ledger = Ledger {
        has_chunks,
        ..Ledger::default()
    };
    let ledger = Rc::new(RefCell::new(ledger));
    let broker = Rc::clone(&ledger);
    world.answer(move |packet| broker.borrow_mut().packet(packet));
    let mut storage = Storage::<128, 320, 4>::new();
    let config = Config {
        connect: Connect {
            clean_session: false,
            keep_alive: plan.keep_alive,
            ..Connect::new("device")
        },
        subscriptions: &[("in/#", QoS::AtLeastOnce)],
    };
    let world_ref = &world;
    let mut device: Device<'_, &World, PLACES> =
        Device::new(&mut storage, world_ref, &config).unwrap();
    device.session().set_checkpoints(plan.checkpoints);
    let (mqtt, runner) = device.split();
    let (rng, running) = (RefCell::new(rng), Cell::new(plan.tasks));
    let history = History {
        seed,
        world: &world,
        ledger: &ledger,
        rng: &rng,
        plan: &plan,
        running: &running,
    };
    let mut tasks = Tasks::with_seed(seed);
    for task in 0..plan.tasks {
        tasks.spawn(history.task(task, mqtt));
    }
    tasks.spawn(async {
        let network = history.network(runner);
        if let Ending::RunnerDropped(at) = ending {
            select(network, pause(&world, at)).await;
        } else {
            network.await;
        }
    });
    tasks.spawn(history.chaos());
    tasks.spawn(history.save_and_resume(mqtt));
    tasks.spawn(history.finish(mqtt));
    world.run(&mut tasks);
    drop(tasks);
    let mut ledger = ledger.borrow_mut();
    let kinds = core::mem::take(&mut ledger.kinds);
    if ending != Ending::Calm {
        return kinds;
    }
    for (number, up) in ledger.ups.iter().enumerate() {
        let has_arrived = up.arrived > 0;
        assert!(
            has_arrived || !up.is_accepted,
            "seed {seed}: message {number} is lost"
        );
    }
    for (number, down) in ledger.downs.iter().enumerate() {
        assert!(
            down.handled > 0 || down.is_lost,
            "seed {seed}: message {number} to the device is lost"
        );
    }
    kinds
}
