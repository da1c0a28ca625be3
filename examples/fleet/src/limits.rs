//! Limits and measurements of the operating system.

use std::fs;

use crate::{Error, Result, options::Options};

/// Number of files other than sockets of sessions: terminal, poll, and those of a broker.
const OTHERS: usize = 64;

/// Raises the limit of open files, so that every session can have a socket.
pub(crate) fn allow_sockets(options: &Options) -> Result<()> {
    let sessions = options.sessions;
    // A broker in this process has the other side of each connection.
    let ends = if options.broker.is_none() { 2 } else { 1 };
    let needed = sessions.saturating_mul(ends).saturating_add(OTHERS);
    let wanted = u64::try_from(needed)?;
    let allowed = rlimit::increase_nofile_limit(wanted)?;
    if allowed < wanted {
        return Err(Error::from(format!(
            "{sessions} sessions need {wanted} open files, and this process may have {allowed}: \
             raise the limit as root (`ulimit -Hn {wanted}`), or take fewer --sessions"
        )));
    }
    Ok(())
}

/// Returns the memory of this process in KiB; `None` if the operating system is not Linux.
pub(crate) fn resident_kib() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
