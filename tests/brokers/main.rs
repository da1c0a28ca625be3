//! Both clients run the same scenarios against real brokers. `tests/BROKERS.md` has the results. Both devices show
//! their automatic actions.
//!
//! mosquitto must be installed (`apt-get install mosquitto`). Without it, its test prints that and passes, except in
//! CI. `.ci/brokers --all` installs the brokers of the ignored tests, and runs all tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "helpers of a test"
)]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod devices;
mod run;
mod scenarios;
mod stage;
mod start;
mod swap;
mod table;

use run::{run, run_apart};

#[test]
fn mosquitto() {
    if let Some(broker) = start::mosquitto::start() {
        devices::play(&broker);
        run(&broker);
    }
}

#[test]
fn rumqttd() {
    let broker = start::rumqttd::start();
    // This is first, because the last scenario may end the broker.
    devices::play(&broker);
    run(&broker);
}

#[test]
#[ignore = "installed and run by .ci/brokers --all"]
fn rmqtt() {
    run(&start::rmqtt::start());
}

#[test]
#[ignore = "installed and run by .ci/brokers --all"]
fn aedes() {
    run(&start::aedes::start());
}

#[test]
#[ignore = "installed and run by .ci/brokers --all"]
fn amqtt() {
    let shared = start::amqtt::SharedBrokers::start();
    run_apart(|| shared.broker());
}
