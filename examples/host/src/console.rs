//! What the program prints, and how it ends.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, process, thread, time::Duration};

use tokio::sync::SetOnce;

/// Time for the goodbye: DISCONNECT, and the connection that ends the session.
const GOODBYE: Duration = Duration::from_secs(2);

/// The reason why the program ends.
pub(crate) static END: SetOnce<End> = SetOnce::const_new();
/// The broker has accepted the connection.
static CONNECTED: AtomicBool = AtomicBool::new(false);

/// An end of the program: the last line, and the exit code.
pub(crate) type End = (&'static str, u8);

pub(crate) const DONE: End = ("Done: all messages asked for have come back.", 0);
pub(crate) const STOPPED: End = ("Stopped.", 0);
/// Another attempt would fail for the same reason, which was shown.
pub(crate) const GAVE_UP: End = ("Given up.", 1);

/// Prints the last line, and returns the exit code.
pub(crate) fn finish((line, code): End, is_disconnected: bool) -> u8 {
    let goodbye = if is_disconnected {
        " Disconnected."
    } else {
        ""
    };
    drop(writeln!(io::stdout(), "{line}{goodbye}"));
    code
}

/// Lets Ctrl-C end the program: at once if there is no connection or if it is the second one.
pub(crate) fn listen_for_ctrl_c() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if END.get().is_some() || !CONNECTED.load(Ordering::SeqCst) {
            process::exit(finish(STOPPED, false).into());
        }
        end(STOPPED);
    })
}

/// Begins the end. The program says goodbye if it is connected, but not for longer than [`GOODBYE`].
pub(crate) fn end(end: End) {
    if END.set(end).is_ok() {
        thread::spawn(move || {
            thread::sleep(GOODBYE);
            process::exit(finish(end, false).into());
        });
    }
}

/// Records if the broker has accepted the connection. Returns the value before.
pub(crate) fn set_connected(connected: bool) -> bool {
    CONNECTED.swap(connected, Ordering::SeqCst)
}

/// Prints a line. If nobody reads it, the program ends.
pub(crate) fn say(line: impl fmt::Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        end(STOPPED);
    }
}

/// Prints a line about a problem.
pub(crate) fn complain(line: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}
