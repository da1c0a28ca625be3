//! Mosquitto, which keeps its sessions on disk while it is away.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::Result;

const PATIENCE: Duration = Duration::from_secs(10);

/// A broker, which does not outlive the run.
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Mosquitto {
    pub(crate) fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (ip, port) = (address.ip(), address.port());
        let config = format!(
            "user root\nlistener {port} {ip}\nallow_anonymous true\nset_tcp_nodelay true\n\
             persistence true\npersistence_location {}/\n",
            dir.path().display()
        );
        fs::write(dir.path().join("mosquitto.conf"), config)?;
        let child = launch(dir.path(), address)?;
        Ok(Self {
            address,
            dir,
            child,
        })
    }

    /// Ends it in an orderly way, so that it writes down its sessions.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status()?;
        if !status.success() {
            return Err("mosquitto had ended already".into());
        }
        self.child.wait()?;
        Ok(())
    }

    /// Starts it after it was stopped.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = launch(self.dir.path(), self.address)?;
        Ok(())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn launch(dir: &Path, address: SocketAddr) -> Result<Child> {
    // Debian's place for it is not on every user's path.
    let there = Path::new("/usr/sbin/mosquitto");
    let program = if there.exists() {
        there
    } else {
        Path::new("mosquitto")
    };
    let mut child = Command::new(program)
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("mosquitto does not start: {error}"))?;
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if child.try_wait()?.is_some() || start.elapsed() > PATIENCE {
            drop(child.kill());
            drop(child.wait());
            return Err("mosquitto does not accept connections".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}
