//! Changes of the session, and which of them were saved.

/// Numbers the changes of the state that client and server share.
///
/// The numbers wrap. More than 65,535 changes that were not saved count as 65,535.
pub(in crate::session) struct Changes {
    /// Number of the last change.
    last: u16,
    /// Number of the last change that was saved.
    saved: u16,
}

impl Changes {
    pub(super) const fn new() -> Self {
        Self { last: 0, saved: 0 }
    }

    /// Counts a change.
    pub(super) const fn add(&mut self) {
        self.last = self.last.wrapping_add(1);
        if self.last == self.saved {
            self.saved = self.saved.wrapping_add(1);
        }
    }

    /// Returns the number of the last change.
    pub(in crate::session) const fn last(&self) -> u16 {
        self.last
    }

    /// Returns `true` if the last change was not saved.
    pub(in crate::session) const fn are_unsaved(&self) -> bool {
        self.last != self.saved
    }

    /// Records that every change was saved.
    pub(in crate::session) const fn mark_saved(&mut self) {
        self.saved = self.last;
    }

    /// Records that the last change was not saved.
    pub(in crate::session) const fn mark_unsaved(&mut self) {
        self.saved = self.last.wrapping_sub(1);
    }

    /// Records that every change up to this one was saved. Does nothing if a later change was saved before.
    pub(in crate::session) const fn mark_saved_up_to(&mut self, change: u16) {
        if self.last.wrapping_sub(change) < self.last.wrapping_sub(self.saved) {
            self.saved = change;
        }
    }
}

/// Hashes only whether a change was not saved, because the behaviour does not depend on the numbers.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Changes {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.are_unsaved().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_without_a_save_stay_unsaved() {
        let mut changes = Changes::new();
        for _ in 0..200_000 {
            changes.add();
            assert!(changes.are_unsaved());
        }
        changes.mark_saved_up_to(changes.last());
        assert!(!changes.are_unsaved());
    }

    #[test]
    fn change_after_save_stays_unsaved() {
        for first in [0, 5, u16::MAX - 1, u16::MAX] {
            let mut changes = Changes {
                last: first,
                saved: first,
            };
            changes.add();
            let saved = changes.last();
            changes.add();
            assert!(changes.are_unsaved());
            changes.mark_saved_up_to(saved);
            assert!(changes.are_unsaved());
            changes.mark_saved_up_to(changes.last());
            assert!(!changes.are_unsaved());
            changes.mark_saved_up_to(saved);
            assert!(!changes.are_unsaved(), "an old save changes nothing");
        }
    }
}
