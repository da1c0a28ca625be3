//! Where the light tells what happens, and how the user ends it.

use std::{
    cell::Cell,
    fmt,
    io::{self, Write},
    process,
    sync::atomic::{AtomicBool, Ordering},
};

use light::{Board, KeptSession, News, asynch::Stop};
use tokio::sync::Notify;

/// The user asked for the end.
static STOP: AtomicBool = AtomicBool::new(false);
/// Wakes whoever awaits that.
static STOPPED: Notify = Notify::const_new();
/// There is a connection on which to say goodbye.
static CONNECTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C ask for the end. Where there is nobody to say goodbye to, it ends the program at once; a second one
/// always does.
pub(crate) fn listen_for_ctrl_c() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        let again = STOP.swap(true, Ordering::SeqCst);
        if again {
            process::exit(130);
        }
        if !CONNECTED.load(Ordering::SeqCst) {
            drop(writeln!(io::stdout(), "Stopped."));
            process::exit(0);
        }
        STOPPED.notify_one();
    })
}

/// Says whether there is a connection.
pub(crate) fn set_connected(connected: bool) {
    CONNECTED.store(connected, Ordering::SeqCst);
}

/// The terminal.
#[derive(Debug, Default)]
pub(crate) struct Console {
    /// Nobody reads any more.
    closed: Cell<bool>,
}

impl Console {
    /// Prints a line.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        if writeln!(io::stdout(), "{line}").is_err() {
            self.closed.set(true);
        }
    }
}

impl Board for Console {
    fn tell(&mut self, news: &News<'_>) {
        match news {
            News::Connected(KeptSession::Earlier) => {
                self.say(format_args!("{news}; --clean would begin afresh"));
            }
            _ => self.say(news),
        }
    }

    /// What is published and received tells it already.
    fn set_light(&mut self, _on: bool) {}

    fn is_stopped(&mut self) -> bool {
        STOP.load(Ordering::SeqCst) || self.closed.get()
    }
}

impl Stop for Console {
    /// That nobody reads any more needs no waking: the program learns it when it prints.
    async fn stopped(&self) {
        while !STOP.load(Ordering::SeqCst) {
            STOPPED.notified().await;
        }
    }
}

/// Prints a line that tells what went wrong.
pub(crate) fn complain(line: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}
