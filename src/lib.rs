//! MQTT 3.1.1 for firmware.
#![no_std]

#[cfg(feature = "std")]
extern crate std;

pub mod client;
pub mod codec;
mod session;
#[cfg(feature = "std")]
pub mod std_io;
mod time;

#[cfg(feature = "async")]
pub use self::client::asynch;
pub use self::{
    client::blocking,
    session::{
        Chunk, Event, Message, ProtocolError, RESPONSE_TIMEOUT, Ready, RequestError, Session,
        Storage,
    },
    time::{Clock, Instant},
};
