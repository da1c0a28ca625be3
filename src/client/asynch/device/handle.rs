//! The handle of a device, for its tasks.

use core::{future::poll_fn, task::Poll};

use embedded_io_async::Read;

use super::{
    granted::{Granted, MAX_FILTERS},
    payload,
    shared::{Attempt, DeviceState, Shared, Ticket, poll_request, try_request},
    waiters::{Outcome, Wait},
};
use crate::{
    client::device::DeviceError,
    codec::{PacketId, QoS},
    session::{Message, Saved, Session, StreamedPublish, SubscriptionState},
};

/// A handle to a [`Device`](super::Device). Every task of its executor can have a copy.
///
/// Calls that wait for room are served in the order in which they were made. Inside an event handler,
/// [`Self::try_publish`], [`Self::save`], [`Self::saved`] and [`Self::discard_publish`] return
/// [`DeviceError::InHandler`]. Use the [`Publisher`](crate::Publisher) of the handler instead.
///
/// # Cancel safety
///
/// The future of any call may be dropped at any await. If its request was not queued by then, nothing is sent. If it
/// was queued, it is sent, and the event handler is given its result.
pub struct Mqtt<'d, const TASKS: usize = 8> {
    shared: &'d Shared<'d, TASKS>,
}

impl<const TASKS: usize> Clone for Mqtt<'_, TASKS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<const TASKS: usize> Copy for Mqtt<'_, TASKS> {}

impl<const TASKS: usize> core::fmt::Debug for Mqtt<'_, TASKS> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Mqtt").field("state", &state).finish()
    }
}

impl<'d, const TASKS: usize> Mqtt<'d, TASKS> {
    pub(super) const fn new(shared: &'d Shared<'d, TASKS>) -> Self {
        Self { shared }
    }

    /// Publishes a message, and waits until there is room for it. At QoS 1 and 2, the packet id is returned;
    /// [`Event::Puback`](crate::Event::Puback) or [`Event::Pubcomp`](crate::Event::Pubcomp) reports its delivery.
    ///
    /// Without a connection, messages at QoS 1 and 2 are queued if the CONNECT has Clean Session 0.
    ///
    /// # Errors
    ///
    /// - [`DeviceError::Request`] with [`NotConnected`](crate::RequestError::NotConnected): there is no connection, and
    ///   the message is at QoS 0, or the CONNECT has Clean Session 1. With
    ///   [`CheckpointDue`](crate::RequestError::CheckpointDue): there is no room until the checkpoint was
    ///   [saved](Self::saved). With others: the message is not valid, or can never fit.
    /// - [`DeviceError::TooManyTasks`], [`DeviceError::ShutDown`], [`DeviceError::RunnerGone`].
    pub async fn publish(&self, message: &Message<'_>) -> Result<Option<PacketId>, DeviceError> {
        let mut ticket = None;
        poll_fn(|cx| {
            poll_request(self.shared, &mut ticket, cx, |session, is_turn| {
                session.publish_in_turn(message, is_turn)
            })
        })
        .await
    }

    /// Publishes a message if there is room for it now. See [`Self::publish`].
    ///
    /// # Errors
    ///
    /// As [`Self::publish`], and [`DeviceError::Request`] with
    /// [`SendBufferFull`](crate::RequestError::SendBufferFull) or [`InflightFull`](crate::RequestError::InflightFull),
    /// also if other tasks wait for room.
    pub fn try_publish(&self, message: &Message<'_>) -> Result<Option<PacketId>, DeviceError> {
        let mut rejected = DeviceError::InHandler;
        let attempt = try_request(self.shared, None, false, |session, is_turn| {
            session
                .publish_in_turn(message, is_turn)
                .inspect_err(|error| rejected = (*error).into())
        });
        attempt.map_err(|attempt| match attempt {
            Attempt::Failed(error) => error,
            Attempt::Wait(_) => rejected,
        })
    }

    /// Publishes a message, and waits until the server has acknowledged it. At QoS 0, waits until it was written.
    ///
    /// The wait continues over reconnections. If the future is dropped, the message stays queued.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`], and
    ///
    /// - [`DeviceError::NotWritten`]: the connection was closed before a message at QoS 0 was written.
    /// - [`DeviceError::Discarded`], [`DeviceError::DeliveryUnknown`].
    #[doc(alias = "wait_for_publish")] // Paho
    pub async fn publish_and_wait(&self, message: &Message<'_>) -> Result<(), DeviceError> {
        let ticket = self.reserve()?;
        let id = poll_fn(|cx| {
            ticket.poll_request(cx, false, |session, is_turn| {
                session.publish_in_turn(message, is_turn)
            })
        })
        .await?;
        answer(&ticket, id).await.map(drop)
    }

    /// Publishes a message whose payload consists of several slices, or does not fit into the send buffer, and waits
    /// until the server has acknowledged it. At QoS 0, waits until it was sent.
    ///
    /// Other tasks can queue messages meanwhile, which are sent after this one. After a reconnection, the payload is sent
    /// again from its beginning.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before the whole payload was sent, the message is discarded. If a part of it was sent,
    /// the connection is closed: the server would read the next packet as payload. If the future is dropped later, the
    /// event handler is given the acknowledgement. If the payload is needed again before, the message is discarded, and
    /// the handler is given [`Event::PublishDiscarded`](crate::Event::PublishDiscarded).
    ///
    /// # Errors
    ///
    /// As [`Self::publish_and_wait`].
    pub async fn publish_slices(
        &self,
        message: StreamedPublish<'_>,
        payload: &[&[u8]],
    ) -> Result<(), DeviceError> {
        payload::publish_slices(self.reserve()?, message, payload).await
    }

    /// As [`Self::publish_slices`], with a payload of `len` bytes from a reader. [`ReadFn`](crate::ReadFn) turns a closure
    /// into a reader.
    ///
    /// If the reader provides no byte within the response timeout, the connection is closed.
    ///
    /// # Errors
    ///
    /// As [`Self::publish_slices`], and
    ///
    /// - [`DeviceError::PayloadInterrupted`]: at QoS 1 and 2, the connection was closed before the acknowledgement, and the reader
    ///   cannot start again. The message was discarded.
    /// - [`DeviceError::Source`], [`DeviceError::SourceEnded`]: the reader failed or ended early. The connection is closed.
    pub async fn publish_from(
        &self,
        message: StreamedPublish<'_>,
        len: usize,
        reader: impl Read,
    ) -> Result<(), DeviceError> {
        payload::publish_from(self.reserve()?, message, len, reader).await
    }

    /// Subscribes to up to 16 filters on the present connection, and waits for the answer.
    ///
    /// These subscriptions last as long as the server keeps the session. For subscriptions that the device renews
    /// itself, see [`Config::subscriptions`](crate::Config::subscriptions).
    ///
    /// # Errors
    ///
    /// As [`Self::publish`], and
    ///
    /// - [`DeviceError::OutcomeUnknown`]: the connection was closed before the answer.
    /// - [`DeviceError::RequestRejected`]: the server refused the connection.
    /// - [`DeviceError::TooManyFilters`]: there are more than 16. Nothing was subscribed.
    pub async fn subscribe(&self, filters: &[(&str, QoS)]) -> Result<Granted, DeviceError> {
        if filters.len() > MAX_FILTERS {
            return Err(DeviceError::TooManyFilters { max: MAX_FILTERS });
        }
        let ticket = self.reserve()?;
        let id = poll_fn(|cx| {
            ticket.poll_request(cx, false, |session, is_turn| {
                session.check_turn(is_turn)?;
                session.subscribe(filters)
            })
        })
        .await?;
        answer(&ticket, Some(id)).await
    }

    /// Unsubscribes from filters, and waits for the acknowledgement.
    ///
    /// # Errors
    ///
    /// As [`Self::subscribe`].
    pub async fn unsubscribe(&self, filters: &[&str]) -> Result<(), DeviceError> {
        let ticket = self.reserve()?;
        let id = poll_fn(|cx| {
            ticket.poll_request(cx, false, |session, is_turn| {
                session.check_turn(is_turn)?;
                session.unsubscribe(filters)
            })
        })
        .await?;
        answer(&ticket, Some(id)).await.map(drop)
    }

    /// Waits until the server has accepted a connection.
    ///
    /// # Errors
    ///
    /// [`DeviceError::ShutDown`], [`DeviceError::RunnerGone`], [`DeviceError::TooManyTasks`].
    pub async fn connected(&self) -> Result<(), DeviceError> {
        self.until(|shared| (shared.state() == DeviceState::Connected).then_some(Ok(())))
            .await
    }

    /// Waits until the server has answered for all standing subscriptions.
    ///
    /// # Errors
    ///
    /// As [`Self::connected`], and [`DeviceError::SubscriptionRefused`].
    pub async fn subscribed(&self) -> Result<(), DeviceError> {
        self.until(|shared| match shared.subscriptions() {
            SubscriptionState::Pending => None,
            SubscriptionState::Granted => Some(Ok(())),
            SubscriptionState::Refused => Some(Err(DeviceError::SubscriptionRefused)),
        })
        .await
    }

    /// Returns the state of the device.
    pub fn state(&self) -> DeviceState {
        self.shared.state()
    }

    /// As [`Session::save`](crate::Session::save), with or without a connection.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Image`], [`DeviceError::InHandler`].
    pub fn save(&self, out: &mut [u8]) -> Result<Saved, DeviceError> {
        self.now(|session| session.save(out))?.map_err(Into::into)
    }

    /// As [`Session::saved`](crate::Session::saved). If the handler has returned [`NotNow`](crate::Handled::NotNow) for
    /// a checkpoint, the device continues. If the session has changed since the save, the handler is given
    /// [`Event::CheckpointDue`](crate::Event::CheckpointDue) again.
    ///
    /// # Errors
    ///
    /// [`DeviceError::InHandler`].
    pub fn saved(&self, generation: u16) -> Result<(), DeviceError> {
        let was_due = self.now(|session| {
            let was_due = session.checkpoint_pending();
            session.saved(generation);
            was_due
        })?;
        if was_due {
            self.resume();
        }
        Ok(())
    }

    /// As [`Session::discard_publish`](crate::Session::discard_publish).
    ///
    /// # Errors
    ///
    /// [`DeviceError::Request`], [`DeviceError::InHandler`].
    pub fn discard_publish(&self, id: PacketId) -> Result<(), DeviceError> {
        self.now(|session| session.discard_publish(id))??;
        self.shared.wake_runner();
        self.shared.wake_for_room();
        Ok(())
    }

    /// Passes the event for which the handler returned [`NotNow`](crate::Handled::NotNow) to the handler again.
    pub fn resume(&self) {
        if self.shared.is_paused.replace(false) {
            self.shared.wake_runner();
        }
    }

    /// Shuts the device down permanently. The runner sends the queued packets, then DISCONNECT.
    /// [`Runner::run`](super::Runner::run) then returns [`Ended::Shutdown`](crate::Ended::Shutdown). If there is no
    /// connection, its next call returns it.
    pub fn shut_down(&self) {
        self.shared
            .set_state(DeviceState::ShutDown, self.shared.subscriptions());
        self.shared.wake_runner();
    }

    fn reserve(&self) -> Result<Ticket<'d, TASKS>, DeviceError> {
        Ticket::reserve(self.shared)
    }

    /// Calls `f` with the session at once.
    fn now<R>(&self, f: impl FnOnce(&mut Session<'d>) -> R) -> Result<R, DeviceError> {
        self.shared
            .try_with_session(f)
            .ok_or(DeviceError::InHandler)
    }

    async fn until(
        &self,
        condition: impl Fn(&Shared<'d, TASKS>) -> Option<Result<(), DeviceError>>,
    ) -> Result<(), DeviceError> {
        let mut ticket = None;
        poll_fn(|cx| {
            if let Some(result) = condition(self.shared) {
                return Poll::Ready(result);
            }
            if ticket.is_none() {
                ticket = Some(self.reserve()?);
            }
            if let Err(error) = self.shared.check_alive() {
                return Poll::Ready(Err(error));
            }
            match &ticket {
                Some(ticket) => ticket.wait(Wait::State, cx),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// Waits until the request with this id was answered or, without an id, until all messages at QoS 0 were written.
async fn answer<const N: usize>(
    ticket: &Ticket<'_, N>,
    request: Option<PacketId>,
) -> Result<Granted, DeviceError> {
    let wait = if request.is_some() {
        Wait::Answer
    } else {
        Wait::Written
    };
    ticket.expect(wait, request);
    loop {
        // The other outcomes concern payloads only.
        if let Outcome::Answered(result) = poll_fn(|cx| ticket.poll_outcome(wait, cx)).await? {
            return result;
        }
    }
}
