//! QEMU's `virt` machine, RISC-V: a 16550 UART, and the timer that every hart reads as `time`.

use riscv::register::time;
pub use riscv_rt::entry;
use umqtt::{Clock, Instant};

/// The client id on this machine.
pub const NAME: &str = "riscv32imc";
/// The topic of the light on this machine.
pub const TOPIC: &str = "riscv32imc/living_room/light";

const TICKS_PER_MS: u64 = 10_000;

/// The machine's timer.
#[derive(Debug)]
pub struct Timer;

impl Timer {
    /// Starts the timer and the UART.
    pub(crate) fn start() -> Option<Self> {
        uart::start();
        Some(Self)
    }
}

impl Clock for Timer {
    fn now(&self) -> Instant {
        let millis = (time::read64() / TICKS_PER_MS) & u64::from(u32::MAX);
        Instant::from_millis(u32::try_from(millis).unwrap_or_default())
    }
}

#[allow(unsafe_code, reason = "these are the registers of the UART")]
pub(crate) mod uart {
    use core::ptr::without_provenance_mut;

    /// Registers: data, FIFO control and line status.
    const DATA: *mut u8 = without_provenance_mut(0x1000_0000);
    const FCR: *mut u8 = without_provenance_mut(0x1000_0002);
    const LSR: *mut u8 = without_provenance_mut(0x1000_0005);

    pub(super) fn start() {
        unsafe { FCR.write_volatile(0x01) } // enables the FIFO
    }

    pub(crate) fn has_received() -> bool {
        unsafe { LSR.read_volatile() & 0x01 != 0 }
    }

    pub(crate) fn receive() -> u8 {
        unsafe { DATA.read_volatile() }
    }

    pub(crate) fn has_room() -> bool {
        unsafe { LSR.read_volatile() & 0x20 != 0 }
    }

    pub(crate) fn send(byte: u8) {
        unsafe { DATA.write_volatile(byte) }
    }

    pub(crate) fn is_drained() -> bool {
        unsafe { LSR.read_volatile() & 0x40 != 0 }
    }
}
