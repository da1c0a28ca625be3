//! umqtt's async client and device over Mbed TLS, against mosquitto.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

mod choppy;
mod client;
mod dates;
mod dropped_futures;
mod errors;
mod fixture;
mod mosquitto;
mod pki;
mod relay;
