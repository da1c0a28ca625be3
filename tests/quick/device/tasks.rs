//! An executor that polls a task only if that task was woken. A seed determines the order.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use fastrand::Rng;
use umqtt::{
    Config, Ended, Event, Handled, Publisher, Storage,
    asynch::{Device, Runner},
    codec::{Connect, QoS},
};

use crate::common::{Fault, world::World};

type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// A future of several tasks. It ends when all of them have ended.
pub(crate) struct Tasks<'t> {
    tasks: Vec<(Option<Task<'t>>, Arc<Flag>)>,
    rng: Option<Rng>,
}

/// A flag that is set when a task is woken. This also wakes the executor.
struct Flag {
    is_ready: AtomicBool,
    executor: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.is_ready.store(true, Ordering::Relaxed);
        if let Some(executor) = &*self.executor.lock().unwrap() {
            executor.wake_by_ref();
        }
    }
}

impl<'t> Tasks<'t> {
    /// Creates tasks that are polled in the order in which they were added.
    pub(crate) fn new() -> Self {
        Self {
            tasks: Vec::new(),
            rng: None,
        }
    }

    /// Creates tasks that are polled in a random order.
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self {
            rng: Some(Rng::with_seed(seed)),
            ..Self::new()
        }
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 't) -> &mut Self {
        let flag = Flag {
            is_ready: AtomicBool::new(true),
            executor: Mutex::new(None),
        };
        self.tasks.push((Some(Box::pin(task)), Arc::new(flag)));
        self
    }

    /// Drops the task with this number.
    pub(crate) fn drop_task(&mut self, task: usize) {
        self.tasks[task].0 = None;
    }
}

impl Future for Tasks<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut order: Vec<_> = (0..this.tasks.len()).collect();
        if let Some(rng) = &mut this.rng {
            rng.shuffle(&mut order);
        }
        for index in order {
            let (task, flag) = &mut this.tasks[index];
            *flag.executor.lock().unwrap() = Some(cx.waker().clone());
            let Some(running) = task else { continue };
            if !flag.is_ready.swap(false, Ordering::Relaxed) {
                continue;
            }
            let waker = Waker::from(Arc::clone(flag));
            if running
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                *task = None;
            }
        }
        if this.tasks.iter().all(|(task, _)| task.is_none()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Settings with Clean Session 0 and without keep alive, so that no timer hides a task that is not woken.
pub(crate) fn config(subscriptions: &'static [(&'static str, QoS)]) -> Config<'static> {
    Config {
        connect: Connect {
            clean_session: false,
            keep_alive: 0,
            ..Connect::new("device")
        },
        subscriptions,
    }
}

/// Creates a device with the settings [`config`], and without subscriptions.
pub(crate) fn device<'d, 'w, const RX: usize, const TX: usize, const INFLIGHT: usize>(
    storage: &'d mut Storage<RX, TX, INFLIGHT>,
    world: &'w World,
) -> Device<'d, &'w World> {
    Device::new(storage, world, &config(&[])).unwrap()
}

/// As [`serve`]. The device receives no event other than `Connected`.
pub(crate) async fn serve_quiet<'d, const N: usize>(
    world: &World,
    runner: &mut Runner<'d, &World, N>,
) -> Vec<Ended<Fault>> {
    serve(world, runner, |event, _| {
        assert!(matches!(event, Event::Connected { .. }), "{event}");
    })
    .await
}

/// As [`serve`]. All events are ignored.
pub(crate) async fn serve_all<'d, const N: usize>(
    world: &World,
    runner: &mut Runner<'d, &World, N>,
) {
    serve(world, runner, |_, _| {}).await;
}

/// Runs one connection after the other, a second apart, until the device is shut down. Returns the end of
/// each one.
pub(crate) async fn serve<'d, const N: usize, H: Into<Handled>>(
    world: &World,
    runner: &mut Runner<'d, &World, N>,
    mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
) -> Vec<Ended<Fault>> {
    let mut ends = Vec::new();
    loop {
        let ended = runner.run(world.dial(), &mut handler).await;
        ends.push(ended);
        if ended == Ended::Shutdown {
            return ends;
        }
        pause(world, 1_000).await;
    }
}

/// Waits for `millis` milliseconds.
pub(crate) async fn pause(world: &World, millis: u32) {
    use umqtt::{Clock, asynch::Sleep};
    world.sleep_until(world.now().add_millis(millis)).await;
}
