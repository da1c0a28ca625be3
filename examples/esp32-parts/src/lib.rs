//! The parts of the ESP32 example that need no chip, so that they can be tested: names, sentences, the memory that
//! survives a sleep, and the choice of the image.
#![no_std]

mod dial_error;
mod hint;
mod identity;
pub mod kept;
mod ota_data;
mod report;

pub use self::{
    dial_error::DialError,
    hint::hint,
    identity::{Identity, PrefixTooLong},
    ota_data::OtaData,
    report::deliver,
};
