//! The known differences between the library and the rules: none. A difference is listed here until it is mended.

use crate::world::Difference;

/// A defect with a name, and the cases in which the grid shows it.
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    /// It occurs only if the clock seems to go back: it goes back by an hour, or forward by 30 days.
    pub(crate) only_backwards: bool,
    pub(crate) cases: &'static [(Difference, &'static [&'static str])],
}

pub(crate) const FINDINGS: &[Finding] = &[];
