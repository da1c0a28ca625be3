//! Positions in buffers, and copying and moving of bytes without a path to a panic.
//!
//! `copy_from_slice` and `copy_within` of core check their arguments. If the compiler optimizes for size, these checks
//! stay in the program and lead to a panic.

use core::cell::Cell;

/// `true` on a 64-bit host, where time matters more than code size. On a 32-bit chip, flash matters more.
pub(crate) const OPTIMIZE_FOR_SPEED: bool = cfg!(target_pointer_width = "64");

/// A range of positions in a buffer.
#[derive(Clone, Copy, Default)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn at(start: usize, len: usize) -> Self {
        let end = start.wrapping_add(len);
        Self { start, end }
    }

    pub(crate) fn len(self) -> usize {
        self.end.wrapping_sub(self.start)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Returns the bytes of `buffer` at these positions.
    pub(crate) fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start..self.end).unwrap_or_default()
    }
}

/// Copies `from` to `to`, up to the length of the shorter one.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    // Two blocks save a call of memcpy: 11 instructions in a PUBLISH, 42 in a CONNECT on x86-64.
    let is_short = OPTIMIZE_FOR_SPEED && from.len() <= 32 && from.len() == to.len();
    if is_short && (copy_blocks::<16>(to, from) || copy_blocks::<8>(to, from)) {
        return;
    }
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Copies the first and the last `N` bytes, which may overlap. Returns `false` if there are fewer than `N`.
#[inline(always)]
fn copy_blocks<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    let (Some(&first), Some(&last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if let Some(place) = to.first_chunk_mut() {
        *place = first;
    }
    if let Some(place) = to.last_chunk_mut() {
        *place = last;
    }
    true
}

/// Moves the `len` bytes at `from` to `to`. Does nothing if either range exceeds `bytes`.
#[inline(never)] // shared by all buffers
pub(crate) fn move_within(bytes: &mut [u8], from: usize, to: usize, len: usize) {
    if let Some(by) = from.checked_sub(to) {
        let span = bytes.get_mut(to..from.wrapping_add(len));
        move_down(span.unwrap_or_default(), by);
    } else {
        let span = bytes.get_mut(from..to.wrapping_add(len));
        move_up(span.unwrap_or_default(), to.wrapping_sub(from));
    }
}

/// Moves all bytes `by` places down. The first `by` bytes are overwritten; the last `by` bytes stay as they were.
fn move_down(bytes: &mut [u8], by: usize) {
    let to = Cell::from_mut(bytes).as_slice_of_cells();
    let from = to.get(by..).unwrap_or_default();
    for (to, from) in to.iter().zip(from) {
        to.set(from.get());
    }
}

/// Moves all bytes `by` places up. The last `by` bytes are overwritten; the first `by` bytes stay as they were.
fn move_up(bytes: &mut [u8], by: usize) {
    let from = Cell::from_mut(bytes).as_slice_of_cells();
    let to = from.get(by..).unwrap_or_default();
    for (to, from) in to.iter().zip(from).rev() {
        to.set(from.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_stops_at_shorter_slice() {
        let mut to = [0; 3];
        copy(&mut to, b"ab");
        assert_eq!(&to, b"ab\0");
        copy(&mut to, b"cdef");
        assert_eq!(&to, b"cde");
    }

    #[test]
    fn copy_works_for_every_length() {
        let mut number = 0;
        let from = [(); 40].map(|()| {
            number += 1;
            number
        });
        for len in 0..=from.len() {
            let mut to = [0; 41];
            copy(&mut to[..len], &from[..len]);
            assert_eq!(to[..len], from[..len]);
            assert!(to[len..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn moves_allow_overlap() {
        for len in 0..8usize {
            for by in 0..10 {
                let before = *b"abcdefgh";
                let kept = len.saturating_sub(by);

                let mut down = before;
                move_down(&mut down[..len], by);
                assert_eq!(down[..kept], before[len - kept..len]);
                assert_eq!(down[kept..], before[kept..]);

                let mut up = before;
                move_up(&mut up[..len], by);
                assert_eq!(up[len - kept..len], before[..kept]);
                assert_eq!(up[..len - kept], before[..len - kept]);
                assert_eq!(up[len..], before[len..]);
            }
        }
    }
}
