//! The blocking client, over `embedded_io`.

use embedded_io::{Error as _, ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

use super::{Error, accepted, check_order, flushed, has_rest, is_overdue, is_transient, slice_at};
use crate::{
    codec::{Connect, PacketId, QoS, SubackCodes},
    session::{Event, Message, Outgoing, ProtocolError, Ready, RequestError, Session},
    time::{Clock, Instant},
};

/// A [`Session`] on one network connection, which is any ordered, lossless byte stream \[MQTT-7.1.2-1\].
///
/// Calls that wait do so until the session's deadlines end the connection: an answer, or a byte taken by the
/// transport, may take the response timeout (10 s unless set), and a silent peer is noticed by keep alive. That holds
/// as far as the transport lets it: `ReadReady` and `WriteReady` are asked before each `read` and `write`, so that
/// neither need block; a transport that cannot tell may answer `true` and return after a time-out of its own with
/// [`ErrorKind::TimedOut`](embedded_io::ErrorKind), which counts as "nothing yet", like `Interrupted`. `flush` cannot
/// be bounded.
///
/// After an error that [is fatal](Error::is_fatal), drop the client (which closes the transport, so that the server
/// sends the will), dial again, and connect with the same session.
pub struct Client<'s, 'b, T: ErrorType, C> {
    session: &'s mut Session<'b>,
    transport: T,
    clock: C,
    /// When bytes were last written that have not been flushed.
    unflushed: Option<Instant>,
    /// Why a call has failed, until a call says so: one that had something else to return leaves that to the next.
    failure: Option<Error<T::Error>>,
}

/// The call has failed, and [`Client::failure`] says why: internal calls return this instead of the error, which is
/// large, so that it is written once and handed on by nobody.
struct Failed;

/// What one round of moving bytes came to.
enum Round {
    Event(Ready),
    Moved,
    Idle,
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
        while !client.session.is_connected() {
            let ready = client.ready().map_err(|Failed| client.error())?;
            client.session.event(ready)?;
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
        Ok(Self {
            session,
            transport,
            clock,
            unflushed: None,
            failure: None,
        })
    }

    /// Whether the server kept the session. If not, subscribe again (section 3.2.2.2).
    pub fn session_present(&self) -> bool {
        self.session.session_present()
    }

    /// The session, to queue several packets that are to leave in one write, or to ask it something.
    pub fn session(&mut self) -> &mut Session<'b> {
        self.session
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
        let id = accepted(self.session.publish(message), self.session)?;
        let _ = self.write_ready();
        Ok(id)
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
        on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        check_order(self.session)?;
        match accepted(self.session.publish(message), self.session)? {
            None => self.drain(on_event),
            Some(id) => {
                let ready = self.wait_for(id, on_event).map_err(|Failed| self.error())?;
                self.session.event(ready)?;
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
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted; any other ends the connection, and
    /// [`last_packet_id`](Session::last_packet_id) tells under which id a message at QoS 1 or 2 had been accepted.
    pub fn publish_slices(
        &mut self,
        message: Outgoing<'_>,
        payload: &[&[u8]],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let len = payload
            .iter()
            .fold(0, |len: usize, slice| len.saturating_add(slice.len()));
        let id = accepted(self.session.begin_payload(message, len), self.session)?;
        self.pass_payload(on_event, |client| {
            let left = client.session.payload_left();
            client.write_payload(slice_at(payload, len.saturating_sub(left)))
        })?;
        Ok(id)
    }

    /// Publishes a message whose payload of `len` bytes comes from a reader (or a closure, with
    /// [`ReadFn`](crate::ReadFn)), in pieces that pass through what is free
    /// of the send buffer, and waits until it has left. Everything that comes meanwhile goes to `on_event`;
    /// its own acknowledgement comes later.
    ///
    /// At QoS 1 and 2, [`Event::PayloadNeeded`] asks for the payload again if the connection is lost before the
    /// acknowledgement has come; this call with [`Outgoing::Again`], and a reader that begins anew, gives it.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] when it was not accepted. [`Error::Source`] and [`Error::SourceEnded`] if the reader fails or
    /// ends too early: the connection is over, without a DISCONNECT, which would become payload. Any other error ends
    /// the connection, too.
    pub fn publish_from(
        &mut self,
        message: Outgoing<'_>,
        len: usize,
        mut reader: impl Read,
        on_event: impl FnMut(Event<'_>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = accepted(self.session.begin_payload(message, len), self.session)?;
        self.pass_payload(on_event, |client| {
            let missing = client.session.payload_left();
            let space = client.session.payload_space();
            if space.is_empty() {
                return Ok(false);
            }
            match reader.read(space) {
                Ok(0) => Err(Error::SourceEnded { missing }),
                Ok(n) => {
                    client.session.payload_commit(n);
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
                Err(error) => Err(Error::Source(error.kind())),
            }
        })?;
        Ok(id)
    }

    /// A reader over the payload of the message that the last [`Event::Message`] or [`Event::Chunk`] showed, from the
    /// first byte of that event on.
    ///
    /// It reads from the network as needed. Dropping it half-way skips the rest of the message. Call this right after the
    /// event: any other call may let the bytes go that it showed.
    pub fn payload(&mut self) -> Payload<'_, 's, 'b, T, C> {
        Payload { client: self }
    }

    /// Subscribes to one or more topic filters, each with the highest QoS wanted, without waiting;
    /// [`Event::Suback`] brings the answers under the id returned.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, Error<T::Error>> {
        let id = accepted(self.session.subscribe(filters), self.session)?;
        let _ = self.write_ready();
        Ok(id)
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
        on_event: impl FnMut(Event<'_>),
    ) -> Result<SubackCodes<'_>, Error<T::Error>> {
        check_order(self.session)?;
        let id = accepted(self.session.subscribe(filters), self.session)?;
        let ready = self.wait_for(id, on_event).map_err(|Failed| self.error())?;
        match self.session.event(ready)? {
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
        let id = accepted(self.session.unsubscribe(filters), self.session)?;
        let _ = self.write_ready();
        Ok(id)
    }

    /// Unsubscribes and waits for the answer. Everything else that comes meanwhile goes to `on_event`.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<(), Error<T::Error>> {
        check_order(self.session)?;
        let id = accepted(self.session.unsubscribe(filters), self.session)?;
        let ready = self.wait_for(id, on_event).map_err(|Failed| self.error())?;
        self.session.event(ready)?;
        Ok(())
    }

    /// Sends a PINGREQ. Keep alive needs no help; this asks whether the server is there right now.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub fn ping(&mut self) -> Result<(), Error<T::Error>> {
        accepted(self.session.ping(), self.session)?;
        self.write_ready().map(drop).map_err(|Failed| self.error())
    }

    /// Waits for the next event, however long that takes; keep alive goes on meanwhile.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub fn recv(&mut self) -> Result<Event<'_>, Error<T::Error>> {
        let ready = self.ready().map_err(|Failed| self.error())?;
        self.session.event(ready)?.ok_or(Error::Closed)
    }

    /// Does what can be done without waiting, keep alive included, and returns the next event if there is one.
    ///
    /// It reads once, or twice if a deadline has passed, and never waits for the rest of a packet.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub fn poll(&mut self) -> Result<Option<Event<'_>>, Error<T::Error>> {
        match self.round().map_err(|Failed| self.error())? {
            Round::Event(ready) => Ok(self.session.event(ready)?),
            Round::Moved | Round::Idle => Ok(None),
        }
    }

    /// Waits until everything queued has left.
    ///
    /// # Errors
    ///
    /// [`RequestError::CheckpointDue`] if an event has to be seen first; any other ends the connection.
    pub fn flush(&mut self) -> Result<(), Error<T::Error>> {
        loop {
            self.write_ready().map_err(|Failed| self.error())?;
            if !has_rest(self.session) && self.unflushed.is_none() {
                return flushed(self.session);
            }
            // Two full peers would wait for each other for ever if neither read. After DISCONNECT there is no need.
            let mut moved = false;
            if self.session.is_open() {
                self.session.poll(self.clock.now())?;
                moved = self.read_ready().map_err(|Failed| self.error())?;
            }
            if !moved {
                self.clock.wait();
            }
        }
    }

    /// When the next call has to be made, at the latest, for keep alive and the deadlines to hold; `None` means never.
    pub fn deadline(&self) -> Option<Instant> {
        if self.session.has_pending() {
            return Some(self.clock.now());
        }
        self.session.deadline()
    }

    /// Sends what is queued, then DISCONNECT, and gives the transport back to be shut down \[MQTT-3.14.4-1\].
    ///
    /// On a connection that was only [opened](Self::open), it waits for the server's answer as well: a transport
    /// closed with the CONNACK unread may destroy what is still on its way.
    ///
    /// # Errors
    ///
    /// The connection is over; the transport is dropped. With checkpoints on, take the events first: one that is due
    /// holds everything back, and [`RequestError::CheckpointDue`] says so.
    pub fn disconnect(mut self) -> Result<T, Error<T::Error>> {
        match self.session.disconnect() {
            // It had been queued by hand.
            Ok(()) | Err(RequestError::NotConnected) => {}
            Err(error) => return Err(error.into()),
        }
        self.flush()?;
        while self.session.is_connecting() {
            let ready = self.ready().map_err(|Failed| self.error())?;
            self.session.event(ready)?;
        }
        // What had to wait for the answer.
        self.flush()?;
        Ok(self.transport)
    }

    /// As [`Self::flush`], with all events that come before the last byte has left going to `on_event`.
    fn drain(&mut self, mut on_event: impl FnMut(Event<'_>)) -> Result<(), Error<T::Error>> {
        while has_rest(self.session) || self.session.owes_checkpoint() {
            match self.round().map_err(|Failed| self.error())? {
                Round::Event(ready) => {
                    if let Some(event) = self.session.event(ready)? {
                        on_event(event);
                    }
                }
                Round::Moved => {}
                Round::Idle => self.clock.wait(),
            }
        }
        self.flush()
    }

    /// Moves bytes until the payload that has begun has left; `more` is called for its next bytes.
    fn pass_payload(
        &mut self,
        mut on_event: impl FnMut(Event<'_>),
        mut more: impl FnMut(&mut Self) -> Result<bool, Error<T::Error>>,
    ) -> Result<(), Error<T::Error>> {
        loop {
            let mut moved = self.write_ready().map_err(|Failed| self.error())?;
            if self.session.payload_left() > 0 {
                moved |= more(self).inspect_err(|_| self.session.abandon_payload())?;
            }
            // Nothing is read after the last byte has left: its acknowledgement is for the caller, who has no id yet.
            if !self.session.is_payload_open() {
                return self.write_ready().map(drop).map_err(|Failed| self.error());
            }
            moved |= self.read_ready().map_err(|Failed| self.error())?;
            if let Some(ready) = self.poll_session().map_err(|Failed| self.error())? {
                if let Some(event) = self.session.event(ready)? {
                    on_event(event);
                }
            } else if !moved {
                self.clock.wait();
            }
        }
    }

    /// Writes payload bytes from the caller's memory, if that needs no waiting; true if any were taken.
    fn write_payload(&mut self, bytes: &[u8]) -> Result<bool, Error<T::Error>> {
        let n =
            write(&mut self.transport, bytes).inspect_err(|_| self.session.connection_lost())?;
        self.session.payload_sent(n, self.clock.now());
        self.unflushed = Some(self.clock.now());
        Ok(n > 0)
    }

    /// Waits for the answer to the request with this id, which it does not redeem.
    fn wait_for(
        &mut self,
        id: PacketId,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Ready, Failed> {
        loop {
            let ready = self.ready()?;
            if ready.completes() == Some(id) {
                return Ok(ready);
            }
            match self.session.event(ready) {
                Ok(Some(event)) => on_event(event),
                Ok(None) => {}
                Err(reason) => return Err(self.fail(reason.into())),
            }
        }
    }

    fn ready(&mut self) -> Result<Ready, Failed> {
        loop {
            match self.round()? {
                Round::Event(ready) => return Ok(ready),
                Round::Moved => {}
                Round::Idle => self.clock.wait(),
            }
        }
    }

    /// Moves bytes both ways as far as that needs no waiting, up to the next event. What is owed leaves first.
    fn round(&mut self) -> Result<Round, Failed> {
        let mut moved = self.write_ready()?;
        // An answer that waits to be read is in time, however late the caller comes.
        let mut has_read = is_overdue(self.session, self.clock.now());
        if has_read {
            moved |= self.read_ready()?;
        }
        loop {
            if let Some(ready) = self.poll_session()? {
                return Ok(Round::Event(ready));
            }
            // What leaves makes room for the answers to packets that have been left in the buffer.
            let mut more = self.write_ready()?;
            if !has_read {
                more |= self.read_ready()?;
            }
            moved |= more;
            if has_read || !more {
                return Ok(if moved { Round::Moved } else { Round::Idle });
            }
            has_read = true;
        }
    }

    fn poll_session(&mut self) -> Result<Option<Ready>, Failed> {
        self.session
            .poll(self.clock.now())
            .map_err(|reason| self.fail(reason.into()))
    }

    /// Writes as much as the transport takes without waiting; true if that was anything.
    fn write_ready(&mut self) -> Result<bool, Failed> {
        if self.failure.is_some() {
            return Err(Failed);
        }
        let mut moved = false;
        while self.session.has_pending() {
            let now = self.clock.now();
            match write(&mut self.transport, self.session.pending(now)) {
                Ok(0) => return Ok(moved),
                Ok(n) => self.session.consume(n, self.clock.now()),
                Err(error) => return Err(self.lost(error)),
            }
            moved = true;
            self.unflushed = Some(self.clock.now());
        }
        if let Some(since) = self.unflushed {
            match self.transport.flush() {
                Ok(()) => self.unflushed = None,
                // A transport that took all bytes may still never get rid of them.
                Err(error) if is_transient(&error) => {
                    let end = since.after(self.session.response_timeout());
                    if end.is_reached(self.clock.now()) {
                        return Err(self.lost(Error::Protocol(ProtocolError::WriteTimeout)));
                    }
                }
                Err(error) => return Err(self.lost(Error::Transport(error))),
            }
        }
        Ok(moved)
    }

    /// Reads once if that needs no waiting; true if bytes came.
    fn read_ready(&mut self) -> Result<bool, Failed> {
        let space = self.session.space();
        if space.is_empty() {
            return Ok(false);
        }
        let read = match self.transport.read_ready() {
            Ok(true) => self.transport.read(space),
            Ok(false) => return Ok(false),
            Err(error) => Err(error),
        };
        match read {
            Ok(0) => Err(self.lost(Error::Closed)),
            Ok(n) => {
                self.session.commit(n);
                Ok(true)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(error) => Err(self.lost(Error::Transport(error))),
        }
    }

    /// The transport is of no use any more.
    #[inline(never)] // for each of the many reasons one call
    fn lost(&mut self, error: Error<T::Error>) -> Failed {
        self.session.connection_lost();
        self.fail(error)
    }

    fn fail(&mut self, error: Error<T::Error>) -> Failed {
        self.failure = Some(error);
        Failed
    }

    /// What an internal call that [`Failed`] has left.
    fn error(&mut self) -> Error<T::Error> {
        self.failure.take().unwrap_or(Error::Closed)
    }
}

/// One write, if the transport is ready for it, and how much that took.
fn write<T: Write + WriteReady>(transport: &mut T, bytes: &[u8]) -> Result<usize, Error<T::Error>> {
    let written = match transport.write_ready() {
        Ok(true) => transport.write(bytes),
        Ok(false) => return Ok(0),
        Err(error) => Err(error),
    };
    match written {
        Ok(0) => Err(Error::Closed),
        Ok(n) => Ok(n),
        Err(error) if is_transient(&error) => Ok(0),
        Err(error) => Err(Error::Transport(error)),
    }
}

/// The payload of the message at hand, to be given to whatever reads; see [`Client::payload`].
pub struct Payload<'c, 's, 'b, T: ErrorType, C> {
    client: &'c mut Client<'s, 'b, T, C>,
}

impl<T: ErrorType, C> ErrorType for Payload<'_, '_, '_, T, C> {
    type Error = Error<T::Error>;
}

impl<T, C> Read for Payload<'_, '_, '_, T, C>
where
    T: Read + Write + ReadReady + WriteReady,
    C: Clock,
{
    /// Copies the next bytes of the payload to `buf`, waiting for them if need be; 0 at its end.
    ///
    /// A checkpoint that is due (after a publish between two chunks) has to be seen first, which
    /// [`RequestError::CheckpointDue`] says.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            let n = self.client.session.read_payload(buf);
            if n > 0 || buf.is_empty() || !self.client.session.is_message_open() {
                return Ok(n);
            }
            let ready = self.client.ready().map_err(|Failed| self.client.error())?;
            if self.client.session.owes_checkpoint() {
                return Err(RequestError::CheckpointDue.into());
            }
            match self.client.session.event(ready)? {
                Some(Event::Chunk(_)) => {}
                // The rest will not come.
                _ => return Err(Error::Closed),
            }
        }
    }
}

impl<T: ErrorType, C> Drop for Payload<'_, '_, '_, T, C> {
    fn drop(&mut self) {
        self.client.session.skip_message();
    }
}
