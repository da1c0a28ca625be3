//! amqtt, on Python.

use std::{fs, net::SocketAddr, process::Command, sync::Arc, time::Duration};

use super::{
    Broker, Deviation, NO_CODE_3, Process, QOS_OF_FIRST_SUBSCRIPTION, QOS_OF_SUBSCRIPTION,
    Verdict::Breaks, installed, output, version_in,
};

pub(crate) const NAME: &str = "amqtt";
pub(crate) const DEVIATIONS: &[Deviation] = &[
    QOS_OF_SUBSCRIPTION,
    Deviation {
        scenario: "will_retained",
        verdict: Breaks("[MQTT-3.3.1-6]"),
        does: "it also sends the retained message to a client before its subscription, so it is received twice",
        shows: "the retained message",
    },
    QOS_OF_FIRST_SUBSCRIPTION,
    Deviation {
        scenario: "resume_inbound",
        verdict: Breaks("[MQTT-3.1.2-5]"),
        does: "it stores no messages for clients that log in without a name",
        shows: "received messages: []",
    },
    Deviation {
        scenario: "clean_session",
        verdict: Breaks("[MQTT-3.1.2-5]"),
        does: "it stores no messages for clients that log in without a name",
        shows: "received messages: []",
    },
    Deviation {
        scenario: "take_over",
        verdict: Breaks("[MQTT-3.1.4-2]"),
        does: "it closes the connection of the second client",
        shows: "Closed",
    },
    Deviation {
        scenario: "take_over_will",
        verdict: Breaks("[MQTT-3.1.4-2]"),
        does: "the connection of the first client stays open",
        shows: "the connection does not end",
    },
    NO_CODE_3,
    Deviation {
        scenario: "keep_alive_expires",
        verdict: Breaks("[MQTT-3.1.2-24]"),
        does: "it leaves the connection open",
        shows: "the broker did not close a silent connection",
    },
];

const ANYBODY: &str =
    "  amqtt.plugins.authentication.AnonymousAuthPlugin: { allow_anonymous: true }\n";
const LOGIN: &str = "  amqtt.plugins.authentication.FileAuthPlugin: { password_file: passwords }\n";
const GUARD: &str = "  amqtt.plugins.topic_checking.TopicAccessControlListPlugin:\n    \
    publish_acl: { anonymous: ['open/#'] }\n    \
    acl: { anonymous: ['open/#', 'closed/#'] }\n";

/// The brokers for logins and for access rules, which are shared. Each [`Broker`] also has an open broker of its own.
pub(crate) struct SharedBrokers {
    version: String,
    login: (Arc<Process>, SocketAddr),
    guarded: (Arc<Process>, SocketAddr),
}

impl SharedBrokers {
    pub(crate) fn start() -> Self {
        let program = installed("amqtt/bin/amqtt");
        Self {
            version: version_in(&output(Command::new(program).arg("--version"))),
            login: start_server(LOGIN),
            guarded: start_server(&format!("{ANYBODY}{GUARD}")),
        }
    }

    /// Starts a new broker that accepts every client.
    pub(crate) fn broker(&self) -> Broker {
        let (process, address) = start_server(ANYBODY);
        Broker {
            name: NAME,
            version: self.version.clone(),
            address,
            login: self.login.1,
            guarded: self.guarded.1,
            rest: Duration::ZERO,
            deviations: DEVIATIONS,
            processes: vec![process, self.login.0.clone(), self.guarded.0.clone()],
        }
    }
}

/// Starts a broker with these plugins.
fn start_server(plugins: &str) -> (Arc<Process>, SocketAddr) {
    Process::start(NAME, |folder, address| {
        fs::write(folder.join("passwords"), format!("user:{}\n", hash())).unwrap();
        let file = folder.join("broker.yaml");
        let config = format!(
            "listeners:\n  default: {{ type: tcp, bind: '{address}' }}\nplugins:\n{plugins}"
        );
        fs::write(&file, config).unwrap();
        let mut command = Command::new(installed("amqtt/bin/amqtt"));
        command.arg("-c").arg(file);
        command
    })
}

/// Hash of the password "password".
fn hash() -> String {
    let program =
        "from pwdlib.hashers.argon2 import Argon2Hasher as H; print(H().hash('password'))";
    let mut python = Command::new(installed("amqtt/bin/python"));
    output(python.args(["-c", program])).trim().to_owned()
}
