//! What the build of the ESP32 example checks, and takes from its environment.
//!
//! It is a crate of its own so that it can be tested: the example itself is built for chips only. No message repeats a
//! value, since some are secret.

mod certificate;
mod features;
mod settings;

pub use self::{
    certificate::certificate,
    features::{Features, check},
    settings::Settings,
};
