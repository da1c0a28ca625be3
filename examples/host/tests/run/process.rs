//! Runs the program, and reads its output.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// Maximum time of a step, including retries on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A program whose lines are read while it runs. It is killed at the end of the test.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// Runs `test` with both clients at the same time. Its argument is the option that selects the client.
pub(crate) fn with_both_clients(test: impl Fn(&str) + Sync) {
    thread::scope(|scope| {
        for client in ["", "--async"] {
            let test = &test;
            scope.spawn(move || test(client));
        }
    });
}

/// Starts `host` with these arguments, which are separated by spaces.
pub(crate) fn host(arguments: &str) -> Running {
    start(&mut host_command(arguments))
}

pub(crate) fn host_command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command
        .args(arguments.split_whitespace())
        .env_remove("MQTT_PASSWORD");
    command
}

pub(crate) fn start(command: &mut Command) -> Running {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    read_lines(child.stdout.take().unwrap(), sender.clone());
    read_lines(child.stderr.take().unwrap(), sender);
    Running {
        child,
        lines,
        seen: Vec::new(),
    }
}

fn read_lines(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

impl Running {
    /// Waits for a line that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn line(&mut self, text: &str) -> String {
        let end = Instant::now() + LONG;
        while let Ok(line) = self
            .lines
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("no line with {text:?} in {:#?}", self.seen);
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    /// Kills the program, which sends no DISCONNECT.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end of the program. Returns the exit code and all lines.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let end = Instant::now() + LONG;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the program still runs: {:#?}", self.seen)
                }
            }
        }
        let status = self.child.wait().unwrap();
        (status.code(), std::mem::take(&mut self.seen))
    }

    /// Waits for the end of the program. It must be a success.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Vec<String> {
        let (code, lines) = self.end();
        assert_eq!(code, Some(0), "{lines:#?}");
        lines
    }

    /// Waits for the end of the program. It must be a failure, and a line must contain all these words.
    #[track_caller]
    pub(crate) fn gives_up(self, words: &[&str]) {
        let (code, lines) = self.end();
        // Lines of standard output and standard error are read in any order.
        let has_words = |line: &String| words.iter().all(|word| line.contains(word));
        assert!(
            lines.iter().any(has_words),
            "no line has {words:?} among {lines:#?}"
        );
        assert!(
            !lines.iter().any(|line| line.contains("again in")),
            "{lines:#?}"
        );
        assert_eq!(code, Some(1), "{lines:#?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the number of lines that contain this text.
pub(crate) fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}
