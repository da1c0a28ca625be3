//! A device that stays connected, for a loop without an executor.

mod payload;

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

use super::transport::BlockingTransport;
use crate::{
    Backoff,
    client::{
        Error,
        device::Config,
        driver::{Context, Driver, DriverState, Failed, Progress},
    },
    codec::{Connect, PacketId, QoS},
    session::{
        Event, EventToken, Handled, ImageError, Message, Publisher, RequestError, Saved, Session,
        Storage, SubscriptionState,
    },
    time::{Clock, Instant},
};

/// First and longest delay before the next attempt to connect, in ms.
const BACKOFF: (u32, u32) = (1_000, 60_000);

/// An event handler.
type Handler<'h, 'd> = &'h mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> Handled;

/// A session that stays connected, in a loop of the caller.
///
/// ```text
///                  Device
///                  +------------------------------------+
/// loop   dial ---> | Backoff ---> transport             |
///       serve ---> | Session <--> driver <--> transport | <---> server
///     publish ---> |    |                               |
///                  +----|-------------------------------+
///                       v
///                handler(Event, Publisher)
/// ```
///
/// The loop calls [`Self::dial`] and [`Self::serve`], or [`Self::is_dial_due`], [`Self::connect`] and [`Self::poll`].
/// The device subscribes to its [standing subscriptions](Config::subscriptions) on each connection, and chooses the
/// delay before the next attempt to connect. With Clean Session 0, messages at QoS 1 and 2 can be published without a
/// connection.
///
/// The handler of an event returns `()`, or [`Handled`]. [`Handled::NotNow`] postpones the event until
/// [`Self::resume`]. With its [`Publisher`], the handler can answer a message.
///
/// [`Self::serve`] and [`Self::recv`] wait for the given time. [`Self::publish_slices`], [`Self::publish_from`] and
/// [`Self::shut_down`] wait for at most the response timeout while the network makes no progress. No other call waits.
/// Feed a watchdog once in each turn of the loop. Its limit must exceed the time of one dial.
///
/// ```no_run
/// use umqtt::{Config, Message, Storage, blocking::Device, codec::Connect, std_io};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut storage = Storage::<512, 1024, 8>::new();
/// let config = Config::new(Connect::new("sensor-7"));
/// let mut device = Device::new(&mut storage, std_io::StdClock::new(), &config)?;
/// loop {
///     if let Err(error) = device.dial(|| std_io::connect("localhost:1883")) {
///         eprintln!("cannot connect: {error}");
///     }
///     let served = device.serve(1_000, |event, _| println!("{event}"));
///     if let Err(error) = served {
///         eprintln!("connection lost: {error}");
///     }
///     if let Err(error) = device.publish(&Message::new("temperature", b"21")) {
///         eprintln!("not published: {error}");
///     }
/// }
/// # }
/// ```
#[doc(alias = "MQTTClient")] // umqtt.simple, Paho
pub struct Device<'d, T: ErrorType, C> {
    session: Session<'d>,
    clock: C,
    connect: Connect<'d>,
    backoff: Backoff,
    /// State of a generator of random numbers.
    random: u32,
    /// Time of the next attempt to connect.
    dial_at: Instant,
    connection: Option<Connection<T>>,
    /// The transport of the last connection.
    last_transport: Option<T>,
    /// The handler has returned [`Handled::NotNow`].
    is_paused: bool,
    is_shut_down: bool,
}

struct Connection<T: ErrorType> {
    transport: T,
    state: DriverState<T::Error>,
    /// Time of CONNACK.
    connected_at: Option<Instant>,
}

/// Result of one step.
#[derive(PartialEq, Eq)]
enum Turn {
    /// An event was passed to the handler.
    Event,
    /// More steps can be done at once.
    Again,
    Blocked,
}

impl<'d, T: ErrorType, C: Clock> Device<'d, T, C> {
    /// Creates a device with an empty session in this storage.
    ///
    /// # Errors
    ///
    /// [`RequestError`]: the CONNECT or a subscription is not valid, or does not fit into the send buffer.
    pub fn new<const RX: usize, const TX: usize, const INFLIGHT: usize, const INBOUND: usize>(
        storage: &'d mut Storage<RX, TX, INFLIGHT, INBOUND>,
        clock: C,
        config: &Config<'d>,
    ) -> Result<Self, RequestError> {
        let mut session = Session::new(storage);
        session.set_subscriptions(config.subscriptions)?;
        session.prepare(&config.connect)?;
        let now = clock.now();
        // Devices with different client ids choose different delays. The zero at the end mixes the last byte of the id
        // once more, which is often the only difference.
        let id = config.connect.client_id.bytes().chain([0]);
        let random = id.fold(now.as_millis() | 1, |random, byte| {
            next_random(random ^ u32::from(byte))
        });
        Ok(Self {
            session,
            clock,
            connect: config.connect,
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
            random,
            dial_at: now,
            connection: None,
            last_transport: None,
            is_paused: false,
            is_shut_down: false,
        })
    }

    /// Sets the delays before attempts to connect. Unless set, they begin with 1 s and double to at most 60 s.
    pub fn set_backoff(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// Returns the session, to restore it, and to set its timeouts and checkpoints.
    pub fn session(&mut self) -> &mut Session<'d> {
        &mut self.session
    }

    /// Returns `true` if there is no connection and the delay since the last one has passed. Open a transport, then
    /// call [`Self::connect`] or [`Self::dial_failed`].
    pub fn is_dial_due(&self) -> bool {
        self.connection.is_none() && !self.is_shut_down && self.dial_at.has_passed(self.clock.now())
    }

    /// Reports that no transport could be opened. [`Self::is_dial_due`] returns `false` during the next delay.
    pub fn dial_failed(&mut self) {
        self.plan_dial(&Error::Closed, 0);
    }

    /// Opens a transport with `open` and connects on it, if [a dial is due](Self::is_dial_due).
    ///
    /// # Errors
    ///
    /// - [`Error::Transport`]: `open` failed. The next dial is due after a delay.
    /// - [`Error::Request`]: the session rejected the CONNECT; see [`Self::connect`].
    #[doc(alias = "reconnect")] // umqtt.robust, Paho
    pub fn dial<E>(&mut self, open: impl FnOnce() -> Result<T, E>) -> Result<(), Error<E>> {
        if !self.is_dial_due() {
            return Ok(());
        }
        match open() {
            Ok(transport) => self.connect(transport).map_err(Error::Request),
            Err(error) => {
                self.dial_failed();
                Err(Error::Transport(error))
            }
        }
    }

    /// Accepts a new transport, and queues the CONNECT. [`Event::Connected`] reports the answer. An older connection is
    /// closed.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`], and [`RequestError::NotConnected`]: the device was shut down. On an error, the
    /// transport is dropped, and the next dial is due after a delay.
    pub fn connect(&mut self, transport: T) -> Result<(), RequestError> {
        let connect = self.connect;
        self.connect_with(&connect, transport)
    }

    /// As [`Self::connect`], with another CONNECT for this connection. Use it for a password that expires, or to begin
    /// a new session once with Clean Session 1. The client id must be that of the device.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`], and [`RequestError::ClientIdMismatch`].
    pub fn connect_with(
        &mut self,
        connect: &Connect<'_>,
        transport: T,
    ) -> Result<(), RequestError> {
        if self.connection.take().is_some() {
            self.session.connection_lost();
        }
        self.last_transport = None;
        if self.is_shut_down {
            return Err(RequestError::NotConnected);
        }
        let begun = if connect.client_id == self.connect.client_id {
            self.session.connect(connect, self.clock.now())
        } else {
            Err(RequestError::ClientIdMismatch)
        };
        if let Err(error) = begun {
            self.plan_dial(&error.into(), 0);
            return Err(error);
        }
        self.is_paused = false;
        self.connection = Some(Connection {
            transport,
            state: DriverState::new(),
            connected_at: None,
        });
        Ok(())
    }

    /// Takes the transport of a connection that ended in the last call. If it is not taken, the next call drops it,
    /// which closes it.
    pub fn take_transport(&mut self) -> Option<T> {
        self.last_transport.take()
    }

    /// Returns `true` if the server has accepted the connection.
    pub fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// Returns whether the server has granted the standing subscriptions on this connection.
    pub fn subscriptions(&self) -> SubscriptionState {
        self.session.subscriptions()
    }

    /// Returns the time at which [`Self::poll`] or a dial is needed, even if nothing is received before. `None` means
    /// that a call is needed only after bytes were received. An event that the handler has postponed needs no call
    /// before [`Self::resume`].
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_paused {
            // The pending event waits for the caller.
            self.session.timer_deadline()
        } else if self.connection.is_some() {
            self.session.deadline()
        } else if self.is_shut_down {
            None
        } else {
            Some(self.dial_at)
        }
    }

    /// As [`Session::save`], with or without a connection.
    ///
    /// # Errors
    ///
    /// As [`Session::save`].
    pub fn save(&self, out: &mut [u8]) -> Result<Saved, ImageError> {
        self.session.save(out)
    }

    /// As [`Session::saved`]. If the handler has returned [`Handled::NotNow`] for a checkpoint, the device continues.
    /// If the session has changed since the save, the handler is given [`Event::CheckpointDue`] again.
    pub fn saved(&mut self, generation: u16) {
        let was_due = self.session.checkpoint_pending();
        self.session.saved(generation);
        self.is_paused &= !was_due;
    }

    /// Passes the event for which the handler returned [`Handled::NotNow`] to the handler again.
    pub fn resume(&mut self) {
        self.is_paused = false;
    }

    /// As [`Session::discard_publish`].
    ///
    /// # Errors
    ///
    /// As [`Session::discard_publish`].
    pub fn discard_publish(&mut self, id: PacketId) -> Result<(), RequestError> {
        self.session.discard_publish(id)
    }

    fn plan_dial(&mut self, error: &Error<T::Error>, connected_for: u32) {
        self.random = next_random(self.random).max(1);
        let delay = self
            .backoff
            .after_connection(error.is_permanent(), connected_for, self.random);
        self.dial_at = self.clock.now().add_millis(delay);
    }
}

impl<'d, T, C> Device<'d, T, C>
where
    T: Read + Write + ReadReady + WriteReady,
    C: Clock,
{
    /// Publishes a message. At QoS 1 and 2, returns the packet id that [`Event::Puback`] or [`Event::Pubcomp`] will
    /// report.
    ///
    /// Without a connection, messages at QoS 1 and 2 are queued if the CONNECT has Clean Session 0.
    ///
    /// # Errors
    ///
    /// - [`RequestError::NotConnected`]: there is no connection, and the message is at QoS 0, or the CONNECT has Clean
    ///   Session 1.
    /// - Others: the message is not valid, or there is no room for it now. Retry after the next event.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, RequestError> {
        let id = self.session.publish(message)?;
        self.write();
        Ok(id)
    }

    /// Subscribes on the present connection. [`Event::Suback`] reports the answer. These subscriptions last as long as
    /// the server keeps the session. For subscriptions that the device renews itself, see [`Config::subscriptions`].
    ///
    /// # Errors
    ///
    /// As [`Session::subscribe`].
    pub fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId, RequestError> {
        let id = self.session.subscribe(filters)?;
        self.write();
        Ok(id)
    }

    /// Unsubscribes from topic filters. [`Event::Unsuback`] reports the answer.
    ///
    /// # Errors
    ///
    /// As [`Session::unsubscribe`].
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, RequestError> {
        let id = self.session.unsubscribe(filters)?;
        self.write();
        Ok(id)
    }

    /// Sends and receives without waiting, and passes at most one event to the handler. Returns `true` if more can be
    /// done at once. Without a connection, it does nothing.
    ///
    /// # Errors
    ///
    /// The reason why the connection was closed. It is returned once. The device continues: [`Self::is_dial_due`]
    /// returns `true` at the time of the next dial.
    pub fn poll<H: Into<Handled>>(
        &mut self,
        mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Result<bool, Error<T::Error>> {
        let turn = self.turn(&mut |event, publisher| handler(event, publisher).into())?;
        Ok(turn != Turn::Blocked)
    }

    /// Sends and receives for `millis` milliseconds, and passes each event to the handler. Returns early if a dial is
    /// due.
    ///
    /// # Errors
    ///
    /// As [`Self::poll`].
    #[doc(alias = "set_callback")] // umqtt.simple
    #[doc(alias = "on_message")] // Paho
    #[doc(alias = "loop_forever")] // Paho
    pub fn serve<H: Into<Handled>>(
        &mut self,
        millis: u32,
        mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Result<(), Error<T::Error>> {
        let until = self.clock.now().add_millis(millis);
        let handler: Handler<'_, 'd> = &mut |event, publisher| handler(event, publisher).into();
        while !until.has_passed(self.clock.now()) {
            self.turn_or_idle(handler)?;
            if self.is_dial_due() {
                break;
            }
        }
        Ok(())
    }

    /// As [`Self::serve`], for at most `millis` milliseconds, but returns after the first event. Returns `true` if
    /// there was one.
    ///
    /// # Errors
    ///
    /// As [`Self::poll`].
    pub fn recv<H: Into<Handled>>(
        &mut self,
        millis: u32,
        mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Result<bool, Error<T::Error>> {
        let until = self.clock.now().add_millis(millis);
        let handler: Handler<'_, 'd> = &mut |event, publisher| handler(event, publisher).into();
        loop {
            if self.turn_or_idle(handler)? == Turn::Event {
                return Ok(true);
            }
            if until.has_passed(self.clock.now()) || self.is_dial_due() {
                return Ok(false);
            }
        }
    }

    /// Shuts the device down permanently: sends the queued packets, then DISCONNECT, and waits for the end of the
    /// stream, for at most 1 s ([`Session::set_disconnect_timeout`]). Returns `true` if the server has closed the
    /// connection in that time. Returns `false` if it has not, or if there was no connection.
    ///
    /// Meanwhile, events are passed to the handler. A message for which it returns [`Handled::NotNow`] is not
    /// acknowledged.
    ///
    /// # Errors
    ///
    /// The reason why the connection was closed before DISCONNECT was sent. The server publishes the will.
    pub fn shut_down<H: Into<Handled>>(
        &mut self,
        mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Result<bool, Error<T::Error>> {
        self.is_shut_down = true;
        if self.connection.is_none() {
            return Ok(false);
        }
        let mut is_postponed = false;
        loop {
            self.is_paused = false;
            // This fails while a payload must be sent again first.
            let _ = self.session.disconnect();
            let discards = core::mem::take(&mut is_postponed);
            let step = self.step(
                &mut |event, publisher| {
                    // A message that cannot be handled now is not acknowledged. A checkpoint cannot wait.
                    match handler(event, publisher).into() {
                        Handled::NotNow if matches!(event, Event::CheckpointDue) => Handled::Done,
                        handled => handled,
                    }
                },
                discards,
            );
            is_postponed = self.is_paused;
            match step {
                Ok(Turn::Blocked) => self.clock.idle(),
                Ok(_) => {}
                Err((_, has_ended)) if !self.session.has_failed() => return Ok(has_ended),
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Writes the bytes that the transport accepts at once.
    fn write(&mut self) {
        self.with_driver(|driver, cx| driver.write(cx));
    }

    /// Calls `f` with the driver of the connection, if there is one.
    fn with_driver<R: Default>(
        &mut self,
        f: impl FnOnce(&mut Driver<'_, 'd, BlockingTransport<&mut T>>, &Context<'_, C, ()>) -> R,
    ) -> R {
        let cx = Context {
            clock: &self.clock,
            waker: &(),
        };
        let Some(connection) = &mut self.connection else {
            return R::default();
        };
        let state = core::mem::replace(&mut connection.state, DriverState::new());
        let transport = BlockingTransport(&mut connection.transport);
        let mut driver = Driver::resume(&mut self.session, transport, state);
        let result = f(&mut driver, &cx);
        connection.state = driver.pause();
        result
    }

    /// Does one step of the driver, and waits for a short time if there was nothing to do.
    fn turn_or_idle(&mut self, handler: Handler<'_, 'd>) -> Result<Turn, Error<T::Error>> {
        let turn = self.turn(handler)?;
        if turn == Turn::Blocked {
            self.clock.idle();
        }
        Ok(turn)
    }

    /// Does one step of the driver.
    fn turn(&mut self, handler: Handler<'_, 'd>) -> Result<Turn, Error<T::Error>> {
        self.step(handler, false).map_err(|(error, _)| error)
    }

    /// Does one step of the driver, which passes an event to the handler or discards it. The error is the reason why
    /// the connection was closed, and `true` if the server has ended the stream.
    fn step(
        &mut self,
        handler: Handler<'_, 'd>,
        discards: bool,
    ) -> Result<Turn, (Error<T::Error>, bool)> {
        self.last_transport = None;
        let cx = Context {
            clock: &self.clock,
            waker: &(),
        };
        let Some(connection) = &mut self.connection else {
            return Ok(Turn::Blocked);
        };
        let state = core::mem::replace(&mut connection.state, DriverState::new());
        let transport = BlockingTransport(&mut connection.transport);
        let mut driver = Driver::resume(&mut self.session, transport, state);
        let step = if self.is_paused {
            driver.hold(&cx)
        } else {
            driver.drive(&cx)
        };
        let turn = match step {
            Ok(Progress::Done(token)) if discards => {
                // A malformed packet is reported by the next step.
                let _ = driver.session.discard_event(token);
                Ok(Turn::Event)
            }
            Ok(Progress::Done(token)) => {
                self.is_paused = deliver(driver.session, token, handler);
                Ok(Turn::Event)
            }
            Ok(Progress::Again | Progress::Delivered) => Ok(Turn::Again),
            Ok(Progress::Blocked) => Ok(Turn::Blocked),
            Err(Failed) => {
                let has_ended = driver.has_end_of_stream();
                Err((driver.error(), has_ended))
            }
        };
        connection.state = driver.pause();
        if self.session.is_connected() {
            connection.connected_at.get_or_insert(self.clock.now());
        }
        if let Err((error, _)) = &turn {
            let now = self.clock.now();
            let connected_for = connection.connected_at.map_or(0, |at| now.millis_after(at));
            self.last_transport = self.connection.take().map(|ended| ended.transport);
            self.is_paused = false;
            self.plan_dial(error, connected_for);
        }
        turn
    }
}

/// Passes the event to the handler. Returns `true` if it cannot be handled now.
///
/// If its packet is malformed, the next step of the driver returns the error.
fn deliver<'d>(session: &mut Session<'d>, token: EventToken, handler: Handler<'_, 'd>) -> bool {
    matches!(
        session.handle_event(token, handler),
        Ok(Some(Handled::NotNow))
    )
}

/// Returns the next number of a xorshift generator. It is 0 only if `state` is 0.
const fn next_random(state: u32) -> u32 {
    let state = state ^ (state << 13);
    let state = state ^ (state >> 17);
    state ^ (state << 5)
}
