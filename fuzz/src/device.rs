//! An async device: its runner, and tasks with its handles. They are polled in any order, and dropped at any poll. The
//! network and the server are those of the module `client`. The server may also send any bytes.
//!
//! Every task ends. Unless the server sent such bytes, nothing is lost at QoS 1, nothing is lost or repeated at QoS 2,
//! and a publish that was dropped or failed is not sent. The device always sends a stream of valid packets.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use arbitrary::Arbitrary;
use umqtt::{
    Config, DeviceError, Ended, Event, Handled, Publisher, Storage,
    asynch::{Device, Mqtt, Runner},
    codec::{Connect, PacketId, QoS},
};

use super::client::{
    Draft,
    line::{Shared, Source},
};

/// Maximum number of tasks of a history.
const TASKS: usize = 4;
/// Number of places of the device for tasks that wait.
const PLACES: usize = 3;
/// Number of waits after which the server closes the connection.
const PATIENCE: u32 = 40;
/// Maximum number of connections without faults until all requests have ended.
const ENOUGH: u32 = 40;
/// Number of polls and events of the line after which a history counts as endless.
const BUSY: u32 = 200_000;

/// The actions of the tasks, and the faults.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    checkpoints: bool,
    keep_alive: u8,
    tasks: Vec<Vec<(Call<'a>, DropAfter)>>,
    connections: Vec<Connection>,
    /// The runner is dropped after these connections. If not, connections without faults follow until all requests have
    /// ended.
    loses_runner: bool,
    /// Number of events that the handler refuses.
    refusals: u8,
    /// Selects the next task among those that are ready.
    order: &'a [u8],
    /// Selects the result of each call of a transport.
    moods: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct Connection {
    refused: bool,
    dropped: DropAfter,
}

/// Number of polls after which a future is dropped.
type DropAfter = Option<u8>;

#[derive(Arbitrary, Debug)]
enum Call<'a> {
    Publish {
        qos: u8,
        len: u8,
    },
    TryPublish {
        qos: u8,
        len: u8,
        discards: bool,
    },
    PublishAndWait {
        qos: u8,
        len: u8,
    },
    Slices {
        qos: u8,
        len: u8,
        cut: u8,
    },
    From {
        qos: u8,
        len: u8,
        moods: &'a [u8],
    },
    Subscribe,
    Unsubscribe,
    Connected,
    Subscribed,
    Save,
    Resume,
    /// Another client publishes a message to this client.
    Offer {
        qos: u8,
        len: u8,
    },
    /// This number of milliseconds passes.
    Pass(u16),
    /// From now on, the server answers nothing, or answers again.
    Mute(bool),
    /// The server sends these bytes.
    Noise(&'a [u8]),
    ShutDown,
}

/// The common state of all tasks.
struct History<'h> {
    line: &'h Shared,
    input: &'h Input<'h>,
    /// Messages that must not arrive.
    rejected: RefCell<HashSet<usize>>,
    /// Accepted messages whose end was not reported to the handler.
    open: RefCell<HashSet<PacketId>>,
    running: Cell<usize>,
    refusals: Cell<u8>,
    /// The handler has refused an event.
    has_refused: Cell<bool>,
    /// No more faults occur.
    is_calm: Cell<bool>,
    /// The device was shut down, or its runner dropped.
    is_over: Cell<bool>,
    /// The server has sent arbitrary bytes.
    is_hostile: Cell<bool>,
}

/// Runs the tasks in any order, on one connection after another. Then connections without faults follow until all
/// requests have ended.
pub fn run(input: &Input<'_>) {
    let line = Shared::new(input.moods);
    line.0.borrow_mut().patience = PATIENCE;
    let mut storage = Storage::<48, 160, 3, 4>::new();
    let config = Config {
        connect: Connect {
            clean_session: false,
            keep_alive: input.keep_alive.into(),
            ..Connect::new("c")
        },
        subscriptions: &[("d/#", QoS::ExactlyOnce)],
    };
    let mut device: Device<'_, Shared, PLACES> =
        Device::new(&mut storage, line.clone(), &config).expect("it fits");
    device.session().set_checkpoints(input.checkpoints);
    let (mqtt, runner) = device.split();
    let history = History {
        line: &line,
        input,
        rejected: RefCell::default(),
        open: RefCell::default(),
        running: Cell::new(input.tasks.len().min(TASKS)),
        refusals: Cell::new(input.refusals),
        has_refused: Cell::new(false),
        is_calm: Cell::new(false),
        is_over: Cell::new(false),
        is_hostile: Cell::new(false),
    };
    let mut executor = Executor::default();
    for calls in input.tasks.iter().take(TASKS) {
        executor.spawn(history.task(calls, mqtt));
    }
    executor.spawn(history.network(runner));
    executor.run(input.order, || history.idle(mqtt));
    history.close();
}

impl History<'_> {
    async fn task(&self, calls: &[(Call<'_>, DropAfter)], mqtt: Mqtt<'_, PLACES>) {
        for (call, polls) in calls {
            self.call(call, *polls, mqtt).await;
        }
        self.running.set(self.running.get() - 1);
    }

    async fn call(&self, call: &Call<'_>, polls: DropAfter, mqtt: Mqtt<'_, PLACES>) {
        match *call {
            Call::Publish { qos, len } => {
                let draft = Draft::new(self.line, qos, len);
                self.rejected.borrow_mut().insert(draft.number);
                let published = self.limited(polls, mqtt.publish(&draft.message())).await;
                if let Some(id) = published {
                    self.accepted(&draft, id);
                }
            }
            Call::TryPublish { qos, len, discards } => {
                let draft = Draft::new(self.line, qos, len);
                let Ok(id) = mqtt.try_publish(&draft.message()) else {
                    self.rejected.borrow_mut().insert(draft.number);
                    return;
                };
                if let Some(id) = id
                    && discards
                    && mqtt.discard_publish(id).is_ok()
                {
                    return;
                }
                self.accepted(&draft, id);
            }
            Call::PublishAndWait { qos, len } => {
                let draft = Draft::new(self.line, qos, len);
                let message = draft.message();
                let call = mqtt.publish_and_wait(&message);
                let ended = self.limited(polls, call).await;
                self.ended(&draft, ended);
            }
            Call::Slices { qos, len, cut } => {
                let draft = Draft::new(self.line, qos, len);
                let cut = usize::from(cut).min(draft.payload.len());
                let (front, back) = draft.payload.split_at(cut);
                let slices = [front, &[], back];
                let call = mqtt.publish_slices(draft.outgoing(), &slices);
                let ended = self.limited(polls, call).await;
                self.payload_ended(&draft, ended);
            }
            Call::From { qos, len, moods } => {
                let draft = Draft::new(self.line, qos, len);
                let source = Source {
                    rest: &draft.payload,
                    moods,
                };
                let call = mqtt.publish_from(draft.outgoing(), draft.payload.len(), source);
                let ended = self.limited(polls, call).await;
                self.payload_ended(&draft, ended);
            }
            Call::Subscribe => {
                let filters = [("d/#", QoS::ExactlyOnce)];
                let _ = self.limited(polls, mqtt.subscribe(&filters)).await;
            }
            Call::Unsubscribe => {
                let _ = self.limited(polls, mqtt.unsubscribe(&["d/#"])).await;
            }
            Call::Connected => {
                let _ = self.limited(polls, mqtt.connected()).await;
            }
            Call::Subscribed => {
                let _ = self.limited(polls, mqtt.subscribed()).await;
            }
            Call::Save => self.save(mqtt),
            Call::Resume => mqtt.resume(),
            Call::ShutDown => {
                self.is_over.set(true);
                mqtt.shut_down();
            }
            _ if self.is_calm.get() => {}
            Call::Offer { qos, len } => {
                let server = &mut self.line.0.borrow_mut().server;
                let number = server.ledger.down(qos % 3, len.into());
                server.offer(number);
            }
            Call::Pass(millis) => self.line.pass(millis.into()),
            Call::Mute(mute) => self.line.0.borrow_mut().mute = mute,
            Call::Noise(bytes) => {
                self.is_hostile.set(true);
                self.line.make_noise(bytes);
            }
        }
    }

    /// Runs a call, which is dropped after this number of polls. Returns its result, if there is one.
    async fn limited<R>(
        &self,
        polls: DropAfter,
        call: impl Future<Output = Result<R, DeviceError>>,
    ) -> Option<R> {
        let result = limited(polls, call).await?;
        result.inspect_err(|error| self.check(*error)).ok()
    }

    /// Checks that this error is possible.
    fn check(&self, error: DeviceError) {
        let is_expected = match error {
            DeviceError::ShutDown | DeviceError::RunnerGone => self.is_over.get(),
            DeviceError::InHandler
            | DeviceError::Image(_)
            | DeviceError::TooManyFilters { .. }
            | DeviceError::Discarded
            | DeviceError::DeliveryUnknown => self.is_hostile.get(),
            _ => true,
        };
        assert!(is_expected, "{error:?}");
    }

    /// Records that the device has accepted a message.
    fn accepted(&self, draft: &Draft, id: Option<PacketId>) {
        self.rejected.borrow_mut().remove(&draft.number);
        self.line.0.borrow_mut().server.ledger.ups[draft.number].accepted = true;
        self.open.borrow_mut().extend(id);
    }

    /// Records the end of a call that waited for its message.
    fn ended(&self, draft: &Draft, ended: Option<()>) {
        if ended.is_some() && !self.is_hostile.get() {
            let up = &mut self.line.0.borrow_mut().server.ledger.ups[draft.number];
            up.accepted = true;
            assert!(
                up.qos == 0 || up.arrived > 0,
                "acknowledged, but not received"
            );
        }
    }

    /// As [`Self::ended`], for a call that provides a payload.
    fn payload_ended(&self, draft: &Draft, ended: Option<()>) {
        self.line.0.borrow_mut().server.ledger.ups[draft.number].may_be_discarded = ended.is_none();
        self.ended(draft, ended);
    }

    fn save(&self, mqtt: Mqtt<'_, PLACES>) {
        let mut image = [0; 1_000];
        let saved = mqtt.save(&mut image).expect("the image fits");
        mqtt.saved(saved.generation).expect("outside of a handler");
    }

    /// Runs one connection after another.
    async fn network(&self, mut runner: Runner<'_, Shared, PLACES>) {
        for connection in &self.input.connections {
            let run = self.connection(&mut runner, connection.refused);
            if limited(connection.dropped, run).await == Some(true) {
                return;
            }
        }
        if self.input.loses_runner {
            self.is_over.set(true);
            return;
        }
        self.is_calm.set(true);
        self.refusals.set(0);
        for connections in 0.. {
            assert!(connections < ENOUGH, "requests are still pending");
            self.line.calm_down();
            if self.connection(&mut runner, false).await {
                return;
            }
        }
    }

    /// Runs one connection. Returns `true` if the device was shut down.
    async fn connection(&self, runner: &mut Runner<'_, Shared, PLACES>, refused: bool) -> bool {
        self.line.begin();
        let socket = self.line.dial(refused);
        let ended = runner.run(socket, |event, _: &mut Publisher<'_, '_>| {
            self.handle(event)
        });
        ended.await == Ended::Shutdown
    }

    fn handle(&self, event: Event<'_>) -> Handled {
        let can_wait = matches!(
            event,
            Event::Message(_) | Event::Chunk(_) | Event::CheckpointDue
        );
        if can_wait && self.refusals.get() > 0 {
            self.refusals.set(self.refusals.get() - 1);
            self.has_refused.set(true);
            return Handled::NotNow;
        }
        match event {
            Event::Puback(id) | Event::Pubcomp(id) => {
                self.open.borrow_mut().remove(&id);
            }
            // A message that was discarded, or whose task was dropped.
            Event::PublishDiscarded(id) | Event::DeliveryUnknown(id) => {
                let was_open = self.open.borrow_mut().remove(&id);
                assert!(!was_open || self.is_hostile.get(), "{id} is discarded");
            }
            Event::PayloadNeeded(id) => panic!("the payload of {id} is requested from the handler"),
            event if !self.is_hostile.get() => {
                self.line.0.borrow_mut().server.ledger.event(&event);
            }
            _ => {}
        }
        Handled::Done
    }

    /// Makes something happen, because no task is ready.
    fn idle(&self, mqtt: Mqtt<'_, PLACES>) {
        if self.has_refused.take() {
            self.save(mqtt);
            mqtt.resume();
            return;
        }
        let is_at_rest = self.is_hostile.get()
            || self.open.borrow().is_empty() && self.line.0.borrow().server.is_at_rest();
        if self.is_calm.get() && !self.is_over.get() && self.running.get() == 0 && is_at_rest {
            self.is_over.set(true);
            mqtt.shut_down();
            return;
        }
        self.line.0.borrow_mut().turn();
    }

    /// Checks the messages after every task has ended.
    fn close(&self) {
        let ledger = &self.line.0.borrow().server.ledger;
        for number in self.rejected.borrow().iter() {
            assert_eq!(ledger.ups[*number].arrived, 0, "{number} was not published");
        }
        let had_rest = self.is_calm.get() && self.running.get() == 0;
        let was_shut_down = self
            .input
            .tasks
            .iter()
            .flatten()
            .any(|(call, _)| matches!(call, Call::ShutDown));
        if had_rest && !was_shut_down && !self.is_hostile.get() {
            ledger.close();
        }
    }
}

/// Runs a future, and drops it after this number of polls.
async fn limited<R>(polls: DropAfter, future: impl Future<Output = R>) -> Option<R> {
    let mut left = polls;
    let mut future = pin!(future);
    poll_fn(|cx| {
        match &mut left {
            Some(0) => return Poll::Ready(None),
            Some(left) => *left -= 1,
            None => {}
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// An executor that polls the woken tasks, one at a time.
#[derive(Default)]
struct Executor<'t> {
    tasks: Vec<(Task<'t>, Arc<Woken>)>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'t> Executor<'t> {
    fn spawn(&mut self, task: impl Future<Output = ()> + 't) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.push((Box::pin(task), woken));
    }

    /// Polls until every task has ended. `idle` makes something happen.
    fn run(&mut self, mut order: &[u8], mut idle: impl FnMut()) {
        for turns in 0.. {
            assert!(turns < BUSY, "the history does not end");
            if self.tasks.is_empty() {
                return;
            }
            let tasks = self.tasks.iter().enumerate();
            let ready: Vec<_> = tasks
                .filter(|(_, (_, woken))| woken.0.load(Ordering::Relaxed))
                .map(|(task, _)| task)
                .collect();
            if ready.is_empty() {
                idle();
                continue;
            }
            let chosen = order.split_off_first().copied().unwrap_or_default();
            let number = ready[usize::from(chosen) % ready.len()];
            let (task, woken) = &mut self.tasks[number];
            woken.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(woken));
            let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                drop(self.tasks.remove(number));
            }
        }
    }
}
