//! A device that stays connected, split into handles for its tasks and a runner (feature `async`).

mod granted;
mod handle;
mod payload;
mod runner;
mod shared;
mod waiters;

use self::shared::Shared;
pub use self::{granted::Granted, handle::Mqtt, runner::Runner, shared::DeviceState};
use crate::{
    client::device::Config,
    codec::Connect,
    session::{RequestError, Session, Storage},
};

/// A session that stays connected, for any number of tasks of one executor.
///
/// ```text
/// tasks             Device                              one task
/// Mqtt (handle) --> +-----------------+ <-- driver <--- Runner::run(transport, handler)
/// Mqtt (handle) --> |     Session     |                     |
/// Mqtt (handle) --> | waiting tasks   | --> events -------> handler(Event, Publisher)
///                   +-----------------+
/// ```
///
/// The order of calls: `new`, then `session` to restore or configure it, then `split`. One task calls [`Runner::run`] with
/// a new transport after each end of a connection. All other tasks call the handle at any time.
///
/// [`Self::split`] divides it into a handle, which every task may copy, and a runner, which one task runs on one
/// transport after the other. The device subscribes to its [standing subscriptions](Config::subscriptions) on each
/// connection. With Clean Session 0, messages at QoS 1 and 2 can be published without a connection.
///
/// `TASKS` is the number of calls that can wait at the same time. Handles are not `Send`: to publish from another executor
/// or an interrupt, pass messages through a channel to a task that has a handle.
///
/// ```
/// # let address = embedded_broker::start()?;
/// use umqtt::{
///     Backoff, Clock, Config, Ended, Event, Message, Storage,
///     asynch::{Device, Sleep}, codec::{Connect, QoS}, tokio_io,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let mut storage = Storage::<512, 1024, 8>::new();
/// let clock = tokio_io::TokioClock::new();
/// let mut device: Device<_> = Device::new(&mut storage, clock, &Config::new(Connect::new("sensor-7")))?;
/// let (mqtt, mut runner) = device.split();
/// let random = || 0x8000_0000; // on a device, from its random number generator
/// let network = async {
///     let mut backoff = Backoff::new(1_000, 60_000);
///     loop {
///         let delay = match tokio_io::connect(address).await {
///             Ok(transport) => {
///                 let ended = runner.run(transport, |event, _| {
///                     if let Event::Message(message) = event { /* ... */ }
///                 }).await;
///                 if let Ended::Shutdown = ended {
///                     break;
///                 }
///                 backoff.after(&ended, random())
///             }
///             Err(_) => backoff.next(random()),
///         };
///         clock.sleep_until(clock.now().add_millis(delay)).await;
///     }
/// };
/// let app = async {
///     mqtt.connected().await?;
///     let message = Message { qos: QoS::AtLeastOnce, ..Message::new("temperature", b"21") };
///     let published = mqtt.publish_and_wait(&message).await;
///     mqtt.shut_down();
///     published
/// };
/// let ((), published) = embassy_futures::join::join(network, app).await;
/// published?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "AsyncClient")] // rumqttc
pub struct Device<'d, C, const TASKS: usize = 8> {
    shared: Shared<'d, TASKS>,
    clock: C,
    connect: Connect<'d>,
}

impl<'d, C, const TASKS: usize> Device<'d, C, TASKS> {
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
        Ok(Self {
            shared: Shared::new(session),
            clock,
            connect: config.connect,
        })
    }

    /// Returns the session, to restore it, and to set its timeouts and checkpoints.
    pub fn session(&mut self) -> &mut Session<'d> {
        self.shared.session()
    }

    /// Divides the device into a handle and a runner. They borrow it for the rest of its life, so this can be called once.
    pub fn split(&'d mut self) -> (Mqtt<'d, TASKS>, Runner<'d, C, TASKS>) {
        let Self {
            shared,
            clock,
            connect,
        } = self;
        (Mqtt::new(shared), Runner::new(shared, clock, connect))
    }
}

impl<C, const TASKS: usize> core::fmt::Debug for Device<'_, C, TASKS> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Device").finish_non_exhaustive()
    }
}
