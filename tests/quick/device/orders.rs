//! Every order of the turns of a few tasks of an async device, its runner, its server and its network, up to a depth.
//! Also every order that differs from the usual one in a few steps. A task can be dropped, and a connection can end, at
//! any of these steps.
//!
//! No time passes, and a task is polled only if it was woken. A task that is not woken therefore waits without end.
//! These tests detect that. They also check that each message arrives once and in order, and that each place is free
//! again. A place is the room for one waiting call.
//!
//! A debug build tries fewer orders than a release build (`.ci/exhaustive`). `ORDERS_DEPTH=n` and `ORDERS_DEVIATIONS=n`
//! choose how many. The number of histories is printed.

use std::{
    cell::{Cell, RefCell},
    collections::{HashSet, VecDeque},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use embassy_futures::select::{Either, select};
use umqtt::{
    DeviceError, Ended, Event, Handled, Publisher, RequestError, Storage, StreamedPublish,
    asynch::{Device, Mqtt, Runner},
    codec::{Delivery, Packet, PacketId, QoS},
};

use super::{
    tasks::config,
    turns::{Bound, Choices, Signal, Turns},
};
use crate::common::{connack, message, publish_as, pubrel, server, world::World};

const QOS0: QoS = QoS::AtMostOnce;
const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

/// More turns than any history needs.
const MOST_TURNS: usize = 1_000;

/// Number of free choices at the beginning of a history.
const DEPTH: usize = if cfg!(debug_assertions) { 4 } else { 6 };
/// Number of choices, anywhere in a history, that differ from the usual one.
const DEVIATIONS: usize = if cfg!(debug_assertions) { 1 } else { 2 };

/// The work of a task.
#[derive(Clone, Copy, Debug)]
enum Act {
    Publish(QoS),
    PublishAndWait(QoS),
    Slices(QoS, usize),
    From(QoS, usize),
    Subscribe,
    Connected,
    Subscribed,
    /// Publishes, and discards the message.
    Discard,
    /// Resumes the handler that has postponed an event.
    Resume,
    ShutDown,
    ShutDownWhenConnected,
}

/// A small set of tasks, and the possible events.
struct Scenario {
    name: &'static str,
    tasks: &'static [Act],
    /// There is a standing subscription.
    subscribes: bool,
    /// The server sends a message, which the handler refuses once.
    receives: bool,
    /// Bytes that the network accepts at once.
    room: usize,
    /// Tasks that can be dropped, and connections that can end, in one history.
    faults: usize,
    /// The runner can be dropped permanently.
    loses_runner: bool,
}

impl Scenario {
    const DEFAULT: Self = Self {
        name: "",
        tasks: &[],
        subscribes: false,
        receives: false,
        room: usize::MAX,
        faults: 2,
        loses_runner: false,
    };
}

#[test]
fn every_order_of_publishers_ends() {
    explore::<1, 3>(&Scenario {
        name: "publishers at QoS 0, 1 and 2 for one slot",
        tasks: &[Act::Publish(QOS1), Act::Publish(QOS2), Act::Publish(QOS0)],
        ..Scenario::DEFAULT
    });
    explore::<4, 3>(&Scenario {
        name: "publishers with slots for all",
        tasks: &[Act::Publish(QOS2), Act::PublishAndWait(QOS1)],
        room: 30,
        ..Scenario::DEFAULT
    });
    explore::<1, 2>(&Scenario {
        name: "three tasks for two places",
        tasks: &[
            Act::PublishAndWait(QOS1),
            Act::PublishAndWait(QOS2),
            Act::Publish(QOS1),
        ],
        ..Scenario::DEFAULT
    });
    explore::<1, 3>(&Scenario {
        name: "a discarded message makes room",
        tasks: &[Act::Discard, Act::Publish(QOS1), Act::Publish(QOS2)],
        ..Scenario::DEFAULT
    });
}

#[test]
fn every_order_of_waiting_publishers_ends() {
    explore::<1, 3>(&Scenario {
        name: "waiting publishers for one slot",
        tasks: &[
            Act::PublishAndWait(QOS2),
            Act::PublishAndWait(QOS1),
            Act::PublishAndWait(QOS0),
        ],
        ..Scenario::DEFAULT
    });
}

#[test]
fn every_order_of_payloads_ends() {
    explore::<1, 3>(&Scenario {
        name: "payloads in pieces, and a publisher",
        tasks: &[
            Act::Slices(QOS1, 100),
            Act::From(QOS2, 70),
            Act::Publish(QOS1),
        ],
        room: 50,
        ..Scenario::DEFAULT
    });
    explore::<4, 3>(&Scenario {
        name: "payloads at QoS 0 and 1 with slots for all",
        tasks: &[Act::From(QOS0, 70), Act::Slices(QOS1, 70)],
        ..Scenario::DEFAULT
    });
}

#[test]
fn every_order_of_subscribers_ends() {
    explore::<2, 3>(&Scenario {
        name: "a subscribe, a standing subscription and a publisher",
        tasks: &[Act::Subscribe, Act::Subscribed, Act::PublishAndWait(QOS1)],
        subscribes: true,
        ..Scenario::DEFAULT
    });
    explore::<1, 3>(&Scenario {
        name: "a handler that refuses, and waits for its task",
        tasks: &[Act::Resume, Act::Publish(QOS2), Act::Connected],
        subscribes: true,
        receives: true,
        ..Scenario::DEFAULT
    });
}

#[test]
fn every_order_of_shut_down_ends_all_tasks() {
    explore::<1, 3>(&Scenario {
        name: "shut down",
        tasks: &[
            Act::PublishAndWait(QOS1),
            Act::Slices(QOS2, 70),
            Act::ShutDown,
        ],
        ..Scenario::DEFAULT
    });
    explore::<1, 3>(&Scenario {
        name: "shut down when connected",
        tasks: &[
            Act::PublishAndWait(QOS1),
            Act::Slices(QOS2, 70),
            Act::ShutDownWhenConnected,
        ],
        room: 50,
        ..Scenario::DEFAULT
    });
    explore::<1, 3>(&Scenario {
        name: "the runner dropped",
        tasks: &[
            Act::Publish(QOS1),
            Act::Connected,
            Act::PublishAndWait(QOS1),
        ],
        loses_runner: true,
        ..Scenario::DEFAULT
    });
    explore::<1, 3>(&Scenario {
        name: "the runner dropped inside a payload",
        tasks: &[Act::From(QOS1, 100), Act::Subscribe],
        room: 40,
        loses_runner: true,
        ..Scenario::DEFAULT
    });
}

/// Plays all histories of a scenario.
fn explore<const INFLIGHT: usize, const PLACES: usize>(scenario: &Scenario) {
    let setting =
        |name: &str, default| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let bounds = [
        Bound::Depth(setting("ORDERS_DEPTH", DEPTH)),
        Bound::Deviations(setting("ORDERS_DEVIATIONS", DEVIATIONS)),
    ];
    for bound in bounds {
        let mut choices = Choices::new(bound);
        let (mut histories, mut turns) = (0_u64, 0);
        loop {
            let mut trace = Vec::new();
            let played = catch_unwind(AssertUnwindSafe(|| {
                play::<INFLIGHT, PLACES>(scenario, &mut choices, &mut trace);
            }));
            assert!(
                played.is_ok(),
                "{}: choices {choices}: {trace:?}",
                scenario.name
            );
            histories += 1;
            turns += trace.len();
            if !choices.advance() {
                break;
            }
        }
        println!(
            "{}: {bound:?}: {histories} histories, {turns} turns",
            scenario.name
        );
    }
}

/// One step of a history.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// This task is polled.
    Poll(usize),
    /// The next packet of the server arrives.
    Deliver,
    /// The network accepts more bytes.
    Room,
    /// The network fails.
    Cut,
    /// `run` is dropped, and begun again on another connection.
    DropRun,
    /// This task is dropped.
    Drop(usize),
}

/// A message from the device. Its number is its index in `ups`.
struct Up {
    qos: QoS,
    len: usize,
    /// It arrives in order with all other plain messages.
    is_plain: bool,
    arrived: usize,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It must not arrive.
    Rejected,
    /// It has to arrive.
    Accepted,
    /// It may arrive.
    Unknown,
}

/// The message to the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Down {
    None,
    Sent,
    Received,
    Over,
}

/// The server, and the packets of both sides.
struct Broker {
    receives: bool,
    ups: Vec<Up>,
    /// Numbers of plain messages as they arrived.
    order: Vec<usize>,
    received: HashSet<PacketId>,
    has_session: bool,
    /// Packets in transit to the device.
    answers: VecDeque<Vec<u8>>,
    down: Down,
    handled: u32,
    /// Accepted messages whose end the handler must receive.
    open: HashSet<PacketId>,
    /// Requests whose end the handler may receive.
    dropped_calls: usize,
    /// Connections that have failed.
    losses: usize,
    is_over: bool,
}

fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number * 31 + at * 7) as u8).collect()
}

impl Broker {
    fn packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(_) => {
                let is_present = core::mem::replace(&mut self.has_session, true);
                self.answers.push_back(connack(is_present));
                match self.down {
                    Down::Sent => self.answers.push_back(down(true)),
                    Down::Received => self.answers.push_back(pubrel(9)),
                    Down::None | Down::Over => {}
                }
                return;
            }
            Packet::Publish(publish) => {
                let is_new = match publish.delivery {
                    Delivery::ExactlyOnce { packet_id, .. } => self.received.insert(packet_id),
                    _ => true,
                };
                if is_new {
                    self.arrived(
                        publish.topic.as_str(),
                        publish.payload,
                        publish.delivery.qos(),
                    );
                }
            }
            Packet::Pubrel(ack) => {
                self.received.remove(&ack.packet_id);
            }
            Packet::Pubrec(_) => self.down = Down::Received,
            Packet::Pubcomp(_) => self.down = Down::Over,
            _ => {}
        }
        let answer = server(packet);
        if !answer.is_empty() {
            self.answers.push_back(answer);
        }
        if matches!(packet, Packet::Subscribe(_)) && self.receives && self.down == Down::None {
            self.down = Down::Sent;
            self.answers.push_back(down(false));
        }
    }

    fn arrived(&mut self, topic: &str, bytes: &[u8], qos: QoS) {
        let number: usize = topic.strip_prefix("u/").unwrap().parse().unwrap();
        let up = &mut self.ups[number];
        assert_eq!(up.qos, qos);
        assert_eq!(bytes, payload(number, up.len));
        up.arrived += 1;
        let most = if qos == QOS1 { 1 + self.losses } else { 1 };
        assert!(up.arrived <= most, "message {number} arrived again");
        assert!(
            up.fate != Fate::Rejected,
            "message {number} was not published"
        );
        if up.is_plain && up.arrived == 1 {
            assert!(
                self.order.last().is_none_or(|last| *last < number),
                "message {number} arrived after {:?}",
                self.order
            );
            self.order.push(number);
        }
    }

    /// Returns the number of a message that a task is about to publish.
    fn begin(&mut self, qos: QoS, len: usize, is_plain: bool) -> usize {
        self.ups.push(Up {
            qos,
            len,
            is_plain,
            arrived: 0,
            fate: Fate::Unknown,
        });
        self.ups.len() - 1
    }

    /// Checks the error of a call.
    fn check(&self, error: DeviceError, is_crowded: bool) {
        let is_expected = match error {
            DeviceError::ShutDown | DeviceError::RunnerGone => self.is_over,
            DeviceError::TooManyTasks { .. } => is_crowded,
            DeviceError::NotWritten
            | DeviceError::PayloadInterrupted
            | DeviceError::OutcomeUnknown
            | DeviceError::Request(RequestError::NotConnected) => self.losses > 0 || self.is_over,
            _ => false,
        };
        assert!(is_expected, "{error:?}");
    }

    /// Records that the handler has received the end of a request.
    fn record_reported(&mut self, id: PacketId) {
        if !self.open.remove(&id) {
            assert!(self.dropped_calls > 0, "the end of {id} was reported twice");
            self.dropped_calls -= 1;
        }
    }
}

fn down(dup: bool) -> Vec<u8> {
    let delivery = crate::common::delivery(QOS2, 9, dup);
    publish_as("d", b"down", delivery, false)
}

/// The network, and the messages to its task.
#[derive(Default)]
struct Line {
    is_up: Cell<bool>,
    drops_run: Signal,
    /// No other connection is begun for now.
    waits: Cell<bool>,
    goes_on: Signal,
    /// The handler has refused an event.
    refused: Signal,
}

/// The shared state of the tasks of a history.
struct History<'h, const PLACES: usize> {
    scenario: &'h Scenario,
    world: &'h World,
    line: &'h Line,
    broker: &'h RefCell<Broker>,
}

impl<'h, const PLACES: usize> History<'h, PLACES> {
    /// Returns `true` if a call may find all places occupied.
    fn is_crowded(&self) -> bool {
        self.scenario.tasks.len() > PLACES
    }

    /// Returns the result of a call, or `None` for an expected error. Panics at any other error.
    fn expect<R>(&self, result: Result<R, DeviceError>) -> Option<R> {
        result
            .inspect_err(|error| self.broker.borrow().check(*error, self.is_crowded()))
            .ok()
    }

    async fn act(&self, act: Act, mqtt: Mqtt<'_, PLACES>) {
        let waits_first = matches!(
            act,
            Act::Subscribe
                | Act::Connected
                | Act::ShutDownWhenConnected
                | Act::Publish(QOS0)
                | Act::PublishAndWait(QOS0)
                | Act::Slices(..)
                | Act::From(..)
        );
        if waits_first && self.expect(mqtt.connected().await).is_none() {
            return;
        }
        match act {
            Act::Publish(qos) => self.publish(qos, mqtt).await,
            Act::PublishAndWait(qos) => {
                let number = self.begin(qos, 3, true);
                let (topic, bytes) = (format!("u/{number}"), payload(number, 3));
                let up = message(&topic, &bytes, qos);
                self.wait_for_end(number, mqtt.publish_and_wait(&up)).await;
            }
            Act::Slices(qos, len) => {
                let number = self.begin(qos, len, false);
                let (topic, bytes) = (format!("u/{number}"), payload(number, len));
                let (one, other) = bytes.split_at(len / 3);
                let slices = [one, other];
                let up = StreamedPublish::New {
                    topic: &topic,
                    qos,
                    retain: false,
                };
                let call = mqtt.publish_slices(up, &slices);
                self.wait_for_end(number, call).await;
            }
            Act::From(qos, len) => {
                let number = self.begin(qos, len, false);
                let (topic, bytes) = (format!("u/{number}"), payload(number, len));
                let up = StreamedPublish::New {
                    topic: &topic,
                    qos,
                    retain: false,
                };
                let call = mqtt.publish_from(up, len, &bytes[..]);
                self.wait_for_end(number, call).await;
            }
            Act::Subscribe => {
                let guard = Unanswered(self.broker);
                let granted = self.expect(mqtt.subscribe(&[("a", QOS1)]).await);
                if let Some(granted) = granted {
                    core::mem::forget(guard);
                    assert!(granted.all_granted());
                }
            }
            Act::Connected => {}
            Act::Subscribed => {
                self.expect(mqtt.subscribed().await);
            }
            Act::Discard => {
                let number = self.begin(QOS1, 3, false);
                let (topic, bytes) = (format!("u/{number}"), payload(number, 3));
                if let Ok(id) = mqtt.try_publish(&message(&topic, &bytes, QOS1)) {
                    // The handler may receive the event that it was discarded or acknowledged.
                    self.broker.borrow_mut().dropped_calls += 1;
                    let _ = mqtt.discard_publish(id.unwrap());
                } else {
                    self.broker.borrow_mut().ups[number].fate = Fate::Rejected;
                }
            }
            Act::Resume => {
                self.line.refused.wait().await;
                mqtt.resume();
            }
            Act::ShutDown | Act::ShutDownWhenConnected => {
                self.broker.borrow_mut().is_over = true;
                mqtt.shut_down();
            }
        }
    }

    fn begin(&self, qos: QoS, len: usize, is_plain: bool) -> usize {
        self.broker.borrow_mut().begin(qos, len, is_plain)
    }

    async fn publish(&self, qos: QoS, mqtt: Mqtt<'_, PLACES>) {
        let number = self.begin(qos, 3, true);
        let (topic, bytes) = (format!("u/{number}"), payload(number, 3));
        // Nothing is published unless the call returns.
        self.broker.borrow_mut().ups[number].fate = Fate::Rejected;
        let published = mqtt.publish(&message(&topic, &bytes, qos)).await;
        if let Some(id) = self.expect(published) {
            assert_eq!(id.is_some(), qos != QOS0);
            let broker = &mut *self.broker.borrow_mut();
            broker.ups[number].fate = if qos == QOS0 {
                Fate::Unknown
            } else {
                Fate::Accepted
            };
            broker.open.extend(id);
        }
    }

    /// Runs a call that returns when its message has ended.
    async fn wait_for_end(
        &self,
        number: usize,
        call: impl Future<Output = Result<(), DeviceError>>,
    ) {
        let guard = Unanswered(self.broker);
        if self.expect(call.await).is_some() {
            core::mem::forget(guard);
            let arrived = self.broker.borrow().ups[number].arrived;
            assert!(arrived > 0, "message {number} was acknowledged unseen");
        }
    }

    /// Runs one connection after the other.
    async fn network(&self, mut runner: Runner<'_, &World, PLACES>) {
        let mut refusals = 1;
        loop {
            if self.line.waits.get() {
                self.line.goes_on.wait().await;
            }
            let socket = self.world.dial();
            self.world.set_room(self.scenario.room);
            self.broker.borrow_mut().answers.clear();
            self.line.is_up.set(true);
            let handler = |event: Event<'_>, _: &mut Publisher<'_, '_>| {
                let broker = &mut *self.broker.borrow_mut();
                match event {
                    Event::Message(_) if refusals > 0 => {
                        refusals -= 1;
                        self.line.refused.set();
                        return Handled::NotNow;
                    }
                    Event::Message(message) => {
                        assert_eq!(message.payload, b"down");
                        broker.handled += 1;
                    }
                    Event::Puback(id)
                    | Event::Pubcomp(id)
                    | Event::PublishDiscarded(id)
                    | Event::OutcomeUnknown(id)
                    | Event::Suback(id, _) => broker.record_reported(id),
                    _ => {}
                }
                Handled::Done
            };
            let run = runner.run(socket, handler);
            let ended = select(run, self.line.drops_run.wait()).await;
            self.line.is_up.set(false);
            if let Either::First(Ended::Shutdown) = ended {
                return;
            }
            assert!(self.broker.borrow().losses > 0, "{ended:?}");
        }
    }
}

/// A request whose call may be dropped. The handler then receives its end.
struct Unanswered<'b>(&'b RefCell<Broker>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().dropped_calls += 1;
    }
}

/// The tasks of a history, and the remaining faults.
struct Table<'t, 'h, const PLACES: usize> {
    history: &'h History<'h, PLACES>,
    turns: Turns<'t>,
    network: usize,
    faults: usize,
}

impl<const PLACES: usize> Table<'_, '_, PLACES> {
    /// Returns the possible next steps. The first one is the usual step. Faults are the last ones.
    fn options(&self) -> Vec<Turn> {
        let line = self.history.line;
        let mut options: Vec<_> = self.turns.ready().into_iter().map(Turn::Poll).collect();
        if line.is_up.get() {
            if !self.history.broker.borrow().answers.is_empty() {
                options.push(Turn::Deliver);
            }
            if self.history.world.is_full() {
                options.push(Turn::Room);
            }
        }
        if options.is_empty() || self.faults == 0 {
            return options;
        }
        if line.is_up.get() {
            options.extend([Turn::Cut, Turn::DropRun]);
        }
        let last = self.network + usize::from(self.history.scenario.loses_runner);
        options.extend(
            (0..last)
                .filter(|task| !self.turns.has_ended(*task))
                .map(Turn::Drop),
        );
        options
    }

    fn take(&mut self, turn: Turn) {
        let History {
            world,
            line,
            broker,
            scenario,
        } = self.history;
        match turn {
            Turn::Poll(task) => self.turns.poll(task),
            Turn::Deliver => {
                let answer = broker.borrow_mut().answers.pop_front();
                world.feed(&answer.unwrap());
            }
            Turn::Room => world.set_room(scenario.room),
            Turn::Cut => {
                broker.borrow_mut().losses += 1;
                line.is_up.set(false);
                world.cut();
            }
            Turn::DropRun => {
                broker.borrow_mut().losses += 1;
                line.is_up.set(false);
                line.drops_run.set();
            }
            Turn::Drop(task) => {
                if task == self.network {
                    broker.borrow_mut().is_over = true;
                    line.is_up.set(false);
                } else if let Act::Slices(..) | Act::From(..) = scenario.tasks[task] {
                    // The connection is closed by an aborted payload.
                    broker.borrow_mut().losses += 1;
                }
                self.turns.drop_task(task);
            }
        }
        let is_fault = matches!(turn, Turn::Cut | Turn::DropRun | Turn::Drop(_));
        self.faults -= usize::from(is_fault);
    }

    /// Takes turns until nothing can happen any more.
    fn run(&mut self, trace: &mut Vec<Turn>, mut choose: impl FnMut(usize) -> usize) {
        loop {
            let options = self.options();
            if options.is_empty() {
                return;
            }
            let turn = options[choose(options.len())];
            trace.push(turn);
            assert!(trace.len() < MOST_TURNS, "the history does not end");
            self.take(turn);
        }
    }
}

/// Plays one history.
fn play<const INFLIGHT: usize, const PLACES: usize>(
    scenario: &Scenario,
    choices: &mut Choices,
    trace: &mut Vec<Turn>,
) {
    let world = World::new();
    let line = Line::default();
    let broker = Rc::new(RefCell::new(Broker {
        receives: scenario.receives,
        ups: Vec::new(),
        order: Vec::new(),
        received: HashSet::new(),
        has_session: false,
        answers: VecDeque::new(),
        down: Down::None,
        handled: 0,
        open: HashSet::new(),
        dropped_calls: 0,
        losses: 0,
        is_over: false,
    }));
    let peer = Rc::clone(&broker);
    world.answer(move |packet| {
        let broker = &mut *peer.borrow_mut();
        broker.packet(packet);
        // The network closes now, and first delivers all bytes in transit.
        let closes = matches!(packet, Packet::Disconnect);
        let last = if closes { broker.answers.len() } else { 0 };
        broker.answers.drain(..last).flatten().collect()
    });
    let mut storage = Storage::<128, 256, INFLIGHT>::new();
    let subscriptions: &[_] = if scenario.subscribes {
        &[("d", QOS2)]
    } else {
        &[]
    };
    let clock = &world;
    let mut device: Device<'_, &World, PLACES> =
        Device::new(&mut storage, clock, &config(subscriptions)).unwrap();
    let (mqtt, runner) = device.split();
    let history = History {
        scenario,
        world: &world,
        line: &line,
        broker: &broker,
    };
    let mut turns = Turns::default();
    for act in scenario.tasks {
        turns.spawn(history.act(*act, mqtt));
    }
    let network = turns.spawn(history.network(runner));
    let mut table = Table {
        history: &history,
        turns,
        network,
        faults: scenario.faults,
    };
    table.run(trace, |options| choices.choose(options));
    for (task, act) in scenario.tasks.iter().enumerate() {
        // A message may have been refused and, after a loss, handled without a second refusal.
        let may_wait = matches!(act, Act::Resume) && broker.borrow().is_over;
        assert!(
            table.turns.has_ended(task) || may_wait,
            "task {task}, {act:?}, waits for ever"
        );
    }
    table.faults = 0;
    if !broker.borrow().is_over {
        check_places(&mut table, mqtt, trace);
        check_messages(&broker.borrow(), scenario);
        broker.borrow_mut().is_over = true;
        mqtt.shut_down();
        table.run(trace, |_| 0);
    }
    assert!(table.turns.has_ended(network), "the runner waits for ever");
}

/// Checks that every place is free: without a connection, as many calls can wait as there are places.
fn check_places<const PLACES: usize>(
    table: &mut Table<'_, '_, PLACES>,
    mqtt: Mqtt<'_, PLACES>,
    trace: &mut Vec<Turn>,
) {
    let line = table.history.line;
    line.waits.set(true);
    table.history.broker.borrow_mut().losses += 1;
    line.is_up.set(false);
    line.drops_run.set();
    table.run(trace, |_| 0);
    let mut cx = Context::from_waker(Waker::noop());
    let mut calls: Vec<_> = (0..PLACES).map(|_| Box::pin(mqtt.connected())).collect();
    for call in &mut calls {
        let polled = call.as_mut().poll(&mut cx);
        assert_eq!(polled, Poll::Pending, "a place was not given back");
    }
    let polled = pin!(mqtt.connected()).poll(&mut cx);
    let full = DeviceError::TooManyTasks { capacity: PLACES };
    assert_eq!(polled, Poll::Ready(Err(full)));
    drop(calls);
    line.waits.set(false);
    line.goes_on.set();
    table.run(trace, |_| 0);
}

/// Checks the messages after all tasks have ended on a working connection.
fn check_messages(broker: &Broker, scenario: &Scenario) {
    for (number, up) in broker.ups.iter().enumerate() {
        let is_lost = up.arrived == 0 && up.fate == Fate::Accepted;
        assert!(!is_lost, "message {number} is lost");
    }
    assert!(broker.open.is_empty(), "no end of {:?}", broker.open);
    if scenario.receives {
        assert_eq!(broker.handled, 1, "times the message was handled");
        assert!(broker.down == Down::Over);
    }
}
