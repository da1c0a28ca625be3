//! Runs the program as a user would.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod certificates;
mod mosquitto;
mod process;
mod relay;

mod alone;
mod over_tls;
mod over_tls_with_mosquitto;
mod with_mosquitto;
