//! rmqtt, the broker of the program rmqttd, which `tests/brokers/rmqtt` builds in a tenth of the time.

use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};

use super::{Broker, Otherwise, Process, installed, locked_version};

pub(crate) const NAME: &str = "rmqtt";
pub(crate) const OTHERWISE: &[Otherwise] = &[];

pub(crate) fn start() -> Broker {
    let doors = ["open", "login", "guarded"].map(door);
    let [address, login, guarded] = [0, 1, 2].map(|door: usize| doors[door].1);
    Broker {
        name: NAME,
        version: locked_version("tests/brokers/rmqtt", NAME),
        address,
        login,
        guarded,
        rest: Duration::ZERO,
        otherwise: OTHERWISE,
        processes: doors.map(|(process, _)| process).into(),
    }
}

fn door(name: &str) -> (Arc<Process>, SocketAddr) {
    Process::start(NAME, |_, address| {
        let mut command = Command::new(installed("rmqtt/debug/rmqtt-broker"));
        command.args([name, &address.port().to_string()]);
        command
    })
}
