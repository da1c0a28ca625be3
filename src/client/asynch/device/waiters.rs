//! The tasks that wait for a device, with the conditions of their waits.

use core::task::Waker;

use super::granted::Granted;
use crate::{client::device::DeviceError, codec::PacketId};

/// The condition that ends the wait of a task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// No condition yet: the place is reserved.
    Nothing,
    /// Room for a request. Tasks are served in the order in which they began to wait.
    Room,
    /// The end of another payload. Tasks are served in the order in which they began to wait.
    PayloadTurn,
    /// Space for the next piece of a payload.
    Piece,
    /// The next piece of a payload from its source.
    Source,
    /// The end of the task's request.
    Answer,
    /// All messages at QoS 0 were written.
    Written,
    /// A change of the state of the connection.
    State,
}

/// The end of a wait.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    /// The request has ended.
    Answered(Result<Granted, DeviceError>),
    /// The payload was sent whole.
    Sent,
    /// The connection was closed inside the payload.
    Interrupted,
    /// The payload must be provided again.
    PayloadNeeded,
}

pub(super) struct Waiter {
    ticket: u32,
    wait: Wait,
    /// The request whose end this task waits for.
    request: Option<PacketId>,
    outcome: Option<Outcome>,
    /// The waker of the task. It is taken when the task is woken.
    waker: Option<Waker>,
}

impl Waiter {
    /// Returns `true` if the task is inside a payload.
    fn is_in_payload(&self) -> bool {
        matches!(self.wait, Wait::Piece | Wait::Source)
    }
}

/// The places of waiting tasks.
pub(super) struct Waiters<const N: usize> {
    places: [Option<Waiter>; N],
    next_ticket: u32,
    /// Messages that their tasks have aborted. They are discarded as soon as they are not being sent.
    discards: [Option<PacketId>; N],
}

impl<const N: usize> Waiters<N> {
    pub(super) const fn new() -> Self {
        Self {
            places: [const { None }; N],
            next_ticket: 0,
            discards: [None; N],
        }
    }

    fn get(&mut self, ticket: u32) -> Option<&mut Waiter> {
        let mut waiters = self.iter_mut();
        waiters.find(|waiter| waiter.ticket == ticket)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiter> {
        self.places.iter_mut().flatten()
    }

    fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.places.iter().flatten()
    }

    /// Reserves a place, and returns its ticket.
    pub(super) fn reserve(&mut self) -> Result<u32, DeviceError> {
        let mut ticket = self.next_ticket;
        // Tickets wrap, and a task may wait for a long time.
        while self.iter().any(|waiter| waiter.ticket == ticket) {
            ticket = ticket.wrapping_add(1);
        }
        let Some(place) = self.places.iter_mut().find(|place| place.is_none()) else {
            return Err(DeviceError::TooManyTasks { capacity: N });
        };
        *place = Some(Waiter {
            ticket,
            wait: Wait::Nothing,
            request: None,
            outcome: None,
            waker: None,
        });
        self.next_ticket = ticket.wrapping_add(1);
        Ok(ticket)
    }

    /// Frees a place, and returns its waiter.
    pub(super) fn free(&mut self, ticket: u32) -> Option<Waiter> {
        let mut places = self.places.iter_mut();
        let place =
            places.find(|place| place.as_ref().is_some_and(|waiter| waiter.ticket == ticket))?;
        place.take()
    }

    /// Registers the task with this ticket for this wait. Returns its last waker, and `true` if it does not wait for
    /// room any more.
    pub(super) fn wait(&mut self, ticket: u32, wait: Wait, waker: Waker) -> (Option<Waker>, bool) {
        let Some(waiter) = self.get(ticket) else {
            return (Some(waker), false);
        };
        let before = core::mem::replace(&mut waiter.wait, wait);
        let old = waiter.waker.replace(waker);
        (old, before == Wait::Room && wait != Wait::Room)
    }

    /// Records that the task with this ticket has queued this request, and now waits for `wait`. It registers its waker
    /// later.
    pub(super) fn expect(&mut self, ticket: u32, wait: Wait, request: Option<PacketId>) {
        if let Some(waiter) = self.get(ticket) {
            waiter.wait = wait;
            waiter.request = request;
            waiter.outcome = None;
        }
    }

    /// Takes the outcome for this ticket.
    pub(super) fn take_outcome(&mut self, ticket: u32) -> Option<Outcome> {
        self.get(ticket)?.outcome.take()
    }

    /// Returns `true` if no task has waited longer for room than the one with this ticket, or than a new one. If the
    /// request has a payload, no task may have waited longer for the turn of its payload either.
    pub(super) fn is_turn_of(&self, ticket: Option<u32>, has_payload: bool) -> bool {
        let own = ticket.map_or(0, |ticket| self.age(ticket));
        !self.iter().any(|waiter| {
            let waits = match waiter.wait {
                Wait::Room => true,
                Wait::PayloadTurn => has_payload,
                _ => false,
            };
            waits && self.age(waiter.ticket) > own
        })
    }

    /// Returns the number of tickets that were reserved since this one. Tickets wrap.
    const fn age(&self, ticket: u32) -> u32 {
        self.next_ticket.wrapping_sub(ticket)
    }

    /// Returns the oldest ticket of the tasks that wait for this.
    fn first(&self, wait: Wait) -> Option<u32> {
        self.iter()
            .filter(|waiter| waiter.wait == wait)
            .map(|waiter| waiter.ticket)
            .max_by_key(|ticket| self.age(*ticket))
    }

    /// Ends the wait for the answer to this request, if a task waits for it.
    pub(super) fn answer(&mut self, id: PacketId, result: Result<Granted, DeviceError>) -> bool {
        self.tell(id, |waiter| {
            waiter.request = None;
            waiter.outcome = Some(Outcome::Answered(result));
        })
    }

    /// Reports that the payload of this message is needed again. Returns `true` if a task provides it.
    pub(super) fn need_payload(&mut self, id: PacketId) -> bool {
        self.tell(id, |waiter| waiter.outcome = Some(Outcome::PayloadNeeded))
    }

    /// Calls `news` with the waiter of this request. Returns `true` if there is one.
    fn tell(&mut self, id: PacketId, news: impl FnOnce(&mut Waiter)) -> bool {
        let mut waiters = self.iter_mut();
        let waiter = waiters.find(|waiter| waiter.request == Some(id));
        waiter.map(news).is_some()
    }

    /// Ends the waits for messages at QoS 0, which were written.
    pub(super) fn written(&mut self) {
        for waiter in self
            .iter_mut()
            .filter(|waiter| waiter.wait == Wait::Written && waiter.outcome.is_none())
        {
            waiter.outcome = Some(Outcome::Answered(Ok(Granted::NONE)));
        }
    }

    /// Ends the waits for a payload, because none is open.
    pub(super) fn payload_sent(&mut self) {
        for waiter in self
            .iter_mut()
            .filter(|waiter| waiter.is_in_payload() && waiter.outcome.is_none())
        {
            waiter.outcome = Some(Outcome::Sent);
        }
    }

    /// Ends the waits that depend on the connection, which was closed.
    pub(super) fn connection_ended(&mut self) {
        for waiter in self.iter_mut().filter(|waiter| waiter.outcome.is_none()) {
            waiter.outcome = match waiter.wait {
                Wait::Written => Some(Outcome::Answered(Err(DeviceError::NotWritten))),
                Wait::Piece | Wait::Source => Some(Outcome::Interrupted),
                _ => None,
            };
        }
    }

    /// Orders that this message is discarded later.
    pub(super) fn order_discard(&mut self, id: PacketId) {
        // For each task, at most one aborted message is still being sent.
        if let Some(order) = self.discards.iter_mut().find(|order| order.is_none()) {
            *order = Some(id);
        }
    }

    /// Carries out the orders to discard a message. `discard` returns `true` if the order was carried out.
    pub(super) fn discard_ordered(&mut self, mut discard: impl FnMut(PacketId) -> bool) {
        for order in &mut self.discards {
            if order.is_some_and(&mut discard) {
                *order = None;
            }
        }
    }

    /// Takes the waker of the next task that must be woken: its wait has ended, or depends on a condition in `changed`.
    pub(super) fn take_waker(&mut self, changed: Changed) -> Option<Waker> {
        let first_for_room = self.first(Wait::Room);
        let first_for_payload = self.first(Wait::PayloadTurn);
        let mut waiters = self.iter_mut().filter(|waiter| waiter.waker.is_some());
        let waiter = waiters.find(|waiter| {
            let ticket = Some(waiter.ticket);
            waiter.outcome.is_some()
                || match waiter.wait {
                    Wait::Room => changed.everything || (changed.room && ticket == first_for_room),
                    Wait::PayloadTurn => {
                        changed.everything || (changed.room && ticket == first_for_payload)
                    }
                    Wait::Piece => changed.everything || changed.room,
                    Wait::State => changed.everything,
                    Wait::Nothing | Wait::Answer | Wait::Source | Wait::Written => changed.gone,
                }
        })?;
        waiter.waker.take()
    }
}

/// Changes since tasks were woken last.
#[derive(Clone, Copy, Default)]
pub(super) struct Changed {
    /// There may be more room for requests or payload.
    pub(super) room: bool,
    /// The state of the connection has changed. Tasks that wait for room are woken, too.
    pub(super) everything: bool,
    /// The device was shut down, or its runner was dropped.
    pub(super) gone: bool,
}
