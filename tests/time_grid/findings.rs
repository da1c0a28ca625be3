//! The known differences between the library and the rules: none. A difference is listed here until it is mended.

use crate::world::Difference;

/// A defect with a name, and where the grid shows it.
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    /// It occurs only if the clock goes back: by an hour, or by 30 days, which look like a step back.
    pub(crate) only_backwards: bool,
    pub(crate) cases: &'static [(Difference, &'static [&'static str])],
}

pub(crate) const FINDINGS: &[Finding] = &[];
