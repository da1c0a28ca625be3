//! Both clients play the same scenarios against real brokers, and `tests/BROKERS.md` tells what came of it. Both devices
//! show what they do by themselves.
//!
//! mosquitto has to be installed (`apt-get install mosquitto`); where it is not, its test says so and passes, except in
//! CI. The brokers of the tests that are ignored are installed by `.ci/brokers --all`, which runs them all.
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
    // First: the last scenario may end the broker.
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
    let doors = start::amqtt::Doors::start();
    run_apart(|| doors.broker());
}
