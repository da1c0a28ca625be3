//! What is remembered: by a session, and how much memory this process has had.

use std::fs;

use umqtt::{Instant, Session, Storage, codec::Connect};

/// More than any image.
const IMAGE: usize = 8_192;

/// Whether a session has nothing in flight, either way: then its image is as long as that of one which never saw a
/// message.
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

/// The most memory that this process ever had, in KiB; `None` where the operating system is not Linux.
pub fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
