//! What the operating system allows and what it measures.

use std::fs;

use crate::{Error, Result, options::Options};

/// Files besides the sockets of sessions: the terminal, the poll, a broker's own.
const OTHERS: usize = 64;

/// Raises the limit of open files so that every session may have its socket.
pub(crate) fn allow_sockets(options: &Options) -> Result<()> {
    let sessions = options.sessions;
    // A broker inside this process has the other end of each.
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

/// The memory of this process, in KiB; `None` where the operating system is not Linux.
pub(crate) fn resident_kib() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
