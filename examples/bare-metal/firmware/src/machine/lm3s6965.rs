//! The LM3S6965 evaluation board, a Cortex-M3: a PL011 UART, and a clock counted by SysTick.
#![allow(unsafe_code)] // the UART's registers

use core::{
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use cortex_m::{Peripherals, peripheral::syst::SystClkSource};
pub use cortex_m_rt::entry;
use cortex_m_rt::exception;
use umqtt::{Clock, Instant};

use crate::Registers;

/// What the machine is called here.
pub const NAME: &str = "thumbv7m";

/// The clock that the board has after a reset: 12.5 MHz.
const CYCLES_PER_MS: u32 = 12_500;
/// From one interrupt to the next. An emulator on a busy computer is late, and loses those that come close together.
const TICK_MS: u32 = 10;
const RELOAD: u32 = CYCLES_PER_MS * TICK_MS - 1;

/// Received and transmitted bytes.
const DR: *mut u32 = ptr::without_provenance_mut(0x4000_C000);
/// Flags.
const FR: *mut u32 = ptr::without_provenance_mut(0x4000_C018);
const FR_BUSY: u32 = 0x08;
const FR_RX_EMPTY: u32 = 0x10;
const FR_TX_FULL: u32 = 0x20;
/// Line control.
const LCRH: *mut u32 = ptr::without_provenance_mut(0x4000_C02C);
const LCRH_8_BITS: u32 = 0x60;
const LCRH_FIFO: u32 = 0x10;
/// Control.
const CR: *mut u32 = ptr::without_provenance_mut(0x4000_C030);
const CR_ENABLE: u32 = 0x301;

static MILLIS: AtomicU32 = AtomicU32::new(0);

/// The UART and the timer, ready for use; `None` if they have been given out.
pub fn start() -> Option<(Uart, Timer)> {
    let mut timer = Peripherals::take()?.SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(RELOAD);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
    // SAFETY: registers of the UART, which nobody uses yet.
    unsafe {
        LCRH.write_volatile(LCRH_8_BITS | LCRH_FIFO);
        CR.write_volatile(CR_ENABLE);
    }
    Some((Uart(()), Timer(())))
}

#[exception]
fn SysTick() {
    MILLIS.fetch_add(TICK_MS, Ordering::Relaxed);
}

/// The machine's timer.
#[derive(Debug)]
pub struct Timer(());

impl Clock for Timer {
    fn now(&self) -> Instant {
        Instant::from_millis(MILLIS.load(Ordering::Relaxed))
    }
}

/// The machine's first UART.
#[derive(Debug)]
pub struct Uart(());

impl Uart {
    fn has_flag(&self, bit: u32) -> bool {
        // SAFETY: a register of the UART; reading it changes nothing.
        unsafe { FR.read_volatile() & bit != 0 }
    }
}

impl Registers for Uart {
    fn receive(&self) -> Option<u8> {
        // SAFETY: a register of the UART.
        let word = self.has_received().then(|| unsafe { DR.read_volatile() })?;
        let [byte, ..] = word.to_le_bytes(); // flags of errors stand above it
        Some(byte)
    }

    fn has_received(&self) -> bool {
        !self.has_flag(FR_RX_EMPTY)
    }

    fn has_room(&self) -> bool {
        !self.has_flag(FR_TX_FULL)
    }

    fn send(&self, byte: u8) {
        // SAFETY: a register of the UART.
        unsafe { DR.write_volatile(byte.into()) };
    }

    fn is_drained(&self) -> bool {
        !self.has_flag(FR_BUSY)
    }
}
