//! What the programs here share: a serial line as transport, a clock, a console, and the measured end of a run.
//!
//! [`machine`] is all that differs between the chips. The console and the exit code leave through the debugger
//! (semihosting), since the serial line belongs to MQTT.
#![no_std]

#[cfg_attr(target_arch = "arm", path = "machine/lm3s6965.rs")]
#[cfg_attr(target_arch = "riscv32", path = "machine/virt.rs")]
pub mod machine;
mod serial;
mod stack;

use core::panic::PanicInfo;

use semihosting::{eprintln, println, process};

pub use self::serial::{Registers, Serial};
use self::{
    machine::{Timer, Uart},
    stack::Stack,
};

/// How a program ended: the exit code of the emulator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum End {
    /// All was as it should be.
    Success = 0,
    /// Something was missing, or failed for good.
    Failure = 1,
}

/// What a panic ends the run with.
const PANICKED: i32 = 101;

/// Runs a program on the machine's serial line and timer, and tells how much stack that took.
pub fn run(program: impl FnOnce(&Serial<Uart>, &Timer) -> End) -> ! {
    let stack = Stack::paint();
    let end = match machine::start() {
        Some((uart, timer)) => program(&Serial::new(uart), &timer),
        None => End::Failure,
    };
    let (worst, size) = (stack.worst(), stack.size());
    println!("worst stack: {worst} of {size} bytes");
    process::exit(end as i32)
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    process::exit(PANICKED)
}
