//! An emulated machine.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// Maximum time until the program ends after it was sent its last message.
const PATIENCE: Duration = Duration::from_secs(90);

/// QEMU, which is killed at the end of the run.
pub(crate) struct Emulator(Child);

impl Emulator {
    /// Starts an image with its serial line connected to `server`, which must listen.
    pub(crate) fn start(image: &Path, server: SocketAddr) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware/emulate");
        let mut command = Command::new(script);
        command.arg(image).env("SERIAL", server.to_string());
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    /// Returns the exit status, or `None` if the program still runs.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Waits for the end of the program. It must be a success.
    pub(crate) fn succeeds(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the program ended with {status}").into()),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
        Err("the program does not end".into())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
