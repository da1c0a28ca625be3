//! The settings of the ESP32 example: the features and environment variables of its build, and their checks.
//!
//! They are a separate crate with tests, because the example itself is built for chips only. No message repeats a
//! value, because some are secret.

mod certificate;
mod features;
mod settings;

pub use self::{
    certificate::certificate,
    features::{Features, check},
    settings::Settings,
};
