//! aedes, on Node.js.

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration};

use super::{
    Broker, Deviation, OVERLAPPING_AT_ANOTHER_QOS, Process, VERSION_WITHOUT_CONNACK,
    Verdict::Breaks, installed,
};

pub(crate) const NAME: &str = "aedes";
pub(crate) const DEVIATIONS: &[Deviation] = &[
    OVERLAPPING_AT_ANOTHER_QOS,
    Deviation {
        scenario: "session_present",
        verdict: Breaks("[MQTT-3.2.2-2]"),
        does: "it forgets a session without a subscription",
        shows: "Session Present",
    },
    Deviation {
        scenario: "identifier_rejected",
        verdict: Breaks("[MQTT-3.1.3-8]"),
        does: "it accepts the client",
        shows: "the connection was accepted",
    },
    VERSION_WITHOUT_CONNACK,
];

pub(crate) fn start() -> Broker {
    let servers = ["open", "login", "guarded"].map(start_server);
    let [address, login, guarded] = [0, 1, 2].map(|number: usize| servers[number].1);
    Broker {
        name: NAME,
        version: version(),
        address,
        login,
        guarded,
        rest: Duration::ZERO,
        deviations: DEVIATIONS,
        processes: servers.map(|(process, _)| process).into(),
    }
}

/// Starts aedes with this kind of access, and returns its address.
fn start_server(name: &str) -> (Arc<Process>, SocketAddr) {
    Process::start(NAME, |_, address| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/brokers/start/aedes.mjs");
        let mut command = Command::new("node");
        command
            .arg(script)
            .arg(installed("aedes/node_modules/aedes/aedes.js"))
            .args([name, &address.port().to_string()]);
        command
    })
}

fn version() -> String {
    let package = fs::read(installed("aedes/node_modules/aedes/package.json")).unwrap();
    let package: serde_json::Value = serde_json::from_slice(&package).unwrap();
    package["version"].as_str().unwrap().to_owned()
}
