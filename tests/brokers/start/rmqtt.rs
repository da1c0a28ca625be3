//! rmqtt, the broker of the program rmqttd. `tests/brokers/rmqtt` is a smaller program with this broker, and is built
//! in a tenth of the time.

use std::{net::SocketAddr, process::Command, sync::Arc, time::Duration};

use super::{
    Broker, Deviation, Process, VERSION_WITHOUT_CONNACK,
    Verdict::{Breaks, NotOffered},
    installed, locked_version,
};

pub(crate) const NAME: &str = "rmqtt";
pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        scenario: "resume_unread_acks",
        verdict: Breaks("[MQTT-4.3.3-2]"),
        does: "a message at QoS 2 that is sent again on the next connection is delivered again",
        shows: "the queued messages",
    },
    VERSION_WITHOUT_CONNACK,
    Deviation {
        scenario: "server_unavailable",
        verdict: NotOffered,
        does: "it answers with code 3 only if its computer is busy",
        shows: "",
    },
];

pub(crate) fn start() -> Broker {
    let servers = ["open", "login", "guarded"].map(start_server);
    let [address, login, guarded] = [0, 1, 2].map(|number: usize| servers[number].1);
    Broker {
        name: NAME,
        version: locked_version("tests/brokers/rmqtt", NAME),
        address,
        login,
        guarded,
        rest: Duration::from_millis(100),
        deviations: DEVIATIONS,
        processes: servers.map(|(process, _)| process).into(),
    }
}

/// Starts rmqtt with this kind of access, and returns its address.
fn start_server(name: &str) -> (Arc<Process>, SocketAddr) {
    Process::start(NAME, |_, address| {
        let mut command = Command::new(installed("rmqtt/debug/rmqtt-broker"));
        command.args([name, &address.port().to_string()]);
        command
    })
}
