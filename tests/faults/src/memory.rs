//! The state that a session keeps, and the memory of this process.

use std::fs;

use umqtt::{Instant, Session, Storage, codec::Connect};

/// Larger than any image.
const IMAGE: usize = 8_192;

/// Returns `true` if a session has nothing in flight in either direction. Its image then has the length of that of a
/// session without messages.
pub fn remembers_nothing(session: &Session<'_>, client_id: &str) -> bool {
    let mut memory = Storage::<16, 128, 1>::new();
    let mut fresh = Session::new(&mut memory);
    let options = Connect {
        clean_session: false,
        ..Connect::new(client_id)
    };
    fresh.connect(&options, Instant::default()).unwrap();
    image_len(session) == image_len(&fresh)
}

fn image_len(session: &Session<'_>) -> usize {
    session.save(&mut [0; IMAGE]).unwrap().len
}

/// Returns the maximum memory of this process until now, in KiB; `None` if the operating system is not Linux.
pub fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
