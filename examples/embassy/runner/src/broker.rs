//! Mosquitto, on port 1883 of the namespace.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Result, wait_for};

pub(crate) const ADDRESS: &str = "127.0.0.1:1883";

/// A broker, which is killed at the end of the run. It stores sessions and messages only in memory.
pub(crate) struct Broker {
    dir: TempDir,
    child: Child,
}

impl Broker {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(TempDir::new()?, "")
    }

    /// Starts it with further settings. The files that they name are in this directory.
    pub(crate) fn start_with(dir: TempDir, settings: &str) -> Result<Self> {
        let own =
            "user root\nlistener 1883 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n";
        fs::write(
            dir.path().join("mosquitto.conf"),
            format!("{own}{settings}"),
        )?;
        let child = launch(dir.path())?;
        Ok(Self { dir, child })
    }

    /// Kills it without a DISCONNECT. It loses its sessions.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after it was killed.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = launch(self.dir.path())?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn launch(dir: &Path) -> Result<Child> {
    // Debian installs it in a folder that is not in every user's PATH.
    let there = Path::new("/usr/sbin/mosquitto");
    let program = if there.exists() {
        there
    } else {
        Path::new("mosquitto")
    };
    let mut child = Command::new(program)
        .arg("-c")
        .arg("mosquitto.conf")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("mosquitto does not start: {error}"))?;
    wait_for("mosquitto", || match child.try_wait()? {
        Some(status) => Err(format!("mosquitto ended: {status}").into()),
        None => Ok(TcpStream::connect(ADDRESS).ok()),
    })?;
    Ok(child)
}
