//! The runner of a device, which serves one connection after the other.

use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context as TaskContext, Poll},
};

use embedded_io_async::{Read, Write};

use super::{
    granted::Granted,
    shared::{DeviceState, Shared},
    waiters::{Changed, Waiters},
};
use crate::{
    client::{
        Error,
        asynch::{Sleep, transport::AsyncTransport},
        device::{DeviceError, Ended},
        driver::{Context, Driver, DriverState, Failed, Progress},
    },
    codec::Connect,
    session::{Event, EventToken, Handled, Publisher, RequestError, Session, SubscriptionState},
    time::Instant,
};

/// Maximum number of events that are passed to the handler before other tasks run.
const MAX_EVENTS: usize = 16;

/// Runs a [`Device`](super::Device) on one transport after the other.
///
/// When it is dropped, all waiting calls return [`DeviceError::RunnerGone`].
#[doc(alias = "EventLoop")] // rumqttc
pub struct Runner<'d, C, const TASKS: usize = 8> {
    shared: &'d Shared<'d, TASKS>,
    clock: &'d C,
    connect: &'d Connect<'d>,
}

impl<C, const TASKS: usize> core::fmt::Debug for Runner<'_, C, TASKS> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

impl<C, const TASKS: usize> Drop for Runner<'_, C, TASKS> {
    fn drop(&mut self) {
        self.shared
            .set_state(DeviceState::RunnerGone, SubscriptionState::Pending);
    }
}

/// One connection. If it is dropped, the connection is lost.
struct Connection<'r, 'd, T: Read + Write, C, H, const N: usize> {
    shared: &'d Shared<'d, N>,
    clock: &'d C,
    transport: T,
    handler: &'r mut H,
    state: DriverState<T::Error>,
    /// Time of CONNACK.
    connected_at: Option<Instant>,
    /// The pending event is discarded: the handler postponed it after the device was shut down.
    discards_event: bool,
}

/// The next step of the runner.
enum Turn<E> {
    /// Continue after other tasks have run.
    Again,
    /// Wait for the transport, a handle or the deadline.
    Blocked,
    Ended(Error<E>),
}

impl<'d, C, const TASKS: usize> Runner<'d, C, TASKS> {
    pub(super) const fn new(
        shared: &'d Shared<'d, TASKS>,
        clock: &'d C,
        connect: &'d Connect<'d>,
    ) -> Self {
        Self {
            shared,
            clock,
            connect,
        }
    }
}

impl<'d, C: Sleep, const TASKS: usize> Runner<'d, C, TASKS> {
    /// Connects on this transport, and serves the connection until it is closed. Afterwards, choose a delay with
    /// [`Backoff::after`](crate::Backoff::after), open another transport, and call this again.
    ///
    /// The handler is given each event, unless a task waits for it: the end of the task's request, or
    /// [`Event::PayloadNeeded`] for the task's message. The handler returns `()`, or [`Handled`]. If it returns
    /// [`Handled::NotNow`], nothing more is received until [`Mqtt::resume`](super::Mqtt::resume). The handler must not
    /// wait. With its [`Publisher`], it can answer a message at once.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is lost. The session keeps its state.
    ///
    /// The transport's own `read`, `write` and `flush` must be cancel-safe, as those of
    /// [`Client`](crate::asynch::Client).
    #[doc(alias = "set_callback")] // umqtt.simple
    #[doc(alias = "on_message")] // Paho
    #[doc(alias = "loop_forever")] // Paho
    pub async fn run<T, H>(
        &mut self,
        transport: T,
        handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Ended<T::Error>
    where
        T: Read + Write,
        H: Into<Handled>,
    {
        let connect = self.connect;
        self.run_with(connect, transport, handler).await
    }

    /// As [`Self::run`], with another CONNECT for this connection. Use it for a password that expires, or to begin a
    /// new session once with Clean Session 1. The client id must be that of the device. Otherwise, the result is
    /// [`Ended::Lost`] with [`RequestError::ClientIdMismatch`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::run`].
    pub async fn run_with<T, H>(
        &mut self,
        connect: &Connect<'_>,
        transport: T,
        mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Ended<T::Error>
    where
        T: Read + Write,
        H: Into<Handled>,
    {
        let shared = self.shared;
        if shared.is_shut_down() {
            return Ended::Shutdown;
        }
        let now = self.clock.now();
        let begun = if connect.client_id == self.connect.client_id {
            shared.try_with_session(|session| session.connect(connect, now))
        } else {
            Some(Err(RequestError::ClientIdMismatch))
        };
        if let Some(Err(error)) = begun {
            return Ended::Lost {
                error: error.into(),
                connected_for: 0,
            };
        }
        shared.is_paused.set(false);
        shared.set_state(DeviceState::Connecting, SubscriptionState::Pending);
        let mut connection = Connection {
            shared,
            clock: self.clock,
            transport,
            handler: &mut |event: Event<'_>, publisher: &mut Publisher<'_, 'd>| {
                handler(event, publisher).into()
            },
            state: DriverState::new(),
            connected_at: None,
            discards_event: false,
        };
        connection.serve().await
    }
}

impl<'d, T, C, H, const N: usize> Connection<'_, 'd, T, C, H, N>
where
    T: Read + Write,
    C: Sleep,
    H: FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> Handled,
{
    async fn serve(&mut self) -> Ended<T::Error> {
        loop {
            let clock = self.clock;
            let deadline = self.deadline();
            let mut sleep = pin!(deadline.map(|at| clock.sleep_until(at)));
            let ended = poll_fn(|cx| {
                match self.turn(cx) {
                    Turn::Again => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Turn::Ended(error) => return Poll::Ready(Some(error)),
                    Turn::Blocked => {}
                }
                if self.deadline() != deadline {
                    return Poll::Ready(None);
                }
                match sleep.as_mut().as_pin_mut() {
                    Some(sleep) => sleep.poll(cx).map(|()| None),
                    None => Poll::Pending,
                }
            });
            if let Some(error) = ended.await {
                return self.ended(error);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = |session: &mut Session<'d>| session.timer_deadline();
        self.shared.try_with_session(deadline).flatten()
    }

    /// Does all steps that can be done at once.
    fn turn(&mut self, task: &TaskContext<'_>) -> Turn<T::Error> {
        let shared = self.shared;
        shared.register_runner(task.waker());
        let turn = shared.try_with_session(|session| self.drive(session, task));
        let (turn, has_changed) = turn.unwrap_or((Turn::Blocked, true));
        shared.wake(Changed {
            room: has_changed,
            ..Changed::default()
        });
        if let Some((state, subscriptions)) = shared.try_with_session(|session| {
            let state = if session.is_connected() {
                DeviceState::Connected
            } else if session.is_connecting() && session.is_online() {
                DeviceState::Connecting
            } else {
                DeviceState::Offline
            };
            (state, session.subscriptions())
        }) {
            if state == DeviceState::Connected {
                self.connected_at.get_or_insert(self.clock.now());
            }
            shared.set_state(state, subscriptions);
        }
        turn
    }

    /// Does one step. Also returns `true` if there may be more room for requests or payload after it.
    fn drive(
        &mut self,
        session: &mut Session<'d>,
        task: &TaskContext<'_>,
    ) -> (Turn<T::Error>, bool) {
        let mut has_changed = self.take_orders(session);
        let cx = Context {
            clock: self.clock,
            waker: task.waker(),
        };
        let state = core::mem::replace(&mut self.state, DriverState::new());
        let mut driver = Driver::resume(session, AsyncTransport(&mut self.transport), state);
        let mut turn = Turn::Again;
        for _ in 0..MAX_EVENTS {
            let step = if self.shared.is_paused.get() {
                driver.hold(&cx)
            } else {
                driver.drive(&cx)
            };
            match step {
                Ok(Progress::Done(token)) => {
                    has_changed = true;
                    let deliver = Delivery {
                        shared: self.shared,
                        handler: &mut *self.handler,
                        discards_event: &mut self.discards_event,
                    };
                    deliver.event(driver.session, token);
                }
                Ok(Progress::Again | Progress::Delivered) => break,
                Ok(Progress::Blocked) => {
                    turn = Turn::Blocked;
                    break;
                }
                Err(Failed) => {
                    turn = Turn::Ended(driver.error());
                    break;
                }
            }
        }
        if driver.is_qos0_flushed() {
            self.shared.with_waiters(Waiters::written);
        }
        if !driver.session.is_payload_open() {
            self.shared.abandons.set(false);
            if driver.session.is_online() {
                self.shared.with_waiters(Waiters::payload_sent);
            }
        }
        self.state = driver.pause();
        has_changed |= !matches!(turn, Turn::Blocked);
        (turn, has_changed)
    }

    /// Carries out the orders of handles, which could not borrow the session. Returns `true` if there was one.
    fn take_orders(&self, session: &mut Session<'d>) -> bool {
        let mut has_changed = self.shared.abandons.take();
        if has_changed {
            session.abandon_payload();
        }
        self.shared.with_waiters(|waiters| {
            waiters.discard_ordered(|id| {
                let is_done = session.discard_publish(id) != Err(RequestError::PartlySent);
                has_changed |= is_done;
                is_done
            });
        });
        if self.shared.is_shut_down() {
            self.shared.is_paused.set(false);
            // On an error, DISCONNECT is queued already, or a payload must be sent before it.
            let _ = session.disconnect();
        }
        has_changed
    }

    fn ended(&self, error: Error<T::Error>) -> Ended<T::Error> {
        let was_disconnected = |session: &mut Session<'d>| !session.has_failed();
        if self.shared.is_shut_down()
            && self.shared.try_with_session(was_disconnected) == Some(true)
        {
            return Ended::Shutdown;
        }
        let now = self.clock.now();
        Ended::Lost {
            error,
            connected_for: self.connected_at.map_or(0, |at| now.millis_after(at)),
        }
    }
}

impl<T: Read + Write, C, H, const N: usize> Drop for Connection<'_, '_, T, C, H, N> {
    fn drop(&mut self) {
        let shared = self.shared;
        shared.try_with_session(|session| {
            session.connection_lost();
        });
        shared.is_paused.set(false);
        shared.abandons.set(false);
        shared.connection_ended();
        shared.set_state(DeviceState::Offline, SubscriptionState::Pending);
    }
}

/// Passes an event to the task that waits for it, or to the handler.
struct Delivery<'r, 'd, H, const N: usize> {
    shared: &'d Shared<'d, N>,
    handler: &'r mut H,
    discards_event: &'r mut bool,
}

impl<'d, H, const N: usize> Delivery<'_, 'd, H, N>
where
    H: FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> Handled,
{
    /// Passes on the event of this token. If its packet is malformed, the next step of the driver returns the error.
    fn event(self, session: &mut Session<'d>, token: EventToken) {
        if core::mem::take(self.discards_event) {
            let _ = session.discard_event(token);
            return;
        }
        let handled = session.handle_event(token, &mut |event, publisher| {
            if self.answer(event) {
                return Handled::Done;
            }
            if let Event::PayloadNeeded(id) = event
                && publisher.discard_if_source_lost(id)
            {
                return Handled::Done;
            }
            match (self.handler)(event, publisher) {
                // The message is not acknowledged. A checkpoint cannot wait.
                Handled::NotNow
                    if matches!(event, Event::CheckpointDue) && self.shared.is_shut_down() =>
                {
                    Handled::Done
                }
                handled => handled,
            }
        });
        if let Ok(Some(Handled::NotNow)) = handled {
            if self.shared.is_shut_down() {
                // The event is announced again at once.
                *self.discards_event = true;
            } else {
                self.shared.is_paused.set(true);
            }
        }
    }

    /// Passes this event to the task that waits for it. Returns `true` if there is one.
    fn answer(&self, event: Event<'_>) -> bool {
        let done = Ok(Granted::NONE);
        let (id, result) = match event {
            Event::Puback(id) | Event::Pubcomp(id) | Event::Unsuback(id) => (id, done),
            Event::Suback(id, codes) => (id, Ok(Granted::new(codes))),
            Event::PublishDiscarded(id) => (id, Err(DeviceError::Discarded)),
            Event::DeliveryUnknown(id) => (id, Err(DeviceError::DeliveryUnknown)),
            Event::OutcomeUnknown(id) => (id, Err(DeviceError::OutcomeUnknown)),
            Event::RequestRejected(id) => (id, Err(DeviceError::RequestRejected)),
            Event::PayloadNeeded(id) => {
                return self.shared.with_waiters(|waiters| waiters.need_payload(id));
            }
            _ => return false,
        };
        self.shared
            .with_waiters(|waiters| waiters.answer(id, result))
    }
}
