//! The blocking client, over `embedded_io`.

mod device;
mod payload;
mod transport;

use embedded_io::{Error as _, ErrorType, Read, ReadReady, Write, WriteReady};

use self::transport::BlockingTransport;
pub use self::{device::Device, payload::Payload};
use super::{
    Error,
    calls::total_len,
    driver::{Context, Driver, Failed, Progress, Step},
};
use crate::{
    codec::{Connect, PacketId, QoS, SubackCodes},
    session::{Event, EventToken, Message, Publisher, RequestError, Session, StreamedPublish},
    time::{Clock, Instant},
};

/// A [`Session`] on one network connection: any ordered, lossless byte stream \[MQTT-7.1.2-1\].
///
/// The client calls `ReadReady` and `WriteReady` before each `read` and `write`, so these need not block. A transport
/// that does not know whether it is ready may return `true`. Its `read` and `write` must then return
/// [`ErrorKind::TimedOut`](embedded_io::ErrorKind) after a timeout of its own. The client repeats a call that returns
/// this or `Interrupted`. The time of a `flush` is not limited.
#[doc = include_str!("docs/client.md")]
///
/// ```
/// # let address = embedded_broker::start()?;
/// use umqtt::{Event, Message, Session, Storage, blocking::Client, codec::{Connect, QoS}, std_io};
///
/// let mut storage = Storage::<512, 512, 4>::new();
/// let mut session = Session::new(&mut storage);
/// let (transport, clock) = (std_io::connect(address)?, std_io::StdClock::new());
/// let mut client = Client::connect(&mut session, transport, clock, &Connect::new("lamp-7"))?;
/// client.subscribe_and_wait(&[("lamp/7", QoS::AtLeastOnce)], |_, _| {})?;
/// client.publish(&Message::new("lamp/7", b"on"))?;
/// loop {
///     if let Event::Message(message) = client.recv()? {
///         assert_eq!(message.payload, b"on");
///         break;
///     }
/// }
/// client.disconnect()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "MQTTClient")] // umqtt.simple, Paho
pub struct Client<'s, 'b, T: ErrorType, C> {
    driver: Driver<'s, 'b, BlockingTransport<T>>,
    clock: C,
}

impl<'s, 'b, T, C> Client<'s, 'b, T, C>
where
    T: Read + Write + ReadReady + WriteReady,
    C: Clock,
{
    #[doc = include_str!("docs/connect.md")]
    pub fn connect(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        let mut client = Self::open(session, transport, clock, options)?;
        client.await_connack()?;
        Ok(client)
    }

    #[doc = include_str!("docs/open.md")]
    pub fn open(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        let driver = Driver::open(session, BlockingTransport(transport), options, clock.now())?;
        Ok(Self { driver, clock })
    }

    /// Returns `true` if the server kept the session. If not, subscribe again (section 3.2.2.2).
    pub fn session_present(&self) -> bool {
        self.driver.session.session_present()
    }

    /// Returns the session, to read its state or to queue several packets for one write.
    pub fn session(&mut self) -> &mut Session<'b> {
        self.driver.session
    }

    #[doc = include_str!("docs/publish.md")]
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, Error<T::Error>> {
        self.send(|session| session.publish(message))
    }

    #[doc = include_str!("docs/publish_and_wait.md")]
    #[doc(alias = "wait_for_publish")] // Paho
    pub fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.publish(message)?;
        self.await_completion(id, on_event)
    }

    #[doc = include_str!("docs/publish_slices.md")]
    pub fn publish_slices(
        &mut self,
        message: StreamedPublish<'_>,
        payload: &[&[u8]],
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let len = total_len(payload);
        let id = self.driver.request(|s| s.begin_payload(message, len))?;
        self.drive_until(|driver, cx| driver.send_slices(payload, len, &mut on_event, cx))?;
        Ok(id)
    }

    #[doc = include_str!("docs/publish_from.md")]
    ///
    /// ```no_run
    /// use umqtt::{StreamedPublish, blocking::Client, std_io::{NonBlocking, StdClock, TcpTransport}};
    ///
    /// # fn example(client: &mut Client<'_, '_, TcpTransport, StdClock>) -> Result<(), Box<dyn std::error::Error>> {
    /// let log = std::fs::File::open("device.log")?;
    /// let len = log.metadata()?.len().try_into()?;
    /// client.publish_from(StreamedPublish::new("log"), len, NonBlocking::new(log), |_, _| {})?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish_from(
        &mut self,
        message: StreamedPublish<'_>,
        len: usize,
        mut reader: impl Read,
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = self.driver.request(|s| s.begin_payload(message, len))?;
        loop {
            self.drive_until(|driver, cx| driver.send_pieces(&mut on_event, cx))?;
            let space = self.driver.session.payload_space();
            if space.is_empty() {
                return Ok(id);
            }
            let read = reader.read(space).map_err(|error| error.kind());
            self.driver.commit_piece(read)?;
        }
    }

    #[doc = include_str!("docs/payload.md")]
    ///
    /// ```no_run
    /// use embedded_io::Read;
    /// use umqtt::{Event, blocking::Client, std_io::{StdClock, TcpTransport}};
    ///
    /// # fn example(client: &mut Client<'_, '_, TcpTransport, StdClock>) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Event::Chunk(_) = client.recv()? {
    ///     let mut payload = client.payload();
    ///     let mut line = [0; 80];
    ///     while let n @ 1.. = payload.read(&mut line)? {
    ///         println!("{:?}", &line[..n]);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn payload(&mut self) -> Payload<'_, 's, 'b, T, C> {
        Payload::new(self)
    }

    #[doc = include_str!("docs/subscribe.md")]
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, Error<T::Error>> {
        self.send(|session| session.subscribe(filters))
    }

    #[doc = include_str!("docs/subscribe_and_wait.md")]
    pub fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<SubackCodes<'_>, Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.subscribe(filters)?;
        let token = self.await_answer(id, on_event)?;
        self.driver.suback(token)
    }

    #[doc = include_str!("docs/unsubscribe.md")]
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, Error<T::Error>> {
        self.send(|session| session.unsubscribe(filters))
    }

    #[doc = include_str!("docs/unsubscribe_and_wait.md")]
    pub fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.unsubscribe(filters)?;
        self.await_completion(Some(id), on_event)
    }

    #[doc = include_str!("docs/ping.md")]
    pub fn ping(&mut self) -> Result<(), Error<T::Error>> {
        self.driver.request(Session::ping)?;
        self.write();
        Ok(())
    }

    #[doc = include_str!("docs/recv.md")]
    #[doc(alias = "wait_msg")] // umqtt.simple
    pub fn recv(&mut self) -> Result<Event<'_>, Error<T::Error>> {
        let token = self.next_event()?;
        self.driver.event(token)
    }

    #[doc = include_str!("docs/poll.md")]
    #[doc(alias = "check_msg")] // umqtt.simple
    #[doc(alias = "loop")] // Paho
    pub fn poll(&mut self) -> Result<Option<Event<'_>>, Error<T::Error>> {
        let step = self.driver.drive(&context(&self.clock));
        self.driver.polled(step)
    }

    #[doc = include_str!("docs/flush.md")]
    pub fn flush(&mut self) -> Result<(), Error<T::Error>> {
        self.drive_until(|driver, cx| driver.flush(cx))?;
        self.driver.flushed()
    }

    #[doc = include_str!("docs/deadline.md")]
    pub fn deadline(&self) -> Option<Instant> {
        self.driver.session.deadline()
    }

    #[doc = include_str!("docs/disconnect.md")]
    pub fn disconnect(&mut self) -> Result<bool, Error<T::Error>> {
        self.driver.start_disconnect()?;
        self.flush()?;
        self.await_connack()?;
        // Sends the packets that had to wait for CONNACK.
        self.flush()?;
        self.drive_until(|driver, cx| driver.await_end(cx))?;
        Ok(self.driver.has_end_of_stream())
    }

    /// Returns the transport. If [`Self::disconnect`] was not called before, the server publishes the will after the
    /// connection is closed.
    pub fn into_transport(self) -> T {
        self.driver.transport.0
    }

    /// Waits until the server has answered the CONNECT. Events are dropped.
    fn await_connack(&mut self) -> Result<(), Error<T::Error>> {
        while self.driver.session.is_connecting() {
            let token = self.next_event()?;
            self.driver.session.event(token)?;
        }
        Ok(())
    }

    /// Waits until the server has acknowledged the request with this id or, without an id, until all was flushed.
    fn await_completion(
        &mut self,
        id: Option<PacketId>,
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<(), Error<T::Error>> {
        let Some(id) = id else {
            return self.drive_until(|driver, cx| driver.flush_until_event(&mut on_event, cx));
        };
        let token = self.await_answer(id, on_event)?;
        self.driver.session.event(token)?;
        Ok(())
    }

    fn await_answer(
        &mut self,
        id: PacketId,
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<EventToken, Error<T::Error>> {
        self.drive_until(|driver, cx| driver.await_answer(id, &mut on_event, cx))
    }

    fn next_event(&mut self) -> Result<EventToken, Error<T::Error>> {
        self.drive_until(|driver, cx| driver.drive(cx))
    }

    /// Queues a request and writes the bytes that the transport accepts. If the write fails, the next call returns the
    /// error.
    fn send<R>(
        &mut self,
        request: impl FnOnce(&mut Session<'b>) -> Result<R, RequestError>,
    ) -> Result<R, Error<T::Error>> {
        let result = self.driver.request(request);
        if result.is_ok() {
            self.write();
        }
        result
    }

    /// Writes the bytes that the transport accepts at once.
    fn write(&mut self) {
        self.driver.write(&context(&self.clock));
    }

    /// Repeats `step` until it is done.
    fn drive_until<R>(
        &mut self,
        mut step: impl FnMut(&mut Driver<'s, 'b, BlockingTransport<T>>, &Context<'_, C, ()>) -> Step<R>,
    ) -> Result<R, Error<T::Error>> {
        let cx = context(&self.clock);
        loop {
            match step(&mut self.driver, &cx) {
                Ok(Progress::Done(result)) => return Ok(result),
                Ok(Progress::Delivered | Progress::Again) => {}
                Ok(Progress::Blocked) => self.clock.idle(),
                Err(Failed) => return Err(self.driver.error()),
            }
        }
    }
}

fn context<C>(clock: &C) -> Context<'_, C, ()> {
    Context { clock, waker: &() }
}
