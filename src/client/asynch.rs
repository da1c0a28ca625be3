//! The async client, over `embedded_io_async` (feature `async`). No executor is required.

mod payload;
mod transport;

use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, Waker},
};

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

pub use self::payload::Payload;
use self::transport::AsyncTransport;
use super::{
    Error,
    driver::{Driver, Failed, PayloadProgress, Progress},
};
use crate::{
    codec::{Connect, PacketId, QoS, SubackCodes},
    session::{Event, EventToken, Message, RequestError, Session, StreamedPublish},
    time::{Clock, Instant},
};

/// A clock that can wait.
pub trait Sleep: Clock {
    /// Returns at `at`, or later.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;
}

impl<C: Sleep> Sleep for &C {
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        (**self).sleep_until(at)
    }
}

/// A [`Session`] on one network connection.
///
/// **Cancel-safety.** The future of any call may be dropped at any point, and any other call made next: no event is
/// lost, no QoS 2 message comes twice, no byte of the stream is damaged. All that a call knows is kept in the session,
/// and it awaits only the transport and the clock. The transport's own `read`, `write` and `flush` have to be
/// cancel-safe (those of embassy-net and of buffered UARTs are): a new future of each is made at every poll, polled once,
/// and dropped if it is not ready. A transport whose futures have work of their own to do before they move bytes, as many
/// TLS stacks have, needs a task that pumps it.
///
/// Calls that wait do so until the session's deadlines end the connection: an answer, or a byte taken by the transport,
/// may take the response timeout (10 s unless set), and a silent peer is noticed by keep alive, if the CONNECT has one.
///
/// A message is acknowledged after the caller has had it: with the next call, unless that has another message at hand,
/// whose acknowledgement leaves in the same write; 20 ms later the next call waits no longer.
///
/// After an error that [is fatal](Error::is_fatal), drop the client (which closes the transport, so that the server
/// sends the will), dial again, and connect with the same session.
pub struct Client<'s, 'b, T: ErrorType, C> {
    driver: Driver<'s, 'b, AsyncTransport<T>>,
    clock: C,
}

/// Gives the payload up that is being handed over if it is dropped before that has left.
struct AbandonOnDrop<'c, 's, 'b, T: ErrorType, C>(&'c mut Client<'s, 'b, T, C>);

impl<T: ErrorType, C> Drop for AbandonOnDrop<'_, '_, '_, T, C> {
    fn drop(&mut self) {
        self.0.driver.session.abandon_payload();
    }
}

impl<'s, 'b, T, C> Client<'s, 'b, T, C>
where
    T: Read + Write,
    C: Sleep,
{
    /// Connects, and waits until the server has accepted.
    ///
    /// Dropping the future drops the transport; the session keeps what it has to.
    ///
    /// # Errors
    ///
    /// A refusal is `Error::Protocol(ProtocolError::Refused(code))`. The transport is dropped on any error.
    pub async fn connect(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        let mut client = Self::open(session, transport, clock, options)?;
        while !client.driver.session.is_connected() {
            let ready = client.ready().await;
            ready
                .and_then(|ready| client.handle_event(ready, &mut |_| {}))
                .map_err(|Failed| client.error())?;
        }
        Ok(client)
    }

    /// Queues the CONNECT and returns at once: what is published and subscribed before the server has answered leaves
    /// with it. The answer comes as [`Event::Connected`] or as an error.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] if the options cannot be sent; the transport is dropped.
    pub fn open(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        let driver = Driver::open(session, AsyncTransport(transport), options, clock.now())?;
        Ok(Self { driver, clock })
    }

    /// Whether the server kept the session. If not, subscribe again (section 3.2.2.2).
    pub fn session_present(&self) -> bool {
        self.driver.session.session_present()
    }

    /// The session, to queue several packets that are to leave in one write, or to ask it something.
    pub fn session(&mut self) -> &mut Session<'b> {
        self.driver.session
    }

    /// Publishes a message without waiting: what the transport does not take at once leaves with the next calls.
    ///
    /// At QoS 1 and 2 the id is returned under which [`Event::Puback`] or [`Event::Pubcomp`] reports that the server
    /// has it. The future is ready when it is first polled; dropped before that, nothing is published.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted, [`Error::Closed`] on a connection that is over. If the connection
    /// fails in this very call, the id is returned all the same, and the next call says why: a message that has been
    /// accepted at QoS 1 or 2 goes out again on the next connection.
    pub async fn publish(
        &mut self,
        message: &Message<'_>,
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = self.request(|session| session.publish(message))?;
        let _ = self.write().await;
        Ok(id)
    }

    /// Publishes a message and waits until the server has acknowledged it, or at QoS 0 until it has left. Everything
    /// else that comes meanwhile goes to `on_event`.
    ///
    /// Dropping the future after it was first polled leaves the message queued; its acknowledgement will be an event.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted; any other ends the connection, and the session sends a message at
    /// QoS 1 or 2 again on the next.
    pub async fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        match self.request(|session| session.publish(message))? {
            None => self.flush_until_event(on_event).await,
            Some(id) => self.finish(id, on_event).await,
        }
    }

    /// Publishes a message whose payload lies in memory in one or more slices of any size, from where it goes to the
    /// transport without a copy, and waits until it has left. Everything that comes meanwhile goes to `on_event`;
    /// its own acknowledgement comes later.
    ///
    /// At QoS 1 and 2, [`Event::PayloadNeeded`] asks for the payload again if the connection is lost before the
    /// acknowledgement has come; this call with [`StreamedPublish::Resend`] gives it.
    ///
    /// Dropping the future takes the message back if nothing of it has left. After that it ends the connection, and
    /// the next call says so ([`ProtocolError::PayloadAborted`](crate::ProtocolError::PayloadAborted)): what came next would
    /// be taken for payload.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted; any other ends the connection, and
    /// [`last_packet_id`](Session::last_packet_id) tells under which id a message at QoS 1 or 2 had been accepted.
    pub async fn publish_slices(
        &mut self,
        message: StreamedPublish<'_>,
        payload: &[&[u8]],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let len = payload
            .iter()
            .fold(0, |len: usize, slice| len.saturating_add(slice.len()));
        let id = self.request(|session| session.begin_payload(message, len))?;
        let sending = AbandonOnDrop(self);
        let client = &mut *sending.0;
        loop {
            let step = client
                .drive_until(|driver, clock, waker| driver.pass_slices(payload, len, clock, waker));
            let told = match step.await {
                Ok(PayloadProgress::Event(ready)) => client.handle_event(ready, &mut on_event),
                Ok(PayloadProgress::Space | PayloadProgress::Done) => return Ok(id),
                Err(Failed) => Err(Failed),
            };
            told.map_err(|Failed| client.error())?;
        }
    }

    /// Publishes a message whose payload of `len` bytes comes from a reader (or a closure, with
    /// [`ReadFn`](crate::ReadFn)), in pieces that pass through what is free
    /// of the send buffer, and waits until it has left. Everything that comes meanwhile goes to `on_event`. While the
    /// reader is awaited, nothing else happens: its waits have no deadline here.
    ///
    /// At QoS 1 and 2, [`Event::PayloadNeeded`] asks for the payload again if the connection is lost before the
    /// acknowledgement has come; this call with [`StreamedPublish::Resend`], and a reader that begins anew, gives it.
    ///
    /// Dropping the future takes the message back if nothing of it has left. After that it ends the connection, and
    /// the next call says so ([`ProtocolError::PayloadAborted`](crate::ProtocolError::PayloadAborted)): what came next
    /// would be taken for payload.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted. [`Error::Source`] and [`Error::SourceEnded`] if the reader fails or
    /// ends too early: the connection is over, without a DISCONNECT, which would become payload. Any other error ends
    /// the connection, too.
    pub async fn publish_from(
        &mut self,
        message: StreamedPublish<'_>,
        len: usize,
        mut reader: impl Read,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = self.request(|session| session.begin_payload(message, len))?;
        let sending = AbandonOnDrop(self);
        let client = &mut *sending.0;
        loop {
            match client.drive_until(Driver::pass_pieces).await {
                Ok(PayloadProgress::Space) => {}
                Ok(PayloadProgress::Event(ready)) => {
                    client
                        .handle_event(ready, &mut on_event)
                        .map_err(|Failed| client.error())?;
                    continue;
                }
                Ok(PayloadProgress::Done) => return Ok(id),
                Err(Failed) => return Err(client.error()),
            }
            let session = &mut *client.driver.session;
            let missing = session.payload_left();
            match reader.read(session.payload_space()).await {
                Ok(0) => return Err(Error::SourceEnded { missing }),
                Ok(n) => session.payload_commit(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Source(error.kind())),
            }
        }
    }

    /// A reader over the payload of the message that the last [`Event::Message`] or [`Event::Chunk`] showed, from the
    /// first byte of that event on.
    ///
    /// It reads from the network as needed. Dropping it half-way skips the rest of the message. Dropping the future of
    /// a read loses nothing. Call this right after the event: any other call may let the bytes go that it showed.
    pub fn payload(&mut self) -> Payload<'_, 's, 'b, T, C> {
        Payload::new(self)
    }

    /// Subscribes to one or more topic filters, each with the highest QoS wanted, without waiting;
    /// [`Event::Suback`] brings the answers under the id returned.
    ///
    /// The future is ready when it is first polled; dropped before that, nothing is subscribed.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub async fn subscribe(
        &mut self,
        filters: &[(&str, QoS)],
    ) -> Result<PacketId, Error<T::Error>> {
        let id = self.request(|session| session.subscribe(filters))?;
        let _ = self.write().await;
        Ok(id)
    }

    /// Subscribes and waits for the answer: the QoS granted for each filter, or its refusal, in their order.
    /// Everything else that comes meanwhile goes to `on_event`.
    ///
    /// Dropping the future after it was first polled leaves the packet queued; its answer will be an event.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`]. A refused filter is no error.
    pub async fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<SubackCodes<'_>, Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.request(|session| session.subscribe(filters))?;
        let ready = self
            .wait_for(id, on_event)
            .await
            .map_err(|Failed| self.error())?;
        match self.driver.session.event(ready)? {
            Some(Event::Suback(_, codes)) => Ok(codes),
            _ => Err(Error::Closed),
        }
    }

    /// Unsubscribes from one or more topic filters without waiting; [`Event::Unsuback`] answers under the id returned.
    ///
    /// The future is ready when it is first polled; dropped before that, nothing is unsubscribed.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, Error<T::Error>> {
        let id = self.request(|session| session.unsubscribe(filters))?;
        let _ = self.write().await;
        Ok(id)
    }

    /// Unsubscribes and waits for the answer. Everything else that comes meanwhile goes to `on_event`.
    ///
    /// Dropping the future after it was first polled leaves the packet queued; its answer will be an event.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub async fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.request(|session| session.unsubscribe(filters))?;
        self.finish(id, on_event).await
    }

    /// Sends a PINGREQ. Keep alive needs no help; this asks whether the server is there right now.
    ///
    /// The future is ready when it is first polled.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub async fn ping(&mut self) -> Result<(), Error<T::Error>> {
        self.request(Session::ping)?;
        self.write().await.map_err(|Failed| self.error())
    }

    /// Waits for the next event, however long that takes; keep alive goes on meanwhile.
    ///
    /// Dropping the future loses nothing: an event is taken from the session only when this returns.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub async fn recv(&mut self) -> Result<Event<'_>, Error<T::Error>> {
        let ready = self.ready().await.map_err(|Failed| self.error())?;
        self.driver.session.event(ready)?.ok_or(Error::Closed)
    }

    /// Does what can be done without waiting, keep alive included, and returns the next event if there is one.
    ///
    /// The future is ready when it is first polled.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub async fn poll(&mut self) -> Result<Option<Event<'_>>, Error<T::Error>> {
        let Self { driver, clock } = self;
        let round = poll_fn(|cx| {
            let step = driver.drive(clock, cx.waker());
            if let Ok(Progress::Again) = step {
                cx.waker().wake_by_ref();
            }
            Poll::Ready(step)
        });
        match round.await.map_err(|Failed| self.error())? {
            Progress::Done(ready) => Ok(self.driver.session.event(ready)?),
            Progress::Again | Progress::Wait => Ok(None),
        }
    }

    /// Waits until everything queued has left.
    ///
    /// Dropping the future leaves the rest queued.
    ///
    /// # Errors
    ///
    /// [`RequestError::CheckpointDue`] if an event has to be seen first, [`RequestError::PayloadPending`] if what is queued
    /// waits for a payload to be given again; any other ends the connection.
    pub async fn flush(&mut self) -> Result<(), Error<T::Error>> {
        self.drive_until(Driver::flush)
            .await
            .map_err(|Failed| self.error())?;
        self.driver.flushed()
    }

    /// When the next call has to be made, at the latest, for keep alive and the deadlines to hold; `None` means never.
    pub fn deadline(&self) -> Option<Instant> {
        self.driver.next_call(self.clock.now())
    }

    /// Sends what is queued, then DISCONNECT, and gives the transport back to be shut down \[MQTT-3.14.4-1\].
    ///
    /// On a connection that was only [opened](Self::open), it waits for the server's answer as well: a transport
    /// closed with the CONNACK unread may destroy what is still on its way.
    ///
    /// Dropping the future drops the transport.
    ///
    /// # Errors
    ///
    /// The transport is dropped, whatever the error. With checkpoints on, take the events first: one that is due, or becomes
    /// due before the transport has taken all, holds everything back, and [`RequestError::CheckpointDue`] says so. What waits
    /// for a payload to be given again does not leave; it stays in the session.
    pub async fn disconnect(mut self) -> Result<T, Error<T::Error>> {
        match self.driver.session.disconnect() {
            // It had been queued by hand.
            Ok(()) | Err(RequestError::NotConnected) => {}
            Err(error) => return Err(error.into()),
        }
        self.flush().await?;
        while self.driver.session.is_connecting() {
            let ready = self.ready().await;
            ready
                .and_then(|ready| self.handle_event(ready, &mut |_| {}))
                .map_err(|Failed| self.error())?;
        }
        // What had to wait for the answer.
        self.flush().await?;
        Ok(self.driver.transport.0)
    }

    /// As [`Self::flush`], with all events that come before the last byte has left going to `on_event`.
    async fn flush_until_event(
        &mut self,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        loop {
            let told = match self.drive_until(Driver::flush_until_event).await {
                Ok(Some(ready)) => self.handle_event(ready, &mut on_event),
                Ok(None) => return Ok(()),
                Err(Failed) => Err(Failed),
            };
            told.map_err(|Failed| self.error())?;
        }
    }

    /// Waits for the answer to the request with this id, which says no more than that it is over.
    async fn finish(
        &mut self,
        id: PacketId,
        on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        let ready = self.wait_for(id, on_event).await;
        ready
            .and_then(|ready| self.handle_event(ready, &mut |_| {}))
            .map_err(|Failed| self.error())
    }

    /// Waits for the answer to the request with this id, which it does not redeem.
    async fn wait_for(
        &mut self,
        id: PacketId,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<EventToken, Failed> {
        loop {
            let ready = self.ready().await?;
            if ready.completed_request() == Some(id) {
                // What was told before may not wait for the caller.
                let _ = self.write().await;
                return Ok(ready);
            }
            self.handle_event(ready, &mut on_event)?;
        }
    }

    fn handle_event(
        &mut self,
        ready: EventToken,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failed> {
        self.driver.deliver_event(ready, on_event)
    }

    fn request<R>(
        &mut self,
        request: impl FnOnce(&mut Session<'b>) -> Result<R, RequestError>,
    ) -> Result<R, Error<T::Error>> {
        request(self.driver.session).map_err(|error| self.driver.refusal(error))
    }

    async fn ready(&mut self) -> Result<EventToken, Failed> {
        self.drive_until(Driver::drive).await
    }

    async fn write(&mut self) -> Result<(), Failed> {
        let Self { driver, clock } = self;
        poll_fn(|cx| Poll::Ready(driver.write(clock, cx.waker()).map(drop))).await
    }

    /// Repeats `step`, woken by the transport and at each deadline, until it is done.
    async fn drive_until<R>(
        &mut self,
        mut step: impl FnMut(
            &mut Driver<'s, 'b, AsyncTransport<T>>,
            &C,
            &Waker,
        ) -> Result<Progress<R>, Failed>,
    ) -> Result<R, Failed> {
        let Self { driver, clock } = self;
        loop {
            let deadline = driver.deadline();
            let mut sleep = pin!(deadline.map(|at| clock.sleep_until(at)));
            let woken = poll_fn(|cx| {
                match step(driver, clock, cx.waker()) {
                    Ok(Progress::Done(result)) => return Poll::Ready(Some(Ok(result))),
                    Err(Failed) => return Poll::Ready(Some(Err(Failed))),
                    Ok(Progress::Again) => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(Progress::Wait) => {}
                }
                if driver.deadline() != deadline {
                    return Poll::Ready(None);
                }
                match sleep.as_mut().as_pin_mut() {
                    Some(sleep) => sleep.poll(cx).map(|()| None),
                    None => Poll::Pending,
                }
            });
            if let Some(result) = woken.await {
                return result;
            }
        }
    }

    fn error(&mut self) -> Error<T::Error> {
        self.driver.error()
    }
}
