//! A running mosquitto.

use std::{
    fs,
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    certificates::{Authority, Pair},
    process::{LONG, Running, start},
};

/// Returns `true` if mosquitto is installed. If it is not, panics on CI.
pub(crate) fn is_installed() -> bool {
    are_installed(&[])
}

/// Returns `true` if mosquitto and openssl are installed. If not, panics on CI.
pub(crate) fn is_installed_with_openssl() -> bool {
    are_installed(&["openssl"])
}

fn are_installed(more: &[&str]) -> bool {
    let runs = |program: &&str| Command::new(program).arg("--help").output().is_ok();
    let missing = [
        server(),
        "mosquitto_sub",
        "mosquitto_pub",
        "mosquitto_passwd",
    ]
    .into_iter()
    .chain(more.iter().copied())
    .find(|program| !runs(program));
    let Some(program) = missing else { return true };
    let message =
        format!("{program} is missing: apt-get install mosquitto mosquitto-clients openssl");
    assert!(std::env::var_os("CI").is_none(), "{message}");
    skipped(&message);
    false
}

/// Reports a skipped test on standard error directly, because the test runner hides the output of passed tests.
pub(crate) fn skipped(why: &str) {
    let test = thread::current();
    let name = test.name().unwrap_or_default();
    drop(writeln!(io::stderr(), "{name} skipped: {why}"));
}

/// Returns the path of mosquitto. On Debian, it is not on the path of every user.
fn server() -> &'static str {
    let path = "/usr/sbin/mosquitto";
    if Path::new(path).exists() {
        path
    } else {
        "mosquitto"
    }
}

/// A broker, which is killed at the end of the test.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    pub(crate) dir: TempDir,
    child: Child,
}

impl Mosquitto {
    pub(crate) fn open() -> Self {
        Self::with("allow_anonymous true")
    }

    /// Starts a broker that requires this user and password.
    pub(crate) fn with_user(user: &str, password: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("passwords");
        let status = Command::new("mosquitto_passwd")
            .args(["-b", "-c", file.to_str().unwrap(), user, password])
            .status();
        assert!(status.unwrap().success());
        let config = format!("allow_anonymous false\npassword_file {}", file.display());
        Self::run(dir, free_port("127.0.0.1"), &config)
    }

    /// Starts a broker with these lines in its configuration.
    pub(crate) fn with(config: &str) -> Self {
        Self::run(TempDir::new().unwrap(), free_port("127.0.0.1"), config)
    }

    /// Starts a broker that accepts only TLS 1.3, with this certificate and these lines in its configuration.
    pub(crate) fn over_tls(authority: &Authority, pair: &Pair, more: &str) -> Self {
        let (ca, certificate, key) = (authority.ca(), &pair.certificate, &pair.key);
        Self::with(&format!(
            "allow_anonymous true\ntls_version tlsv1.3\ncafile {}\ncertfile {}\nkeyfile {}\n{more}",
            ca.display(),
            certificate.display(),
            key.display()
        ))
    }

    /// Starts a broker on the IPv6 loopback address. Returns `None` if there is no such address.
    pub(crate) fn on_ipv6() -> Option<Self> {
        TcpListener::bind("[::1]:0").ok()?;
        Some(Self::run(
            TempDir::new().unwrap(),
            free_port("[::1]"),
            "allow_anonymous true",
        ))
    }

    fn run(dir: TempDir, address: SocketAddr, config: &str) -> Self {
        let file = dir.path().join("mosquitto.conf");
        let (port, ip) = (address.port(), address.ip());
        fs::write(
            &file,
            format!("user root\nlistener {port} {ip}\n{config}\n"),
        )
        .unwrap();
        let child = launch(&dir, address);
        Self {
            address,
            dir,
            child,
        }
    }

    /// Kills the broker, and starts it again without sessions.
    pub(crate) fn restart(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.child = launch(&self.dir, self.address);
    }

    /// Sends a signal to the broker.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Starts `mosquitto_sub` on this topic.
    pub(crate) fn subscribe(&self, topic: &str) -> Running {
        let port = self.address.port().to_string();
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-v", "-t", topic]);
        start(&mut command)
    }

    /// Publishes a message with `mosquitto_pub`.
    pub(crate) fn publish(&self, topic: &str, message: &str) {
        let port = self.address.port().to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-t", topic, "-m", message]);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn launch(dir: &TempDir, address: SocketAddr) -> Child {
    let mut child = Command::new(server())
        .arg("-c")
        .arg(dir.path().join("mosquitto.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "mosquitto ended");
        assert!(start.elapsed() < LONG, "mosquitto does not accept");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

fn free_port(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind(format!("{ip}:0")).unwrap();
    listener.local_addr().unwrap()
}
