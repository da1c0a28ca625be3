//! aedes, on Node.js.

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration};

use super::{
    Broker, OVERLAPPING_AT_ANOTHER_QOS, Otherwise, Process, VERSION_WITHOUT_CONNACK,
    Verdict::Breaks, installed,
};

pub(crate) const NAME: &str = "aedes";
pub(crate) const OTHERWISE: &[Otherwise] = &[
    OVERLAPPING_AT_ANOTHER_QOS,
    Otherwise {
        scenario: "session_present",
        verdict: Breaks("[MQTT-3.2.2-2]"),
        does: "it forgets a session without a subscription",
        shows: "Session Present",
    },
    Otherwise {
        scenario: "identifier_rejected",
        verdict: Breaks("[MQTT-3.1.3-8]"),
        does: "it accepts the client",
        shows: "the connection was accepted",
    },
    VERSION_WITHOUT_CONNACK,
];

pub(crate) fn start() -> Broker {
    let doors = ["open", "login", "guarded"].map(door);
    let [address, login, guarded] = [0, 1, 2].map(|door: usize| doors[door].1);
    Broker {
        name: NAME,
        version: version(),
        address,
        login,
        guarded,
        rest: Duration::ZERO,
        otherwise: OTHERWISE,
        processes: doors.map(|(process, _)| process).into(),
    }
}

/// Starts aedes with this kind of access, and returns its address.
fn door(name: &str) -> (Arc<Process>, SocketAddr) {
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
