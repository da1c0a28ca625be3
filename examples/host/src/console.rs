//! The output of the program, and its end.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, process, thread, time::Duration};

use tokio::sync::SetOnce;

/// Maximum time for DISCONNECT, and for the connection that ends the session.
const DISCONNECT_TIME: Duration = Duration::from_secs(2);

/// The reason why the program ends.
pub(crate) static END: SetOnce<End> = SetOnce::const_new();
/// The broker has accepted the connection.
static CONNECTED: AtomicBool = AtomicBool::new(false);

/// An end of the program: the last line, and the exit code.
pub(crate) type End = (&'static str, u8);

pub(crate) const DONE: End = ("Done: all messages asked for have come back.", 0);
pub(crate) const STOPPED: End = ("Stopped.", 0);
/// The error was shown. Another attempt would fail for the same reason.
pub(crate) const GAVE_UP: End = ("Given up.", 1);

/// Prints the last line, and returns the exit code.
pub(crate) fn finish((line, code): End, is_disconnected: bool) -> u8 {
    let suffix = match is_disconnected {
        true => " Disconnected.",
        false => "",
    };
    drop(writeln!(io::stdout(), "{line}{suffix}"));
    code
}

/// Lets Ctrl-C end the program. Without a connection, or at the second Ctrl-C, it ends at once.
pub(crate) fn listen_for_ctrl_c() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if END.get().is_some() || !CONNECTED.load(Ordering::SeqCst) {
            process::exit(finish(STOPPED, false).into());
        }
        end(STOPPED);
    })
}

/// Begins the end of the program. If it is connected, it disconnects, for at most [`DISCONNECT_TIME`].
pub(crate) fn end(end: End) {
    if END.set(end).is_ok() {
        thread::spawn(move || {
            thread::sleep(DISCONNECT_TIME);
            process::exit(finish(end, false).into());
        });
    }
}

/// Records whether the broker has accepted the connection. Returns the previous value.
pub(crate) fn set_connected(connected: bool) -> bool {
    CONNECTED.swap(connected, Ordering::SeqCst)
}

/// Prints a line. If the output was closed, the program ends.
pub(crate) fn say(line: impl fmt::Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        end(STOPPED);
    }
}

/// Prints a line about a problem.
pub(crate) fn complain(line: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}
