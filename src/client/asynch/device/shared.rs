//! State that the handles and the runner of a device share. All of them belong to one executor.

use core::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

use super::waiters::{Changed, Outcome, Wait, Waiters};
use crate::{
    client::device::DeviceError,
    codec::PacketId,
    session::{RequestError, Session, SubscriptionState},
};

/// The state of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DeviceState {
    /// The runner has no transport.
    Offline,
    /// The runner has a transport, and waits for CONNACK.
    Connecting,
    /// The server has accepted the connection.
    Connected,
    /// The device was shut down.
    ShutDown,
    /// The runner was dropped.
    RunnerGone,
}

/// The shared state. The session is borrowed within one poll, and never across an await.
pub(super) struct Shared<'d, const N: usize> {
    session: RefCell<Session<'d>>,
    waiters: RefCell<Waiters<N>>,
    runner: Cell<Option<Waker>>,
    state: Cell<DeviceState>,
    subscriptions: Cell<SubscriptionState>,
    /// The handler has returned [`NotNow`](crate::Handled::NotNow).
    pub(super) is_paused: Cell<bool>,
    /// A payload must be aborted, which was not possible while the session was borrowed.
    pub(super) abandons: Cell<bool>,
}

impl<'d, const N: usize> Shared<'d, N> {
    pub(super) const fn new(session: Session<'d>) -> Self {
        Self {
            session: RefCell::new(session),
            waiters: RefCell::new(Waiters::new()),
            runner: Cell::new(None),
            state: Cell::new(DeviceState::Offline),
            subscriptions: Cell::new(SubscriptionState::Pending),
            is_paused: Cell::new(false),
            abandons: Cell::new(false),
        }
    }

    pub(super) fn session(&mut self) -> &mut Session<'d> {
        self.session.get_mut()
    }

    pub(super) fn state(&self) -> DeviceState {
        self.state.get()
    }

    /// Discards a message that its task has aborted, now or as soon as it is not being sent.
    pub(super) fn discard(&self, id: PacketId) {
        let discarded = self.try_with_session(|session| session.discard_publish(id));
        if !matches!(discarded, Some(Ok(()) | Err(RequestError::NotKept))) {
            self.with_waiters(|waiters| waiters.order_discard(id));
        }
        self.wake_runner();
    }

    /// Records that the task that could provide the payload of this message again has ended.
    pub(super) fn lose_source(&self, id: PacketId) {
        let lost = self.try_with_session(|session| session.lose_source(id));
        if lost.is_none() {
            self.discard(id);
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.state.get() == DeviceState::ShutDown
    }

    pub(super) fn subscriptions(&self) -> SubscriptionState {
        self.subscriptions.get()
    }

    /// Calls `f` with the session, unless a handler or a call of the runner borrows it.
    pub(super) fn try_with_session<R>(&self, f: impl FnOnce(&mut Session<'d>) -> R) -> Option<R> {
        let mut session = self.session.try_borrow_mut().ok()?;
        Some(f(&mut session))
    }

    pub(super) fn with_waiters<R: Default>(&self, f: impl FnOnce(&mut Waiters<N>) -> R) -> R {
        // The waiters are borrowed only within this call.
        self.waiters
            .try_borrow_mut()
            .map(|mut waiters| f(&mut waiters))
            .unwrap_or_default()
    }

    /// Returns an error if a call must not wait, because the device was shut down or has no runner.
    pub(super) fn check_alive(&self) -> Result<(), DeviceError> {
        match self.state.get() {
            DeviceState::ShutDown => Err(DeviceError::ShutDown),
            DeviceState::RunnerGone => Err(DeviceError::RunnerGone),
            _ => Ok(()),
        }
    }
}

/// Wakers. They are taken while the waiters are borrowed, and called after that.
impl<const N: usize> Shared<'_, N> {
    /// Registers the task of the runner, which waits.
    pub(super) fn register_runner(&self, waker: &Waker) {
        let registered = match self.runner.take() {
            Some(old) if old.will_wake(waker) => old,
            _ => waker.clone(),
        };
        self.runner.set(Some(registered));
    }

    pub(super) fn wake_runner(&self) {
        if let Some(waker) = self.runner.take() {
            waker.wake();
        }
    }

    /// Wakes the tasks that wait for room for requests or payload.
    pub(super) fn wake_for_room(&self) {
        self.wake(Changed {
            room: true,
            ..Changed::default()
        });
    }

    pub(super) fn wake(&self, changed: Changed) {
        while let Some(waker) = self.with_waiters(|waiters| waiters.take_waker(changed)) {
            waker.wake();
        }
    }

    /// Sets the state after a change of the connection, and wakes the tasks that wait for one.
    pub(super) fn set_state(&self, state: DeviceState, subscriptions: SubscriptionState) {
        let is_final = matches!(state, DeviceState::ShutDown | DeviceState::RunnerGone);
        let old = self.state.get();
        // A runner is usually dropped after its device was shut down.
        let stays = match old {
            DeviceState::ShutDown => true,
            DeviceState::RunnerGone => !is_final,
            _ => false,
        };
        let state = if stays { old } else { state };
        let old_subscriptions = self.subscriptions.replace(subscriptions);
        self.state.set(state);
        if state != old || subscriptions != old_subscriptions {
            self.wake(Changed {
                everything: true,
                gone: is_final,
                ..Changed::default()
            });
        }
    }

    /// Ends the waits that depend on the connection, which was closed.
    pub(super) fn connection_ended(&self) {
        self.with_waiters(Waiters::connection_ended);
        self.wake(Changed {
            room: true,
            everything: true,
            gone: self.is_shut_down(),
        });
    }
}

/// The place of a waiting task. It is freed when this is dropped.
pub(super) struct Ticket<'d, const N: usize> {
    pub(super) shared: &'d Shared<'d, N>,
    number: u32,
}

impl<'d, const N: usize> Ticket<'d, N> {
    pub(super) fn reserve(shared: &'d Shared<'d, N>) -> Result<Self, DeviceError> {
        shared.check_alive()?;
        let reserved = shared.with_waiters(|waiters| Some(waiters.reserve()));
        let number = reserved.unwrap_or(Err(DeviceError::InHandler))?;
        Ok(Self { shared, number })
    }

    /// Makes a request, or waits for room; see [`try_request`].
    pub(super) fn poll_request<R>(
        &self,
        cx: &Context<'_>,
        has_payload: bool,
        request: impl FnOnce(&mut Session<'d>, bool) -> Result<R, RequestError>,
    ) -> Poll<Result<R, DeviceError>> {
        match try_request(self.shared, Some(self), has_payload, request) {
            Ok(done) => Poll::Ready(Ok(done)),
            Err(Attempt::Failed(error)) => Poll::Ready(Err(error)),
            Err(Attempt::Wait(wait)) => self.wait(wait, cx),
        }
    }

    /// Records that this request was queued, and that the task now waits for `wait`. Earlier outcomes are discarded.
    pub(super) fn expect(&self, wait: Wait, request: Option<PacketId>) {
        self.shared
            .with_waiters(|waiters| waiters.expect(self.number, wait, request));
        // Another task may be the first that waits for room now.
        self.shared.wake_for_room();
    }

    /// Registers the task for `wait`.
    pub(super) fn wait<R>(&self, wait: Wait, cx: &Context<'_>) -> Poll<R> {
        let waker = cx.waker().clone();
        let registered = self
            .shared
            .with_waiters(|waiters| waiters.wait(self.number, wait, waker));
        // Another task may be the first that waits for room now.
        if registered.1 {
            self.shared.wake_for_room();
        }
        Poll::Pending
    }

    /// Takes the outcome of the wait, if there is one.
    pub(super) fn take_outcome(&self) -> Option<Outcome> {
        self.shared
            .with_waiters(|waiters| waiters.take_outcome(self.number))
    }

    /// Returns the outcome of the wait, or registers the task.
    pub(super) fn poll_outcome(
        &self,
        wait: Wait,
        cx: &Context<'_>,
    ) -> Poll<Result<Outcome, DeviceError>> {
        if let Some(outcome) = self.take_outcome() {
            return Poll::Ready(Ok(outcome));
        }
        if let Err(error) = self.shared.check_alive() {
            // Acknowledgements are still received while the device shuts down its connection.
            if error != DeviceError::ShutDown || !self.shared.is_online() {
                return Poll::Ready(Err(error));
            }
        }
        self.wait(wait, cx)
    }
}

/// Makes a request, or waits for room; see [`try_request`]. The ticket is reserved when it is needed.
pub(super) fn poll_request<'d, R, const N: usize>(
    shared: &'d Shared<'d, N>,
    ticket: &mut Option<Ticket<'d, N>>,
    cx: &Context<'_>,
    request: impl FnOnce(&mut Session<'d>, bool) -> Result<R, RequestError>,
) -> Poll<Result<R, DeviceError>> {
    match try_request(shared, ticket.as_ref(), false, request) {
        Ok(done) => Poll::Ready(Ok(done)),
        Err(Attempt::Failed(error)) => Poll::Ready(Err(error)),
        Err(Attempt::Wait(wait)) => {
            let reserved = match ticket.take() {
                Some(reserved) => reserved,
                None => Ticket::reserve(shared)?,
            };
            ticket.insert(reserved).wait(wait, cx)
        }
    }
}

/// The reason why a request was not queued: an error, or the wait before the next attempt.
pub(super) enum Attempt {
    Failed(DeviceError),
    Wait(Wait),
}

/// Makes a request, unless it is the turn of another task. That is a task that has waited longer for room or, if this
/// request has a payload, for the end of an earlier payload.
///
/// `request` receives `true` if it is its turn. If not, it must return a permanent error, or the error that there is
/// no room.
pub(super) fn try_request<'d, R, const N: usize>(
    shared: &Shared<'d, N>,
    ticket: Option<&Ticket<'d, N>>,
    has_payload: bool,
    request: impl FnOnce(&mut Session<'d>, bool) -> Result<R, RequestError>,
) -> Result<R, Attempt> {
    shared.check_alive().map_err(Attempt::Failed)?;
    let number = ticket.map(|ticket| ticket.number);
    let is_turn = shared.with_waiters(|waiters| waiters.is_turn_of(number, has_payload));
    let is_paused = shared.is_paused.get();
    let result = shared.try_with_session(|session| {
        let checkpoint_due = is_paused && session.checkpoint_pending();
        request(session, is_turn).map_err(|error| {
            let wait = match error {
                RequestError::InflightFull { .. } | RequestError::SendBufferFull { .. }
                    if is_turn || !has_payload =>
                {
                    Wait::Room
                }
                RequestError::InflightFull { .. }
                | RequestError::SendBufferFull { .. }
                | RequestError::PayloadPending => Wait::PayloadTurn,
                error => return Attempt::Failed(error.into()),
            };
            if checkpoint_due {
                // Only the caller can end the wait.
                Attempt::Failed(RequestError::CheckpointDue.into())
            } else {
                Attempt::Wait(wait)
            }
        })
    });
    let done = result.unwrap_or(Err(Attempt::Wait(Wait::Room)))?;
    shared.wake_runner();
    Ok(done)
}

impl<const N: usize> Drop for Ticket<'_, N> {
    fn drop(&mut self) {
        // Dropping a waker may drop a task that has a ticket, so the waker is dropped after the borrow.
        let freed = self
            .shared
            .with_waiters(|waiters| waiters.free(self.number));
        self.shared.wake_for_room();
        drop(freed);
    }
}

impl<const N: usize> Shared<'_, N> {
    /// Returns `true` if there is a connection. That is also the case if the runner has borrowed the session.
    fn is_online(&self) -> bool {
        self.try_with_session(|session| session.may_receive())
            .unwrap_or(true)
    }
}
