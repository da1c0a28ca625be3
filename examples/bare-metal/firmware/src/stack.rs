//! The used size of the stack. The stack is filled with a pattern before the program runs. Afterwards, the words that
//! still have it are counted.
#![allow(unsafe_code)] // the unused part of the stack belongs to no object

use core::ptr;

const PAINT: u32 = 0xACE5_C0DE;

/// Maximum number of stack bytes in use by the function that fills the stack.
const RESERVE: usize = 256;

unsafe extern "C" {
    /// The end of the static variables, down to which the stack may grow. Both runtimes use this name.
    static __sheap: u32;
    /// The address at which the stack begins. It grows down from there.
    static _stack_start: u32;
}

/// The stack, filled with the pattern.
#[derive(Debug)]
pub(crate) struct Stack {
    lowest: *mut u32,
    words: usize,
}

impl Stack {
    /// Fills the unused part of the stack with the pattern.
    #[inline(never)]
    pub(crate) fn paint() -> Self {
        let lowest = (&raw const __sheap).cast_mut();
        let words = ((&raw const _stack_start).addr()).saturating_sub(lowest.addr()) / 4;
        let here = 0u32;
        let unused = (&raw const here)
            .addr()
            .saturating_sub(RESERVE)
            .saturating_sub(lowest.addr());
        for word in 0..unused / 4 {
            // SAFETY: there is no object between the static variables and the frames in use.
            unsafe { ptr::write_volatile(lowest.add(word), PAINT) };
        }
        Self { lowest, words }
    }

    /// Returns the size of the stack, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.words.saturating_mul(4)
    }

    /// Returns the maximum that was in use, in bytes.
    pub(crate) fn worst(&self) -> usize {
        let painted = (0..self.words)
            // SAFETY: within the stack.
            .take_while(|&word| unsafe { ptr::read_volatile(self.lowest.add(word)) } == PAINT)
            .count();
        self.words.saturating_sub(painted).saturating_mul(4)
    }
}
