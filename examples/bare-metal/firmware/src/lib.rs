//! The common code of the programs here: a serial line as transport, a clock, a console, and the measured stack.
//!
//! [`machine`] is the code of each chip. The serial line carries MQTT, so the console and the exit code use the
//! debugger (semihosting).
#![no_std]

#[cfg_attr(target_arch = "arm", path = "machine/lm3s6965.rs")]
#[cfg_attr(target_arch = "riscv32", path = "machine/virt.rs")]
pub mod machine;
mod serial;
mod stack;

use core::panic::PanicInfo;

use semihosting::{eprintln, println, process};

pub use self::serial::Serial;

/// Runs a program with the machine's timer, and prints the stack that it used. The emulator's exit code is 0 if the
/// program has succeeded, 1 if not, and 101 after a panic.
pub fn run(program: impl FnOnce(machine::Timer) -> bool) -> ! {
    let stack = stack::Stack::paint();
    let succeeded = machine::Timer::start().is_some_and(program);
    println!("worst stack: {} of {} bytes", stack.worst(), stack.size());
    process::exit(if succeeded { 0 } else { 1 })
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    process::exit(101)
}
