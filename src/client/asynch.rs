//! The async client, over `embedded_io_async` (feature `async`). No executor is required.

mod wire;

use core::{
    future::{Future, pending, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

use self::wire::{Step, Wire};
use super::{Error, accepted, check_order, flushed, has_rest, slice_at};
use crate::{
    codec::{Connect, PacketId, QoS, SubackCodes},
    session::{Event, Message, Outgoing, Ready, RequestError, Session},
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
/// Calls that wait do so until the session's deadlines end the connection: an answer, or a byte taken by the
/// transport, may take the response timeout (10 s unless set), and a silent peer is noticed by keep alive.
///
/// After an error that [is fatal](Error::is_fatal), drop the client (which closes the transport, so that the server
/// sends the will), dial again, and connect with the same session.
pub struct Client<'s, 'b, T: ErrorType, C> {
    wire: Wire<'s, 'b, T>,
    clock: C,
}

/// Gives the payload up that is being handed over if it is dropped before that has left.
struct Sending<'c, 's, 'b, T: ErrorType, C>(&'c mut Client<'s, 'b, T, C>);

impl<T: ErrorType, C> Drop for Sending<'_, '_, '_, T, C> {
    fn drop(&mut self) {
        self.0.wire.session.abandon_payload();
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
        while !client.wire.session.is_connected() {
            let ready = client.ready().await?;
            client.wire.session.event(ready)?;
        }
        Ok(client)
    }

    /// Queues the CONNECT and returns at once: what is published and subscribed before the server has answered leaves
    /// with it. The answer comes as [`Event::Connected`] or as an error.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] if the options cannot be sent.
    pub fn open(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        session.connect(options, clock.now())?;
        let wire = Wire {
            session,
            transport,
            unflushed: None,
            failure: None,
        };
        Ok(Self { wire, clock })
    }

    /// Whether the server kept the session. If not, subscribe again (section 3.2.2.2).
    pub fn session_present(&self) -> bool {
        self.wire.session.session_present()
    }

    /// The session, to queue several packets that are to leave in one write, or to ask it something.
    pub fn session(&mut self) -> &mut Session<'b> {
        self.wire.session
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
        let id = accepted(self.wire.session.publish(message), self.wire.session)?;
        self.wire.failure = self.write_ready().await.err();
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
        check_order(self.wire.session)?;
        match accepted(self.wire.session.publish(message), self.wire.session)? {
            None => self.drain(on_event).await,
            Some(id) => {
                let ready = self.wait_for(id, on_event).await?;
                self.wire.session.event(ready)?;
                Ok(())
            }
        }
    }

    /// Publishes a message whose payload lies in memory in one or more slices of any size, from where it goes to the
    /// transport without a copy, and waits until it has left. Everything that comes meanwhile goes to `on_event`;
    /// its own acknowledgement comes later.
    ///
    /// At QoS 1 and 2, [`Event::PayloadNeeded`] asks for the payload again if the connection is lost before the
    /// acknowledgement has come; this call with [`Outgoing::Again`] gives it.
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
        message: Outgoing<'_>,
        payload: &[&[u8]],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let len = payload
            .iter()
            .fold(0, |len: usize, slice| len.saturating_add(slice.len()));
        let id = accepted(
            self.wire.session.begin_payload(message, len),
            self.wire.session,
        )?;
        let sending = Sending(self);
        loop {
            let step = sending.0.until(|wire, clock, cx| {
                let mut blocked = wire.poll_write(clock, cx)?.is_pending();
                while !blocked && wire.session.payload_left() > 0 {
                    let offset = len.saturating_sub(wire.session.payload_left());
                    blocked = wire
                        .poll_payload(slice_at(payload, offset), clock, cx)?
                        .is_pending();
                }
                // The turn of the payload may come below, and then nobody has asked the transport to wake us for it.
                blocked &= wire.session.payload_left() > 0;
                let step = wire.poll_step(clock, cx)?;
                if step.is_pending() && !blocked && wire.session.payload_left() > 0 {
                    cx.waker().wake_by_ref();
                }
                step.map(Ok)
            });
            match step.await? {
                Step::Done => return Ok(id),
                Step::Event(ready) => {
                    if let Some(event) = sending.0.wire.session.event(ready)? {
                        on_event(event);
                    }
                }
            }
        }
    }

    /// Publishes a message whose payload of `len` bytes comes from a reader (or a closure, with
    /// [`ReadFn`](crate::ReadFn)), in pieces that pass through what is free
    /// of the send buffer, and waits until it has left. Everything that comes meanwhile goes to `on_event`. While the
    /// reader is awaited, nothing else happens: its waits have no deadline here.
    ///
    /// At QoS 1 and 2, [`Event::PayloadNeeded`] asks for the payload again if the connection is lost before the
    /// acknowledgement has come; this call with [`Outgoing::Again`], and a reader that begins anew, gives it.
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
        message: Outgoing<'_>,
        len: usize,
        mut reader: impl Read,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = accepted(
            self.wire.session.begin_payload(message, len),
            self.wire.session,
        )?;
        let sending = Sending(self);
        loop {
            let step = sending.0.until(|wire, clock, cx| {
                let _ = wire.poll_write(clock, cx)?;
                if !wire.session.payload_space().is_empty() {
                    return Poll::Ready(Ok(None));
                }
                let step = wire.poll_step(clock, cx)?;
                if step.is_pending() && !wire.session.payload_space().is_empty() {
                    cx.waker().wake_by_ref();
                }
                step.map(|step| Ok(Some(step)))
            });
            let session = match step.await? {
                Some(Step::Done) => return Ok(id),
                Some(Step::Event(ready)) => {
                    if let Some(event) = sending.0.wire.session.event(ready)? {
                        on_event(event);
                    }
                    continue;
                }
                None => &mut *sending.0.wire.session,
            };
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
        Payload { client: self }
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
        let id = accepted(self.wire.session.subscribe(filters), self.wire.session)?;
        self.wire.failure = self.write_ready().await.err();
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
        check_order(self.wire.session)?;
        let id = accepted(self.wire.session.subscribe(filters), self.wire.session)?;
        let ready = self.wait_for(id, on_event).await?;
        match self.wire.session.event(ready)? {
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
        let id = accepted(self.wire.session.unsubscribe(filters), self.wire.session)?;
        self.wire.failure = self.write_ready().await.err();
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
        check_order(self.wire.session)?;
        let id = accepted(self.wire.session.unsubscribe(filters), self.wire.session)?;
        let ready = self.wait_for(id, on_event).await?;
        self.wire.session.event(ready)?;
        Ok(())
    }

    /// Sends a PINGREQ. Keep alive needs no help; this asks whether the server is there right now.
    ///
    /// The future is ready when it is first polled.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub async fn ping(&mut self) -> Result<(), Error<T::Error>> {
        accepted(self.wire.session.ping(), self.wire.session)?;
        self.write_ready().await
    }

    /// Waits for the next event, however long that takes; keep alive goes on meanwhile.
    ///
    /// Dropping the future loses nothing: an event is taken from the session only when this returns.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub async fn recv(&mut self) -> Result<Event<'_>, Error<T::Error>> {
        let ready = self.ready().await?;
        self.wire.session.event(ready)?.ok_or(Error::Closed)
    }

    /// Does what can be done without waiting, keep alive included, and returns the next event if there is one.
    ///
    /// The future is ready when it is first polled.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub async fn poll(&mut self) -> Result<Option<Event<'_>>, Error<T::Error>> {
        let Self { wire, clock } = self;
        let round = poll_fn(|cx| Poll::Ready(wire.poll_ready(clock, cx))).await;
        match round {
            Poll::Ready(ready) => Ok(self.wire.session.event(ready?)?),
            Poll::Pending => Ok(None),
        }
    }

    /// Waits until everything queued has left.
    ///
    /// Dropping the future leaves the rest queued.
    ///
    /// # Errors
    ///
    /// [`RequestError::CheckpointDue`] if an event has to be seen first; any other ends the connection.
    pub async fn flush(&mut self) -> Result<(), Error<T::Error>> {
        self.until(|wire, clock, cx| {
            let written = wire.poll_write(clock, cx)?;
            if written.is_ready() && !has_rest(wire.session) {
                return Poll::Ready(Ok(()));
            }
            // Two full peers would wait for each other for ever if neither read. After DISCONNECT there is no need.
            if wire.session.is_open() {
                wire.session.poll(clock.now())?;
                let more = written.is_ready() && wire.session.has_pending();
                if wire.poll_read(cx)?.is_ready() || more {
                    cx.waker().wake_by_ref();
                }
            }
            Poll::Pending
        })
        .await?;
        flushed(self.wire.session)
    }

    /// When the next call has to be made, at the latest, for keep alive and the deadlines to hold; `None` means never.
    pub fn deadline(&self) -> Option<Instant> {
        if self.wire.session.has_pending() {
            return Some(self.clock.now());
        }
        self.wire.deadline()
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
    /// The connection is over; the transport is dropped. With checkpoints on, take the events first: one that is due
    /// holds everything back, and [`RequestError::CheckpointDue`] says so.
    pub async fn disconnect(mut self) -> Result<T, Error<T::Error>> {
        match self.wire.session.disconnect() {
            // It had been queued by hand.
            Ok(()) | Err(RequestError::NotConnected) => {}
            Err(error) => return Err(error.into()),
        }
        self.flush().await?;
        while self.wire.session.is_connecting() {
            let ready = self.ready().await?;
            self.wire.session.event(ready)?;
        }
        // What had to wait for the answer.
        self.flush().await?;
        Ok(self.wire.transport)
    }

    /// As [`Self::flush`], with all events that come before the last byte has left going to `on_event`.
    async fn drain(&mut self, mut on_event: impl FnMut(Event<'_>)) -> Result<(), Error<T::Error>> {
        loop {
            let ready = self.until(|wire, clock, cx| {
                let step = wire.poll_ready(clock, cx)?;
                let left = has_rest(wire.session) || wire.session.owes_checkpoint();
                match step {
                    Poll::Pending if !left => Poll::Ready(Ok(None)),
                    step => step.map(|ready| Ok(Some(ready))),
                }
            });
            match ready.await? {
                None => return self.flush().await,
                Some(ready) => {
                    if let Some(event) = self.wire.session.event(ready)? {
                        on_event(event);
                    }
                }
            }
        }
    }

    /// Waits for the answer to the request with this id, which it does not redeem.
    async fn wait_for(
        &mut self,
        id: PacketId,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Ready, Error<T::Error>> {
        loop {
            let ready = self.ready().await?;
            if ready.completes() == Some(id) {
                return Ok(ready);
            }
            if let Some(event) = self.wire.session.event(ready)? {
                on_event(event);
            }
        }
    }

    async fn ready(&mut self) -> Result<Ready, Error<T::Error>> {
        self.until(Wire::poll_ready).await
    }

    async fn write_ready(&mut self) -> Result<(), Error<T::Error>> {
        let Self { wire, clock } = self;
        match poll_fn(|cx| Poll::Ready(wire.poll_write(clock, cx))).await {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Repeats `step`, woken by the transport and at each of the session's deadlines, until it is ready.
    async fn until<R>(
        &mut self,
        mut step: impl FnMut(
            &mut Wire<'s, 'b, T>,
            &C,
            &mut Context<'_>,
        ) -> Poll<Result<R, Error<T::Error>>>,
    ) -> Result<R, Error<T::Error>> {
        let Self { wire, clock } = self;
        loop {
            let deadline = wire.deadline();
            let mut sleep = pin!(async {
                match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                }
            });
            let woken = poll_fn(|cx| {
                if let Poll::Ready(result) = step(wire, clock, cx) {
                    return Poll::Ready(Some(result));
                }
                if wire.deadline() != deadline {
                    return Poll::Ready(None);
                }
                sleep.as_mut().poll(cx).map(|()| None)
            });
            if let Some(result) = woken.await {
                return result;
            }
        }
    }
}

/// The payload of the message at hand, to be given to whatever reads; see [`Client::payload`].
pub struct Payload<'c, 's, 'b, T: ErrorType, C> {
    client: &'c mut Client<'s, 'b, T, C>,
}

impl<T: ErrorType, C> ErrorType for Payload<'_, '_, '_, T, C> {
    type Error = Error<T::Error>;
}

impl<T: Read + Write, C: Sleep> Read for Payload<'_, '_, '_, T, C> {
    /// Copies the next bytes of the payload to `buf`, waiting for them if need be; 0 at its end.
    ///
    /// A checkpoint that is due (after a publish between two chunks) has to be seen first, which
    /// [`RequestError::CheckpointDue`] says.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            let n = self.client.wire.session.read_payload(buf);
            if n > 0 || buf.is_empty() || !self.client.wire.session.is_message_open() {
                return Ok(n);
            }
            let ready = self.client.ready().await?;
            if self.client.wire.session.owes_checkpoint() {
                return Err(RequestError::CheckpointDue.into());
            }
            match self.client.wire.session.event(ready)? {
                Some(Event::Chunk(_)) => {}
                // The rest will not come.
                _ => return Err(Error::Closed),
            }
        }
    }
}

impl<T: ErrorType, C> Drop for Payload<'_, '_, '_, T, C> {
    fn drop(&mut self) {
        self.client.wire.session.skip_message();
    }
}
