//! Clients: a session on a transport, with a clock.

#[cfg(feature = "async")]
pub mod asynch;
pub mod blocking;
mod calls;
mod driver;
#[cfg(feature = "embassy-time")]
mod embassy;
mod error;
mod read_fn;
mod transport;

#[cfg(feature = "embassy-time")]
pub use self::embassy::EmbassyClock;
pub use self::{error::Error, read_fn::ReadFn};
