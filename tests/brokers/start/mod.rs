//! The brokers: how each is started, and its known deviations from the specification.

pub(crate) mod aedes;
pub(crate) mod amqtt;
pub(crate) mod mosquitto;
pub(crate) mod rmqtt;
pub(crate) mod rumqttd;

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A running broker with three ports.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// It accepts every client and allows everything.
    pub(crate) address: SocketAddr,
    /// It accepts only the user "user" with the password "password".
    pub(crate) login: SocketAddr,
    /// It accepts every client. Subscriptions are allowed below `open/` and `closed/`, publishing below `open/`.
    pub(crate) guarded: SocketAddr,
    /// Time between two connections of a client. A client that reconnects sooner may be disconnected or refused,
    /// because the broker still handles the end of the old connection, or mistakes it for the end of the new one.
    pub(crate) rest: Duration,
    pub(crate) deviations: &'static [Deviation],
    #[expect(dead_code, reason = "they end with the broker")]
    pub(crate) processes: Vec<Arc<Process>>,
}

/// A scenario that does not pass on a broker.
pub(crate) struct Deviation {
    pub(crate) scenario: &'static str,
    pub(crate) verdict: Verdict,
    /// The behaviour of the broker.
    pub(crate) does: &'static str,
    /// A part of the text of the failure, to distinguish it from others; empty if the scenario is not run.
    pub(crate) shows: &'static str,
}

/// The reason why a scenario does not pass.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// It violates this statement of the specification.
    Breaks(&'static str),
    /// This section of the specification allows it.
    May(&'static str),
    /// The broker cannot be configured for it, so the scenario is not run.
    NotOffered,
}

// Deviations of several brokers.

/// A message for two subscriptions is sent once, not at the highest QoS.
pub(crate) const OVERLAPPING_AT_ANOTHER_QOS: Deviation = Deviation {
    scenario: "overlapping",
    verdict: Verdict::Breaks("[MQTT-3.3.5-1]"),
    does: "it sends the message once, at the QoS of another subscription",
    shows: "the highest QoS of 1",
};

/// An unacceptable protocol version closes the connection without a CONNACK.
pub(crate) const VERSION_WITHOUT_CONNACK: Deviation = Deviation {
    scenario: "unacceptable_version",
    verdict: Verdict::Breaks("[MQTT-3.1.2-2]"),
    does: "it closes the connection without a CONNACK",
    shows: "Closed",
};

/// No test can make the broker answer with return code 3.
pub(crate) const NO_CODE_3: Deviation = Deviation {
    scenario: "server_unavailable",
    verdict: Verdict::NotOffered,
    does: "no configuration makes it answer with code 3",
    shows: "",
};

/// A message is sent at the QoS of the subscription, even if it was published at a lower one.
pub(crate) const QOS_OF_SUBSCRIPTION: Deviation = Deviation {
    scenario: "lower_qos",
    verdict: Verdict::Breaks("[MQTT-3.8.4-6]"),
    does: "it sends at the QoS of the subscription",
    shows: "QoS, published at",
};

/// A repeated subscription does not change the QoS.
pub(crate) const QOS_OF_FIRST_SUBSCRIPTION: Deviation = Deviation {
    scenario: "replaced",
    verdict: Verdict::Breaks("[MQTT-3.8.4-3]"),
    does: "it keeps the QoS of the first subscription",
    shows: "the QoS of the last subscription",
};

impl Broker {
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    pub(crate) fn known(&self, scenario: &str) -> Option<&'static Deviation> {
        self.deviations
            .iter()
            .find(|known| known.scenario == scenario)
    }
}

/// A program with its own folder. When this is dropped, the program is killed and the folder is removed.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
}

impl Process {
    /// Starts it and waits until it accepts connections. `prepare` writes its files to the folder.
    pub(crate) fn start(
        name: &str,
        prepare: impl FnOnce(&Path, SocketAddr) -> Command,
    ) -> (Arc<Self>, SocketAddr) {
        let address = free_address();
        let port = address.port();
        let folder = env::temp_dir().join(format!("umqtt-{name}-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = prepare(&folder, address)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let mut process = Self { child, folder };
        process.await_accept(name, address);
        (Arc::new(process), address)
    }

    fn await_accept(&mut self, name: &str, address: SocketAddr) {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait().unwrap().is_some();
            if ended || start.elapsed() > Duration::from_secs(20) {
                let log = fs::read_to_string(self.folder.join("log"));
                panic!("{name} does not start: {}", log.unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Returns the path of a file that `.ci/brokers --all` installs.
fn installed(path: &str) -> PathBuf {
    let folder = env::var_os("UMQTT_BROKERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/brokers"),
        PathBuf::from,
    );
    let file = folder.join(path);
    assert!(
        file.exists(),
        "{} is missing: .ci/brokers --all installs it",
        file.display()
    );
    file
}

/// Returns the output of a program as one string.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Returns the first word that begins with a digit.
fn version_in(text: &str) -> String {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .unwrap_or("of unknown version")
        .to_owned()
}

/// Returns the version of a package in the lock file of a folder.
fn locked_version(folder: &str, package: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let lock = fs::read_to_string(folder.join("Cargo.lock")).unwrap();
    let name = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = lock.split_once(&name).unwrap();
    rest.split('"').next().unwrap_or_default().to_owned()
}
