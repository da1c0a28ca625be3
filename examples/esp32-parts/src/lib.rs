//! The parts of the ESP32 example that need no chip, so that they can be tested: names, sentences, and the memory that
//! survives a sleep.
#![no_std]

mod dial_error;
mod hint;
mod identity;
pub mod kept;
mod report;

pub use self::{
    dial_error::DialError,
    hint::hint,
    identity::{Identity, PrefixTooLong},
    report::deliver,
};
