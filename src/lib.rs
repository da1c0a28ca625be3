//! MQTT 3.1.1 for firmware: `no_std`, no allocation, no I/O of its own.
//!
//! ```text
//!              +--------------------------- Session (no I/O, no clock, no async) --------------------------+
//!  transport   |                                                                                           |
//!  --bytes---> | space, commit ---> receive buffer ---> codec ---> in-flight table, timers                 |
//!              |                                                     |              |                      |
//!  app <------ | event(token) -> Event <--- EventToken <--- poll(now) <--+              v                  |
//!  app ------> | connect, publish, subscribe, unsubscribe, disconnect ---> send buffer, acknowledgements   |
//!  transport   |                                                                     |                     |
//!  <--bytes--- | pending, consume <--------------------------------------------------+                     |
//!  clock ----> | poll(now)          deadline() ---> the caller's timer                                     |
//!              +-------------------------------------------------------------------------------------------+
//!  blocking::Client and asynch::Client are loops around exactly these calls.
//!  blocking::Device and asynch::Device contain a session, and run it on one connection after the other.
//! ```
//!
//! Start with a device, which stays connected: [`blocking::Device`] in a loop, `asynch::Device` (feature `async`) for any
//! number of tasks. Create the storage, then the device. Then repeat: dial if there is no connection, serve, and publish.
//!
//! ```
//! # let address = embedded_broker::start()?;
//! use umqtt::{Config, Event, Message, Storage, blocking::Device, codec::{Connect, QoS}, std_io};
//!
//! let mut storage = Storage::<512, 512, 4>::new();
//! let subscriptions = &[("lamp/7", QoS::AtLeastOnce)];
//! let config = Config { connect: Connect::new("lamp-7"), subscriptions };
//! let mut device = Device::new(&mut storage, std_io::StdClock::new(), &config)?;
//! let mut state = String::new();
//! while state.is_empty() {
//!     device.dial(|| std_io::connect(address))?; // such as "broker.example:1883"
//!     device.serve(100, |event, publisher| match event {
//!         Event::Subscribed { .. } => {
//!             let _ = publisher.publish(&Message::new("lamp/7", b"on"));
//!         }
//!         Event::Message(message) => state = String::from_utf8_lossy(message.payload).into_owned(),
//!         _ => {}
//!     })?;
//! }
//! assert_eq!(state, "on");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`codec`] encodes and decodes all fourteen packets, in both directions. It is enough for a sniffer, a gateway, or a
//!   broker.
//! - [`Session`] implements QoS 0, 1 and 2 across network connections, in memory that the caller provides ([`Storage`]).
//! - [`blocking::Client`] and `asynch::Client` (feature `async`) run a session on one connection, over any `embedded-io`
//!   transport.
//! - [`blocking::Device`] and `asynch::Device` (feature `async`) stay connected, over any such transport.
//!
//! A session outlives its connections. When the connection of a client has failed, drop the client, open a new transport,
//! and connect with the same session. A device does this by itself.
//!
//! # Features
//!
//! - `async`: `asynch::Client` and `asynch::Device`, over `embedded-io-async`.
//! - `embassy-time`: a clock for them.
//! - `defmt`: `defmt::Format` on public types, and log events through `defmt`.
//! - `log`: the same log events through `log`, at levels debug and warn.
//! - `std`: TCP connections, a clock and a transport adapter for the blocking client and device on a PC.
//! - `tokio`: TCP connections and a clock for the async client and device on tokio.
//!
//! No feature changes the behaviour of another part.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "std")]
extern crate std;

mod backoff;
mod bytes;
pub mod client;
pub mod codec;
mod log;
mod session;
#[cfg(feature = "std")]
pub mod std_io;
mod time;
#[cfg(feature = "tokio")]
pub mod tokio_io;

#[cfg(feature = "embassy-time")]
pub use self::client::EmbassyClock;
#[cfg(feature = "async")]
pub use self::client::asynch;
pub use self::{
    backoff::Backoff,
    client::{Config, DeviceError, Ended, ReadFn, blocking},
    session::{
        Chunk, Event, EventToken, Handled, ImageError, InputBlock, Message, ProtocolError,
        Publisher, RESPONSE_TIMEOUT, RequestError, Saved, Session, Storage, StreamedPublish,
        SubscriptionState,
    },
    time::{Clock, Instant},
};

/// Compiles the examples of the README and of the chapters.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/getting-started.md")]
#[doc = include_str!("../docs/connections.md")]
#[doc = include_str!("../docs/routing.md")]
#[doc = include_str!("../docs/payloads.md")]
#[doc = include_str!("../docs/sleep.md")]
#[doc = include_str!("../docs/firmware.md")]
#[doc = include_str!("../docs/buffers.md")]
#[doc = include_str!("../docs/cloud.md")]
#[doc = include_str!("../docs/home-assistant.md")]
#[doc = include_str!("../docs/umqtt-simple.md")]
#[doc = include_str!("../docs/codec.md")]
#[doc = include_str!("../docs/inside.md")]
struct Readme;
