//! Tasks that wait for something of a device.

use core::task::Waker;

use super::handle::Granted;
use crate::{client::device::DeviceError, codec::PacketId};

/// What a task waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing yet: the place is reserved.
    Nothing,
    /// Room for a request. First come, first served.
    Room,
    /// The end of another payload.
    PayloadTurn,
    /// Space for the next piece of a payload, of the message with this id.
    Piece(Option<PacketId>),
    /// The end of the request with this id.
    Answer(PacketId),
    /// All messages at QoS 0 were written.
    Written,
    /// Another state of the connection.
    State,
}

/// How a wait has ended.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    /// The request has ended.
    Answered(Result<Granted, DeviceError>),
    /// The connection ended inside the payload.
    Interrupted,
    /// The payload must be provided again.
    PayloadNeeded,
}

struct Waiter {
    ticket: u32,
    wait: Wait,
    outcome: Option<Outcome>,
    /// Taken when the task is woken.
    waker: Option<Waker>,
}

/// The places of waiting tasks.
pub(super) struct Waiters<const N: usize> {
    places: [Option<Waiter>; N],
    next_ticket: u32,
}

impl<const N: usize> Waiters<N> {
    pub(super) const fn new() -> Self {
        Self {
            places: [const { None }; N],
            next_ticket: 0,
        }
    }

    fn get(&mut self, ticket: u32) -> Option<&mut Waiter> {
        let mut waiters = self.iter_mut();
        waiters.find(|waiter| waiter.ticket == ticket)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiter> {
        self.places.iter_mut().flatten()
    }

    /// Reserves a place, and returns its ticket.
    pub(super) fn reserve(&mut self) -> Result<u32, DeviceError> {
        let ticket = self.next_ticket;
        let Some(place) = self.places.iter_mut().find(|place| place.is_none()) else {
            return Err(DeviceError::TooManyTasks { capacity: N });
        };
        *place = Some(Waiter {
            ticket,
            wait: Wait::Nothing,
            outcome: None,
            waker: None,
        });
        self.next_ticket = ticket.wrapping_add(1);
        Ok(ticket)
    }

    /// Frees a place.
    pub(super) fn free(&mut self, ticket: u32) {
        for place in &mut self.places {
            if place.as_ref().is_some_and(|waiter| waiter.ticket == ticket) {
                *place = None;
            }
        }
    }

    /// The task with this ticket waits for this.
    pub(super) fn wait(&mut self, ticket: u32, wait: Wait, waker: &Waker) {
        if let Some(waiter) = self.get(ticket) {
            waiter.wait = wait;
            match &mut waiter.waker {
                Some(old) => old.clone_from(waker),
                empty => *empty = Some(waker.clone()),
            }
        }
    }

    /// The task with this ticket waits for this from now on, and registers its waker later.
    pub(super) fn expect(&mut self, ticket: u32, wait: Wait) {
        self.take_outcome(ticket);
        self.continue_with(ticket, wait);
    }

    /// As [`Self::expect`], but keeps an outcome that is there already.
    pub(super) fn continue_with(&mut self, ticket: u32, wait: Wait) {
        if let Some(waiter) = self.get(ticket) {
            waiter.wait = wait;
        }
    }

    /// Takes the outcome for this ticket.
    pub(super) fn take_outcome(&mut self, ticket: u32) -> Option<Outcome> {
        self.get(ticket)?.outcome.take()
    }

    /// Returns `true` if no task waits for room longer than the one with this ticket, or than a new one.
    pub(super) fn is_first(&mut self, ticket: Option<u32>) -> bool {
        match self.first_for_room() {
            None => true,
            Some(first) => Some(first) == ticket,
        }
    }

    fn first_for_room(&mut self) -> Option<u32> {
        let next = self.next_ticket;
        self.iter_mut()
            .filter(|waiter| waiter.wait == Wait::Room)
            .map(|waiter| waiter.ticket)
            // Tickets wrap: the oldest is the farthest from the next one.
            .max_by_key(|ticket| next.wrapping_sub(*ticket))
    }

    /// Ends the wait for the answer to this request, if a task waits for it.
    pub(super) fn answer(&mut self, id: PacketId, result: Result<Granted, DeviceError>) -> bool {
        let waiter = self.iter_mut().find(
            |waiter| matches!(waiter.wait, Wait::Answer(own) | Wait::Piece(Some(own)) if own == id),
        );
        waiter
            .map(|waiter| waiter.outcome = Some(Outcome::Answered(result)))
            .is_some()
    }

    /// The payload of this message is needed again. Returns `true` if a task provides it.
    pub(super) fn need_payload(&mut self, id: PacketId) -> bool {
        let waiter = self.iter_mut().find(
            |waiter| matches!(waiter.wait, Wait::Answer(own) | Wait::Piece(Some(own)) if own == id),
        );
        waiter
            .map(|waiter| waiter.outcome = Some(Outcome::PayloadNeeded))
            .is_some()
    }

    /// All messages at QoS 0 were written.
    pub(super) fn written(&mut self) {
        for waiter in self
            .iter_mut()
            .filter(|waiter| waiter.wait == Wait::Written)
        {
            waiter.outcome = Some(Outcome::Answered(Ok(Granted::NONE)));
        }
    }

    /// The connection ended.
    pub(super) fn connection_ended(&mut self) {
        for waiter in self.iter_mut().filter(|waiter| waiter.outcome.is_none()) {
            waiter.outcome = match waiter.wait {
                Wait::Written => Some(Outcome::Answered(Err(DeviceError::NotWritten))),
                Wait::Piece(_) => Some(Outcome::Interrupted),
                _ => None,
            };
        }
    }

    /// Takes the waker of the next task that is to be woken: one whose wait has ended, or that waits for what `changed` says
    /// has changed.
    pub(super) fn take_waker(&mut self, changed: Changed) -> Option<Waker> {
        let first = self.first_for_room();
        let mut waiters = self.iter_mut().filter(|waiter| waiter.waker.is_some());
        let waiter = waiters.find(|waiter| {
            waiter.outcome.is_some()
                || match waiter.wait {
                    Wait::Room => {
                        changed.everything || (changed.room && Some(waiter.ticket) == first)
                    }
                    Wait::PayloadTurn | Wait::Piece(_) => changed.everything || changed.room,
                    Wait::State => changed.everything,
                    Wait::Nothing | Wait::Answer(_) | Wait::Written => changed.gone,
                }
        })?;
        waiter.waker.take()
    }
}

/// What has changed since tasks were woken last.
#[derive(Clone, Copy, Default)]
pub(super) struct Changed {
    /// There may be more room for requests or payload.
    pub(super) room: bool,
    /// The state of the connection.
    pub(super) everything: bool,
    /// The device was shut down, or its runner was dropped.
    pub(super) gone: bool,
}
