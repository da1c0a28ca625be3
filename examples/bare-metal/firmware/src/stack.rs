//! How much of the stack has been used: it is painted before the program runs, and afterwards the paint that is left
//! is counted.
#![allow(unsafe_code)] // the stack below the one in use belongs to nobody

use core::ptr;

const PAINT: u32 = 0xACE5_C0DE;

/// What painting itself may need, in bytes.
const RESERVE: usize = 256;

unsafe extern "C" {
    /// The end of what is `static`, down to which the stack may grow. Both runtimes name it so.
    static __sheap: u32;
    /// The other end, where the stack begins.
    static _stack_start: u32;
}

/// The stack, painted.
#[derive(Debug)]
pub(crate) struct Stack {
    lowest: *mut u32,
    words: usize,
}

impl Stack {
    /// Paints what lies below the stack in use.
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
            // SAFETY: between the statics and the frames in use lies nothing.
            unsafe { ptr::write_volatile(lowest.add(word), PAINT) };
        }
        Self { lowest, words }
    }

    /// Size of the stack, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.words.saturating_mul(4)
    }

    /// The most that has been in use, in bytes.
    pub(crate) fn worst(&self) -> usize {
        let painted = (0..self.words)
            // SAFETY: within the stack.
            .take_while(|&word| unsafe { ptr::read_volatile(self.lowest.add(word)) } == PAINT)
            .count();
        self.words.saturating_sub(painted).saturating_mul(4)
    }
}
