//! The brokers: how each is started, and what each is known to do otherwise than the specification says.

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

/// A broker that runs, behind three doors.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// It lets everybody in and allows everything.
    pub(crate) address: SocketAddr,
    /// It lets in only the user "user" with the password "password".
    pub(crate) login: SocketAddr,
    /// It lets everybody in. Subscriptions are allowed below `open/` and `closed/`, publishing below `open/`.
    pub(crate) guarded: SocketAddr,
    /// A client that comes back sooner may be cut or sent away: the broker is still busy with the end of its old
    /// connection, or takes it for that of the new.
    pub(crate) rest: Duration,
    pub(crate) otherwise: &'static [Otherwise],
    #[expect(dead_code, reason = "they end with the broker")]
    pub(crate) processes: Vec<Arc<Process>>,
}

/// A scenario that does not pass on a broker.
pub(crate) struct Otherwise {
    pub(crate) scenario: &'static str,
    pub(crate) verdict: Verdict,
    /// What the broker does.
    pub(crate) does: &'static str,
    /// A part of what the failure says, so that no other passes for it; empty if the scenario is not played.
    pub(crate) shows: &'static str,
}

/// What to think of it.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// It breaks this statement of the specification.
    Breaks(&'static str),
    /// The specification, in this section, leaves it free to.
    May(&'static str),
    /// The broker cannot be brought to it, so the scenario is not played.
    NotOffered,
}

impl Broker {
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    pub(crate) fn known(&self, scenario: &str) -> Option<&'static Otherwise> {
        self.otherwise
            .iter()
            .find(|known| known.scenario == scenario)
    }
}

/// A program with a folder of its own; both go when this is dropped.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
}

impl Process {
    /// Starts it and waits until it accepts connections. `prepare` writes what it needs into the folder.
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

/// A file that `.ci/brokers --all` installs.
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

/// What the program prints, as one string.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The first word that begins with a digit.
fn version_in(text: &str) -> String {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .unwrap_or("of unknown version")
        .to_owned()
}

/// The version of a package in the lock file of a folder.
fn locked_version(folder: &str, package: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let lock = fs::read_to_string(folder.join("Cargo.lock")).unwrap();
    let name = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = lock.split_once(&name).unwrap();
    rest.split('"').next().unwrap_or_default().to_owned()
}
