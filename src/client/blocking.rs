//! The blocking client, over `embedded_io`.

mod payload;
mod transport;

use embedded_io::{Error as _, ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

pub use self::payload::Payload;
use self::transport::BlockingTransport;
use super::{
    Error,
    driver::{Driver, Failed, PayloadProgress, Progress},
};
use crate::{
    codec::{Connect, PacketId, QoS, SubackCodes},
    session::{Event, EventToken, Message, RequestError, Session, StreamedPublish},
    time::{Clock, Instant},
};

/// A [`Session`] on one network connection, which is any ordered, lossless byte stream \[MQTT-7.1.2-1\].
///
/// Calls that wait do so until the session's deadlines end the connection: an answer, or a byte taken by the transport,
/// may take the response timeout (10 s unless set), and a silent peer is noticed by keep alive, if the CONNECT has one.
/// That holds as far as the transport lets it: `ReadReady` and `WriteReady` are asked before each `read` and `write`,
/// so that neither need block; a transport that cannot tell may answer `true` and return after a time-out of its own
/// with [`ErrorKind::TimedOut`](embedded_io::ErrorKind), which counts as "nothing yet", like `Interrupted`. `flush`
/// cannot be bounded.
///
/// A message is acknowledged after the caller has had it: with the next call, unless that has another message at hand,
/// whose acknowledgement leaves in the same write; 20 ms later the next call waits no longer.
///
/// After an error that [is fatal](Error::is_fatal), drop the client (which closes the transport, so that the server
/// sends the will), dial again, and connect with the same session.
pub struct Client<'s, 'b, T: ErrorType, C> {
    driver: Driver<'s, 'b, BlockingTransport<T>>,
    clock: C,
}

impl<'s, 'b, T, C> Client<'s, 'b, T, C>
where
    T: Read + Write + ReadReady + WriteReady,
    C: Clock,
{
    /// Connects, and waits until the server has accepted.
    ///
    /// # Errors
    ///
    /// A refusal is `Error::Protocol(ProtocolError::Refused(code))`. The transport is dropped on any error.
    pub fn connect(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        let mut client = Self::open(session, transport, clock, options)?;
        while !client.driver.session.is_connected() {
            client
                .ready()
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
        let driver = Driver::open(session, BlockingTransport(transport), options, clock.now())?;
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
    /// has it.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted, [`Error::Closed`] on a connection that is over. If the connection
    /// fails in this very call, the id is returned all the same, and the next call says why: a message that has been
    /// accepted at QoS 1 or 2 goes out again on the next connection.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, Error<T::Error>> {
        self.send(|session| session.publish(message))
    }

    /// Publishes a message and waits until the server has acknowledged it, or at QoS 0 until it has left. Everything
    /// else that comes meanwhile goes to `on_event`.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted; any other ends the connection, and the session sends a message at
    /// QoS 1 or 2 again on the next.
    pub fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        match self.publish(message)? {
            None => self.flush_until_event(&mut on_event),
            Some(id) => self.finish(id, &mut on_event),
        }
    }

    /// Publishes a message whose payload lies in memory in one or more slices of any size, from where it goes to the
    /// transport without a copy, and waits until it has left. Everything that comes meanwhile goes to `on_event`;
    /// its own acknowledgement comes later.
    ///
    /// At QoS 1 and 2, [`Event::PayloadNeeded`] asks for the payload again if the connection is lost before the
    /// acknowledgement has come; this call with [`StreamedPublish::Resend`] gives it.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted; any other ends the connection, and
    /// [`last_packet_id`](Session::last_packet_id) tells under which id a message at QoS 1 or 2 had been accepted.
    pub fn publish_slices(
        &mut self,
        message: StreamedPublish<'_>,
        payload: &[&[u8]],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let len = payload
            .iter()
            .fold(0, |len: usize, slice| len.saturating_add(slice.len()));
        let id = self.request(|session| session.begin_payload(message, len))?;
        self.pass_slices(payload, len, &mut on_event)
            .map_err(|Failed| self.error())?;
        Ok(id)
    }

    /// Publishes a message whose payload of `len` bytes comes from a reader (or a closure, with
    /// [`ReadFn`](crate::ReadFn)), in pieces that pass through what is free
    /// of the send buffer, and waits until it has left. Everything that comes meanwhile goes to `on_event`;
    /// its own acknowledgement comes later.
    ///
    /// At QoS 1 and 2, [`Event::PayloadNeeded`] asks for the payload again if the connection is lost before the
    /// acknowledgement has come; this call with [`StreamedPublish::Resend`], and a reader that begins anew, gives it.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted. [`Error::Source`] and [`Error::SourceEnded`] if the reader fails or
    /// ends too early: the connection is over, without a DISCONNECT, which would become payload. Any other error ends
    /// the connection, too.
    pub fn publish_from(
        &mut self,
        message: StreamedPublish<'_>,
        len: usize,
        mut reader: impl Read,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = self.request(|session| session.begin_payload(message, len))?;
        while self
            .pass_pieces(&mut on_event)
            .map_err(|Failed| self.error())?
        {
            let session = &mut *self.driver.session;
            let missing = session.payload_left();
            let failure = match reader.read(session.payload_space()) {
                Ok(0) => Error::SourceEnded { missing },
                Ok(n) => {
                    session.payload_commit(n);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Error::Source(error.kind()),
            };
            session.abandon_payload();
            return Err(failure);
        }
        Ok(id)
    }

    /// A reader over the payload of the message that the last [`Event::Message`] or [`Event::Chunk`] showed, from the
    /// first byte of that event on.
    ///
    /// It reads from the network as needed. Dropping it half-way skips the rest of the message. Call this right after the
    /// event: any other call may let the bytes go that it showed.
    pub fn payload(&mut self) -> Payload<'_, 's, 'b, T, C> {
        Payload::new(self)
    }

    /// Subscribes to one or more topic filters, each with the highest QoS wanted, without waiting;
    /// [`Event::Suback`] brings the answers under the id returned.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, Error<T::Error>> {
        self.send(|session| session.subscribe(filters))
    }

    /// Subscribes and waits for the answer: the QoS granted for each filter, or its refusal, in their order.
    /// Everything else that comes meanwhile goes to `on_event`.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`]. A refused filter is no error.
    pub fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<SubackCodes<'_>, Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.subscribe(filters)?;
        let ready = self
            .wait_for(id, &mut on_event)
            .map_err(|Failed| self.error())?;
        match self.driver.session.event(ready)? {
            Some(Event::Suback(_, codes)) => Ok(codes),
            _ => Err(Error::Closed),
        }
    }

    /// Unsubscribes from one or more topic filters without waiting; [`Event::Unsuback`] answers under the id returned.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, Error<T::Error>> {
        self.send(|session| session.unsubscribe(filters))
    }

    /// Unsubscribes and waits for the answer. Everything else that comes meanwhile goes to `on_event`.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.unsubscribe(filters)?;
        self.finish(id, &mut on_event)
    }

    /// Sends a PINGREQ. Keep alive needs no help; this asks whether the server is there right now.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn ping(&mut self) -> Result<(), Error<T::Error>> {
        self.request(Session::ping)?;
        self.write().map_err(|Failed| self.error())
    }

    /// Waits for the next event, however long that takes; keep alive goes on meanwhile.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub fn recv(&mut self) -> Result<Event<'_>, Error<T::Error>> {
        let ready = self.ready().map_err(|Failed| self.error())?;
        self.driver.session.event(ready)?.ok_or(Error::Closed)
    }

    /// Does what can be done without waiting, keep alive included, and returns the next event if there is one.
    ///
    /// It reads once, or what the receive buffer can take if something may be overdue, and never waits for the rest of a
    /// packet.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub fn poll(&mut self) -> Result<Option<Event<'_>>, Error<T::Error>> {
        match self.drive().map_err(|Failed| self.error())? {
            Progress::Done(ready) => Ok(self.driver.session.event(ready)?),
            Progress::Again | Progress::Wait => Ok(None),
        }
    }

    /// Waits until everything queued has left.
    ///
    /// # Errors
    ///
    /// [`RequestError::CheckpointDue`] if an event has to be seen first, [`RequestError::PayloadPending`] if what is queued
    /// waits for a payload to be given again; any other ends the connection.
    pub fn flush(&mut self) -> Result<(), Error<T::Error>> {
        self.drive_until(|driver, clock| driver.flush(clock, &()))
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
    /// # Errors
    ///
    /// The transport is dropped, whatever the error. With checkpoints on, take the events first: one that is due, or becomes
    /// due before the transport has taken all, holds everything back, and [`RequestError::CheckpointDue`] says so. What waits
    /// for a payload to be given again does not leave; it stays in the session.
    pub fn disconnect(mut self) -> Result<T, Error<T::Error>> {
        match self.driver.session.disconnect() {
            // It had been queued by hand.
            Ok(()) | Err(RequestError::NotConnected) => {}
            Err(error) => return Err(error.into()),
        }
        self.flush()?;
        while self.driver.session.is_connecting() {
            self.ready()
                .and_then(|ready| self.handle_event(ready, &mut |_| {}))
                .map_err(|Failed| self.error())?;
        }
        // What had to wait for the answer.
        self.flush()?;
        Ok(self.driver.transport.0)
    }

    /// As [`Self::flush`], with all events that come before the last byte has left going to `on_event`.
    fn flush_until_event(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        while let Some(ready) = self
            .drive_until(|driver, clock| driver.flush_until_event(clock, &()))
            .map_err(|Failed| self.error())?
        {
            self.handle_event(ready, on_event)
                .map_err(|Failed| self.error())?;
        }
        Ok(())
    }

    /// Hands a payload over.
    fn pass_slices(
        &mut self,
        payload: &[&[u8]],
        len: usize,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failed> {
        while let PayloadProgress::Event(ready) =
            self.drive_until(|driver, clock| driver.pass_slices(payload, len, clock, &()))?
        {
            self.handle_event(ready, on_event)?;
        }
        Ok(())
    }

    /// Hands the bytes of a payload over that have been put into its space; false when it is complete.
    fn pass_pieces(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<bool, Failed> {
        loop {
            match self.drive_until(|driver, clock| driver.pass_pieces(clock, &()))? {
                PayloadProgress::Space => return Ok(true),
                PayloadProgress::Event(ready) => self.handle_event(ready, on_event)?,
                PayloadProgress::Done => return Ok(false),
            }
        }
    }

    /// Waits for the answer to the request with this id, which says no more than that it is over.
    fn finish(
        &mut self,
        id: PacketId,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        self.wait_for(id, on_event)
            .and_then(|ready| self.handle_event(ready, &mut |_| {}))
            .map_err(|Failed| self.error())
    }

    /// Waits for the answer to the request with this id, which it does not redeem.
    fn wait_for(
        &mut self,
        id: PacketId,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<EventToken, Failed> {
        loop {
            let ready = self.ready()?;
            if ready.completed_request() == Some(id) {
                // What was told before may not wait for the caller.
                let _ = self.write();
                return Ok(ready);
            }
            self.handle_event(ready, on_event)?;
        }
    }

    fn handle_event(
        &mut self,
        ready: EventToken,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failed> {
        self.driver.deliver_event(ready, on_event)
    }

    /// As [`Self::request`], and what can leave at once leaves.
    fn send<R>(
        &mut self,
        request: impl FnOnce(&mut Session<'b>) -> Result<R, RequestError>,
    ) -> Result<R, Error<T::Error>> {
        let result = self.request(request);
        if result.is_ok() {
            let _ = self.write();
        }
        result
    }

    fn request<R>(
        &mut self,
        request: impl FnOnce(&mut Session<'b>) -> Result<R, RequestError>,
    ) -> Result<R, Error<T::Error>> {
        request(self.driver.session).map_err(|error| self.driver.refusal(error))
    }

    fn ready(&mut self) -> Result<EventToken, Failed> {
        self.drive_until(|driver, clock| driver.drive(clock, &()))
    }

    fn drive(&mut self) -> Result<Progress<EventToken>, Failed> {
        self.driver.drive(&self.clock, &())
    }

    fn write(&mut self) -> Result<(), Failed> {
        self.driver.write(&self.clock, &()).map(drop)
    }

    /// Repeats `step` until it is done.
    fn drive_until<R>(
        &mut self,
        mut step: impl FnMut(
            &mut Driver<'s, 'b, BlockingTransport<T>>,
            &C,
        ) -> Result<Progress<R>, Failed>,
    ) -> Result<R, Failed> {
        loop {
            match step(&mut self.driver, &self.clock)? {
                Progress::Done(result) => return Ok(result),
                Progress::Again => {}
                Progress::Wait => self.clock.idle(),
            }
        }
    }

    fn error(&mut self) -> Error<T::Error> {
        self.driver.error()
    }
}
