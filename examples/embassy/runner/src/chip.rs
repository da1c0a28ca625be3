//! The emulated microcontroller.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use tempfile::TempDir;

use crate::{Result, wait_for};

type Console = Arc<Mutex<Vec<(Instant, String)>>>;

/// QEMU, which is killed at the end of the run.
pub(crate) struct Chip {
    dir: TempDir,
    child: Child,
    monitor: UnixStream,
    console: Console,
    /// Number of lines of the console that were already waited for.
    seen: usize,
}

impl Chip {
    pub(crate) fn start(image: &Path) -> Result<Self> {
        Self::start_in(TempDir::new()?, image, &[])
    }

    /// Starts it in a directory with its files, and with further options of QEMU.
    pub(crate) fn start_in(dir: TempDir, image: &Path, options: &[&str]) -> Result<Self> {
        let path = dir.path().join("monitor");
        let dump = format!(
            "filter-dump,id=dump,netdev=net,file={}",
            pcap(&dir).display()
        );
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../emulate"))
            .arg(fs::canonicalize(image)?)
            .args(["-object", &dump])
            .args(options)
            .env(
                "MONITOR",
                format!("unix:{},server=on,wait=off", path.display()),
            )
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let console = Console::default();
        let lines = BufReader::new(child.stdout.take().ok_or("no console")?).lines();
        let shared = Arc::clone(&console);
        thread::spawn(move || {
            for line in lines.map_while(io::Result::ok) {
                println!("    {line}");
                lock(&shared).push((Instant::now(), line));
            }
        });
        let monitor = wait_for("QEMU's monitor", || Ok(UnixStream::connect(&path).ok()))?;
        let mut echo = monitor.try_clone()?;
        thread::spawn(move || io::copy(&mut echo, &mut io::sink()));
        Ok(Self {
            dir,
            child,
            monitor,
            console,
            seen: 0,
        })
    }

    /// Sends a command to QEMU, which executes it soon.
    pub(crate) fn order(&mut self, order: &str) -> Result<()> {
        Ok(writeln!(self.monitor, "{order}")?)
    }

    /// Waits for a new line of the console with this text, and returns its time.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> Result<Instant> {
        wait_for(&format!("{text:?} on the console"), || {
            self.is_running()?;
            let console = lock(&self.console);
            let mut new = console.iter().enumerate().skip(self.seen);
            let found = new.find(|(_, (_, line))| line.contains(text));
            Ok(found.map(|(at, (time, _))| {
                self.seen = at.saturating_add(1);
                *time
            }))
        })
    }

    /// Returns the rest of the first line of the console that begins with this text.
    pub(crate) fn line(&self, beginning: &str) -> Option<String> {
        let console = lock(&self.console);
        let mut lines = console.iter();
        lines.find_map(|(_, line)| line.strip_prefix(beginning).map(str::to_owned))
    }

    /// Returns the number of lines of the console with this text.
    pub(crate) fn count_lines(&self, text: &str) -> usize {
        let console = lock(&self.console);
        console
            .iter()
            .filter(|(_, line)| line.contains(text))
            .count()
    }

    pub(crate) fn is_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the program ended: {status}").into()),
        }
    }

    /// Waits for the end of the program.
    pub(crate) fn end(&mut self) -> Result<ExitStatus> {
        wait_for("the end of the program", || Ok(self.child.try_wait()?))
    }

    /// Reads `len` bytes of the chip's memory.
    pub(crate) fn memory(&mut self, from: u64, len: u64) -> Result<Vec<u8>> {
        let path = self.dir.path().join("memory");
        self.order(&format!("pmemsave {from} {len} \"{}\"", path.display()))?;
        wait_for("a copy of the memory", || {
            let is_whole = fs::metadata(&path).is_ok_and(|file| file.len() == len);
            Ok(is_whole.then_some(()))
        })?;
        Ok(fs::read(path)?)
    }

    /// Returns the path of the captured network frames.
    pub(crate) fn pcap(&self) -> PathBuf {
        pcap(&self.dir)
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn pcap(dir: &TempDir) -> PathBuf {
    dir.path().join("frames.pcap")
}

fn lock(
    console: &Mutex<Vec<(Instant, String)>>,
) -> std::sync::MutexGuard<'_, Vec<(Instant, String)>> {
    console.lock().unwrap_or_else(PoisonError::into_inner)
}
