//! Mosquitto, which keeps its sessions on disk over a restart.

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

/// A broker, which is killed at the end of the run.
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Mosquitto {
    pub(crate) fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "user root\nlistener {} {}\nallow_anonymous true\nset_tcp_nodelay true\n\
             persistence true\npersistence_location {}/\n",
            address.port(),
            address.ip(),
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

    /// Ends mosquitto by SIGTERM, so that it writes its sessions, and starts it again.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        self.child.wait()?;
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
    // On Debian, mosquitto is not on the path of every user.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let child = Command::new("mosquitto")
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        .env("PATH", path)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("mosquitto does not start: {error}"))?;
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if start.elapsed() > PATIENCE {
            return Err("mosquitto does not accept connections".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}
