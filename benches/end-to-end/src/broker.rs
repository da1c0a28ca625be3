//! mosquitto, as a child process.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Debian installs it in a folder that is not in every user's PATH.
const PROGRAMS: [&str; 2] = ["mosquitto", "/usr/sbin/mosquitto"];

/// Broker and client run on one CPU each. Otherwise, the choices of the scheduler have more effect than the programs.
const BROKER_CPU: &str = "0";
pub(crate) const CLIENT_CPU: &str = "1";

pub(crate) struct Broker {
    pub(crate) port: u16,
    process: Child,
    _folder: TempDir,
}

impl Broker {
    /// Starts a broker that stores any number of messages for disconnected clients, and sends at most `inflight` at
    /// once.
    pub(crate) fn start(inflight: usize) -> Result<Self> {
        let folder = TempDir::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.path().join("mosquitto.conf");
        fs::write(
            &config,
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\n\
                 set_tcp_nodelay true\nmax_queued_messages 0\nqueue_qos0_messages true\n\
                 max_inflight_messages {inflight}\n"
            ),
        )?;
        let process = on_cpu(BROKER_CPU)
            .arg(program()?)
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Self {
            port,
            process,
            _folder: folder,
        };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(broker);
            }
            sleep(Duration::from_millis(50));
        }
        bail!("mosquitto does not listen at port {port}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns a command that runs on this CPU only. The caller adds a program and its arguments.
pub(crate) fn on_cpu(cpu: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cpu]);
    command
}

pub(crate) fn version() -> Result<String> {
    let help = Command::new(program()?).arg("-h").output()?.stdout;
    Ok(String::from_utf8_lossy(&help)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned())
}

fn program() -> Result<&'static str> {
    let found = PROGRAMS.into_iter().find(|program| {
        Command::new(program)
            .arg("-h")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    });
    found.context("mosquitto is not installed (Debian: apt-get install mosquitto)")
}
