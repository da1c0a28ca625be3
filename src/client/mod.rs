//! Clients: a session on a transport, with a clock.

#[cfg(feature = "async")]
pub mod asynch;
pub mod blocking;
mod calls;
mod device;
mod driver;
#[cfg(feature = "embassy-time")]
mod embassy;
mod error;
mod read_fn;
mod transport;

#[cfg(feature = "embassy-time")]
pub use self::embassy::EmbassyClock;
pub use self::{
    device::{Config, DeviceError, Ended},
    error::Error,
    read_fn::ReadFn,
};
