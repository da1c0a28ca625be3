//! The async client, over `embedded_io_async` (feature `async`). It works with any executor.

mod device;
mod payload;
mod transport;

use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, Waker},
};

use embedded_io_async::{Error as _, ErrorType, Read, Write};

use self::transport::AsyncTransport;
pub use self::{
    device::{Device, DeviceState, Granted, Mqtt, Runner},
    payload::Payload,
};
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

/// A clock that can wait.
pub trait Sleep: Clock {
    /// Waits until `at`, or longer. A caller may drop the future before it is ready.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;
}

impl<C: Sleep> Sleep for &C {
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        (**self).sleep_until(at)
    }
}

/// A [`Session`] on one network connection.
#[doc = include_str!("docs/client.md")]
///
/// ```
/// # let address = embedded_broker::start()?;
/// use umqtt::{Event, Message, Session, Storage, asynch::Client, codec::{Connect, QoS}, tokio_io};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let mut storage = Storage::<512, 512, 4>::new();
/// let mut session = Session::new(&mut storage);
/// let (transport, clock) = (tokio_io::connect(address).await?, tokio_io::TokioClock::new());
/// let mut client = Client::connect(&mut session, transport, clock, &Connect::new("lamp-7")).await?;
/// client.subscribe_and_wait(&[("lamp/7", QoS::AtLeastOnce)], |_, _| {}).await?;
/// client.publish(&Message::new("lamp/7", b"on")).await?;
/// loop {
///     if let Event::Message(message) = client.recv().await? {
///         assert_eq!(message.payload, b"on");
///         break;
///     }
/// }
/// client.disconnect().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// The future of any call may be dropped at any await, and any other call may follow. No event is lost, no QoS 2
/// message is repeated, and the byte stream stays intact. The reason: the session keeps all state, and a call awaits
/// only the transport and the clock.
///
/// The transport's own `read`, `write` and `flush` must be cancel-safe, as those of embassy-net and of buffered UARTs
/// are. Each poll makes a new future of one of them, polls it once, and drops it if it is not ready. In many TLS
/// stacks, these futures encrypt or decrypt records before they move bytes, and lose data when they are dropped. Run
/// such a stack in a task of its own.
#[doc(alias = "AsyncClient")] // rumqttc
pub struct Client<'s, 'b, T: ErrorType, C> {
    driver: Driver<'s, 'b, AsyncTransport<T>>,
    clock: C,
}

/// Aborts the payload on drop, if it was not sent whole.
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
    #[doc = include_str!("docs/connect.md")]
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the transport. The session keeps its state.
    pub async fn connect(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        let mut client = Self::open(session, transport, clock, options)?;
        client.await_connack().await?;
        Ok(client)
    }

    #[doc = include_str!("docs/open.md")]
    pub fn open(
        session: &'s mut Session<'b>,
        transport: T,
        clock: C,
        options: &Connect<'_>,
    ) -> Result<Self, Error<T::Error>> {
        let driver = Driver::open(session, AsyncTransport(transport), options, clock.now())?;
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
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing is published.
    pub async fn publish(
        &mut self,
        message: &Message<'_>,
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = self.request(|s| s.publish(message)).await?;
        self.write().await;
        Ok(id)
    }

    #[doc = include_str!("docs/publish_and_wait.md")]
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped after the message was queued, the message stays queued, and its acknowledgement is
    /// reported as an event. It is queued when the future is first polled. If the send buffer is full, it is queued
    /// when the future is polled again.
    #[doc(alias = "wait_for_publish")] // Paho
    pub async fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.request(|s| s.publish(message)).await?;
        self.await_completion(id, on_event).await
    }

    #[doc = include_str!("docs/publish_slices.md")]
    ///
    /// # Cancel safety
    ///
    /// If no byte of the message was sent, dropping the future removes it. Otherwise, dropping the future closes the
    /// connection, because the server would read the next packet as payload. The next call returns
    /// [`ProtocolError::PayloadAborted`](crate::ProtocolError::PayloadAborted).
    pub async fn publish_slices(
        &mut self,
        message: StreamedPublish<'_>,
        payload: &[&[u8]],
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let len = total_len(payload);
        let id = self.driver.request(|s| s.begin_payload(message, len))?;
        let payload_guard = AbandonOnDrop(self);
        payload_guard
            .0
            .drive_until(|driver, cx| driver.send_slices(payload, len, &mut on_event, cx))
            .await?;
        Ok(id)
    }

    #[doc = include_str!("docs/publish_from.md")]
    ///
    /// While the reader is awaited, the client sends and receives nothing, and checks no timeout.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::publish_slices`].
    pub async fn publish_from(
        &mut self,
        message: StreamedPublish<'_>,
        len: usize,
        mut reader: impl Read,
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = self.driver.request(|s| s.begin_payload(message, len))?;
        let payload_guard = AbandonOnDrop(self);
        let client = &mut *payload_guard.0;
        loop {
            let step = client.drive_until(|driver, cx| driver.send_pieces(&mut on_event, cx));
            step.await?;
            let space = client.driver.session.payload_space();
            if space.is_empty() {
                return Ok(id);
            }
            let read = reader.read(space).await.map_err(|error| error.kind());
            client.driver.commit_piece(read)?;
        }
    }

    #[doc = include_str!("docs/payload.md")]
    ///
    /// ```no_run
    /// use embedded_io_async::Read;
    /// use umqtt::{Event, asynch::Client, tokio_io::{TcpTransport, TokioClock}};
    ///
    /// # async fn example(client: &mut Client<'_, '_, TcpTransport, TokioClock>) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Event::Chunk(_) = client.recv().await? {
    ///     let mut payload = client.payload();
    ///     let mut line = [0; 80];
    ///     while let n @ 1.. = payload.read(&mut line).await? {
    ///         println!("{:?}", &line[..n]);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future of a read loses nothing.
    pub fn payload(&mut self) -> Payload<'_, 's, 'b, T, C> {
        Payload::new(self)
    }

    #[doc = include_str!("docs/subscribe.md")]
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing is subscribed.
    pub async fn subscribe(
        &mut self,
        filters: &[(&str, QoS)],
    ) -> Result<PacketId, Error<T::Error>> {
        let id = self.request(|s| s.subscribe(filters)).await?;
        self.write().await;
        Ok(id)
    }

    #[doc = include_str!("docs/subscribe_and_wait.md")]
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped after the packet was queued, the packet stays queued, and its answer is reported as an
    /// event. It is queued as in [`Self::publish_and_wait`].
    pub async fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<SubackCodes<'_>, Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.request(|s| s.subscribe(filters)).await?;
        let token = self.await_answer(id, on_event).await?;
        self.driver.suback(token)
    }

    #[doc = include_str!("docs/unsubscribe.md")]
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing is unsubscribed.
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, Error<T::Error>> {
        let id = self.request(|s| s.unsubscribe(filters)).await?;
        self.write().await;
        Ok(id)
    }

    #[doc = include_str!("docs/unsubscribe_and_wait.md")]
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped after the packet was queued, the packet stays queued, and its answer is reported as an
    /// event. It is queued as in [`Self::publish_and_wait`].
    pub async fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<(), Error<T::Error>> {
        self.driver.check_order()?;
        let id = self.request(|s| s.unsubscribe(filters)).await?;
        self.await_completion(Some(id), on_event).await
    }

    #[doc = include_str!("docs/ping.md")]
    ///
    /// # Cancel safety
    ///
    /// The future is ready when it is first polled. If it is dropped before, nothing is sent.
    pub async fn ping(&mut self) -> Result<(), Error<T::Error>> {
        self.driver.request(Session::ping)?;
        self.write().await;
        Ok(())
    }

    #[doc = include_str!("docs/recv.md")]
    #[doc(alias = "wait_msg")] // umqtt.simple
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the event is taken from the session when the future is ready.
    pub async fn recv(&mut self) -> Result<Event<'_>, Error<T::Error>> {
        let token = self.next_event().await?;
        self.driver.event(token)
    }

    #[doc = include_str!("docs/poll.md")]
    #[doc(alias = "check_msg")] // umqtt.simple
    #[doc(alias = "loop")] // Paho
    ///
    /// # Cancel safety
    ///
    /// The future is ready when it is first polled.
    pub async fn poll(&mut self) -> Result<Option<Event<'_>>, Error<T::Error>> {
        let Self { driver, clock } = self;
        let step = poll_fn(|cx| {
            let waker = cx.waker();
            let step = driver.drive(&Context { clock, waker });
            if let Ok(Progress::Again) = step {
                waker.wake_by_ref();
            }
            Poll::Ready(step)
        })
        .await;
        driver.polled(step)
    }

    #[doc = include_str!("docs/flush.md")]
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the rest stays queued.
    pub async fn flush(&mut self) -> Result<(), Error<T::Error>> {
        self.drive_until(Driver::flush).await?;
        self.driver.flushed()
    }

    #[doc = include_str!("docs/deadline.md")]
    pub fn deadline(&self) -> Option<Instant> {
        self.driver.session.deadline()
    }

    #[doc = include_str!("docs/disconnect.md")]
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, DISCONNECT stays queued. Another call of this function continues.
    pub async fn disconnect(&mut self) -> Result<bool, Error<T::Error>> {
        self.driver.start_disconnect()?;
        self.flush().await?;
        self.await_connack().await?;
        // Sends the packets that had to wait for CONNACK.
        self.flush().await?;
        self.drive_until(Driver::await_end).await?;
        Ok(self.driver.has_end_of_stream())
    }

    /// Returns the transport. If [`Self::disconnect`] was not called before, the server publishes the will after the
    /// connection is closed.
    pub fn into_transport(self) -> T {
        self.driver.transport.0
    }

    /// Waits until the server has answered the CONNECT. Events are dropped.
    async fn await_connack(&mut self) -> Result<(), Error<T::Error>> {
        while self.driver.session.is_connecting() {
            let token = self.next_event().await?;
            self.driver.session.event(token)?;
        }
        Ok(())
    }

    /// Waits until the server has acknowledged the request with this id or, without an id, until all was flushed.
    async fn await_completion(
        &mut self,
        id: Option<PacketId>,
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<(), Error<T::Error>> {
        let Some(id) = id else {
            return self
                .drive_until(|driver, cx| driver.flush_until_event(&mut on_event, cx))
                .await;
        };
        let token = self.await_answer(id, on_event).await?;
        self.driver.session.event(token)?;
        Ok(())
    }

    async fn await_answer(
        &mut self,
        id: PacketId,
        mut on_event: impl FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Result<EventToken, Error<T::Error>> {
        self.drive_until(|driver, cx| driver.await_answer(id, &mut on_event, cx))
            .await
    }

    async fn next_event(&mut self) -> Result<EventToken, Error<T::Error>> {
        self.drive_until(Driver::drive).await
    }

    /// Queues a request. If the send buffer is full, yields to the executor once and tries again. A runtime may refuse
    /// all writes until the task has yielded.
    async fn request<R>(
        &mut self,
        request: impl Fn(&mut Session<'b>) -> Result<R, RequestError>,
    ) -> Result<R, Error<T::Error>> {
        let result = self.driver.request(&request);
        let Err(Error::Request(RequestError::SendBufferFull { .. })) = result else {
            return result;
        };
        let mut has_yielded = false;
        poll_fn(|cx| {
            if core::mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.write().await;
        self.driver.request(request)
    }

    /// Writes the bytes that the transport accepts at once.
    async fn write(&mut self) {
        let Self { driver, clock } = self;
        poll_fn(|cx| {
            let waker = cx.waker();
            driver.write(&Context { clock, waker });
            Poll::Ready(())
        })
        .await;
    }

    /// Repeats `step` until it is done. The transport wakes the task for the next step, or the clock at a deadline.
    async fn drive_until<R>(
        &mut self,
        mut step: impl FnMut(&mut Driver<'s, 'b, AsyncTransport<T>>, &Context<'_, C, Waker>) -> Step<R>,
    ) -> Result<R, Error<T::Error>> {
        let Self { driver, clock } = self;
        loop {
            let deadline = driver.session.timer_deadline();
            let mut sleep = pin!(deadline.map(|at| clock.sleep_until(at)));
            let progress = poll_fn(|cx| {
                let waker = cx.waker();
                match step(driver, &Context { clock, waker }) {
                    Ok(Progress::Again) => {
                        waker.wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(Progress::Blocked) => {}
                    done => return Poll::Ready(done),
                }
                if driver.session.timer_deadline() != deadline {
                    return Poll::Ready(Ok(Progress::Blocked));
                }
                match sleep.as_mut().as_pin_mut() {
                    Some(sleep) => sleep.poll(cx).map(|()| Ok(Progress::Blocked)),
                    None => Poll::Pending,
                }
            });
            match progress.await {
                Ok(Progress::Done(result)) => return Ok(result),
                Ok(_) => {}
                Err(Failed) => return Err(driver.error()),
            }
        }
    }
}
