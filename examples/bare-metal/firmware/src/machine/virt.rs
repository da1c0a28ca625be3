//! QEMU's `virt` machine, RISC-V: a 16550 UART, and the timer that every hart reads as `time`.
#![allow(unsafe_code)] // the UART's registers

use core::ptr;

use riscv::register::time;
pub use riscv_rt::entry;
use umqtt::{Clock, Instant};

use crate::Registers;

/// What the machine is called here.
pub const NAME: &str = "riscv32imc";

const TICKS_PER_MS: u64 = 10_000;

/// Received and transmitted bytes.
const DATA: *mut u8 = ptr::without_provenance_mut(0x1000_0000);
/// FIFO control.
const FCR: *mut u8 = ptr::without_provenance_mut(0x1000_0002);
const FCR_ENABLE: u8 = 0x01;
/// Line status.
const LSR: *mut u8 = ptr::without_provenance_mut(0x1000_0005);
const LSR_RECEIVED: u8 = 0x01;
const LSR_ROOM: u8 = 0x20;
const LSR_DRAINED: u8 = 0x40;

/// The UART and the timer, ready for use.
pub fn start() -> Option<(Uart, Timer)> {
    // SAFETY: a register of the UART, which nobody uses yet.
    unsafe { FCR.write_volatile(FCR_ENABLE) };
    Some((Uart(()), Timer(())))
}

/// The machine's timer.
#[derive(Debug)]
pub struct Timer(());

impl Clock for Timer {
    fn now(&self) -> Instant {
        let millis = (time::read64() / TICKS_PER_MS) & u64::from(u32::MAX);
        Instant::from_millis(u32::try_from(millis).unwrap_or_default())
    }
}

/// The machine's UART.
#[derive(Debug)]
pub struct Uart(());

impl Uart {
    fn has_status(&self, bit: u8) -> bool {
        // SAFETY: a register of the UART; reading it changes only flags of errors.
        unsafe { LSR.read_volatile() & bit != 0 }
    }
}

impl Registers for Uart {
    fn receive(&self) -> Option<u8> {
        // SAFETY: a register of the UART.
        self.has_received().then(|| unsafe { DATA.read_volatile() })
    }

    fn has_received(&self) -> bool {
        self.has_status(LSR_RECEIVED)
    }

    fn has_room(&self) -> bool {
        self.has_status(LSR_ROOM)
    }

    fn send(&self, byte: u8) {
        // SAFETY: a register of the UART.
        unsafe { DATA.write_volatile(byte) };
    }

    fn is_drained(&self) -> bool {
        self.has_status(LSR_DRAINED)
    }
}
