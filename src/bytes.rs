//! Copying and moving bytes without a path to a panic.
//!
//! What core has for this (`copy_from_slice`, `copy_within`) checks its arguments once more, and where the compiler is
//! told to keep the code small, those checks stay in it and lead to a panic.

use core::cell::Cell;

/// True on a 64-bit host, where a way of its own for the usual case is worth the code. On a 32-bit chip flash is dearer than
/// time, and the general way does all.
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

/// Copies as many bytes as `from` has and `to` can take.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    // Two blocks cost less than a call.
    let is_short = OPTIMIZE_FOR_SPEED && from.len() <= 32 && from.len() == to.len();
    if is_short && (copy_blocks::<16>(to, from) || copy_blocks::<8>(to, from)) {
        return;
    }
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Copies a field of one or two blocks, which may overlap; false if either is shorter than a block.
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

/// Moves the `len` bytes at `from` to `to`; does nothing where they do not lie, or fit, in there.
#[inline(never)] // every buffer shares one copy of it
pub(crate) fn move_within(bytes: &mut [u8], from: usize, to: usize, len: usize) {
    if let Some(by) = from.checked_sub(to) {
        let span = bytes.get_mut(to..from.wrapping_add(len));
        move_down(span.unwrap_or_default(), by);
    } else {
        let span = bytes.get_mut(from..to.wrapping_add(len));
        move_up(span.unwrap_or_default(), to.wrapping_sub(from));
    }
}

/// Moves all bytes down by so many places; as many at the front are lost, and the end keeps what it had.
fn move_down(bytes: &mut [u8], by: usize) {
    let to = Cell::from_mut(bytes).as_slice_of_cells();
    let from = to.get(by..).unwrap_or_default();
    for (to, from) in to.iter().zip(from) {
        to.set(from.get());
    }
}

/// Moves all bytes up by so many places; as many at the end are lost, and the front keeps what it had.
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
    fn what_fits_is_copied() {
        let mut to = [0; 3];
        copy(&mut to, b"ab");
        assert_eq!(&to, b"ab\0");
        copy(&mut to, b"cdef");
        assert_eq!(&to, b"cde");
    }

    #[test]
    fn every_length_is_copied() {
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
    fn overlapping_bytes_are_moved() {
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
