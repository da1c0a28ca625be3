//! The "living room light": a program that publishes the state of a light every second, shows what arrives, and
//! reconnects after a failure with its session kept.
//!
//! It runs on a chip and on a PC. [`Light`] decides and does no I/O; [`blocking::run`] moves the bytes, and so does
//! `asynch::run` (feature `async`). A program brings a [`Board`] (where to show things, how to switch the light) and a
//! `Network` of one of the two modules (how to reach the broker).
#![no_std]

#[cfg(feature = "async")]
pub mod asynch;
pub mod blocking;
mod failure;
#[cfg(feature = "identity")]
mod identity;
pub mod kept;
mod logic;
mod news;

use umqtt::codec::QoS;

#[cfg(feature = "identity")]
pub use self::identity::Identity;
pub use self::{
    failure::{Failure, SubscriptionRefused},
    logic::{Light, Next},
    news::{KeptSession, News},
};

/// What follows the device's prefix in its topic.
pub const TOPIC_SUFFIX: &str = "/living_room/light";

/// The longest topic, in bytes.
pub const TOPIC_CAPACITY: usize = 256;

/// How long to wait after a failure before dialling again, in milliseconds.
pub const RETRY_MS: u32 = 5_000;

/// The machine that the program runs on, as far as the light is concerned.
pub trait Board {
    /// Shows or logs what happened.
    fn tell(&mut self, news: &News<'_>);

    /// Switches the light.
    fn set_light(&mut self, on: bool);

    /// Whether the program is asked to end; it is asked often.
    fn is_stopped(&mut self) -> bool {
        false
    }
}

/// How the program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum End {
    /// As many messages have come back as were asked for.
    Done,
    /// The board asked for the end.
    Stopped,
    /// The network said that trying again is of no use.
    GaveUp,
}

/// What one light does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings<'a> {
    /// What tells this device's topics from those of all others: a UUID, for instance.
    pub topic_prefix: &'a str,
    /// The quality of service, of what it publishes and of its subscription.
    pub qos: QoS,
    /// Time from one message to the next, in milliseconds.
    pub interval_ms: u32,
    /// End when so many of its own messages have come back.
    pub count: Option<u32>,
}

/// The prefix is so long that the topic has more than [`TOPIC_CAPACITY`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PrefixTooLong {
    /// Length of the prefix, in bytes.
    pub len: usize,
}

impl PrefixTooLong {
    /// The longest prefix, in bytes.
    pub const MAX: usize = TOPIC_CAPACITY - TOPIC_SUFFIX.len();
}

impl core::fmt::Display for PrefixTooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { len } = self;
        write!(
            f,
            "topic prefix too long: {len} bytes, at most {}",
            Self::MAX
        )
    }
}

impl core::error::Error for PrefixTooLong {}
