//! The LM3S6965 evaluation board, a Cortex-M3: a PL011 UART, and a clock counted by SysTick.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::{Peripherals, peripheral::syst::SystClkSource};
pub use cortex_m_rt::entry;
use cortex_m_rt::exception;
use umqtt::{Clock, Instant};

/// The client id on this machine.
pub const NAME: &str = "thumbv7m";
/// The topic of the light on this machine.
pub const TOPIC: &str = "thumbv7m/living_room/light";

/// The clock of the board after a reset: 12.5 MHz.
const CYCLES_PER_MS: u32 = 12_500;
/// Time between two interrupts. An emulator on a busy computer is late, and loses interrupts that follow each other too
/// closely.
const TICK_MS: u32 = 10;

static MILLIS: AtomicU32 = AtomicU32::new(0);

/// The machine's timer.
#[derive(Debug)]
pub struct Timer;

impl Timer {
    /// Starts the timer and the UART; `None` if this was done before.
    pub(crate) fn start() -> Option<Self> {
        let mut timer = Peripherals::take()?.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(CYCLES_PER_MS * TICK_MS - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        uart::start();
        Some(Self)
    }
}

#[exception]
fn SysTick() {
    MILLIS.fetch_add(TICK_MS, Ordering::Relaxed);
}

impl Clock for Timer {
    fn now(&self) -> Instant {
        Instant::from_millis(MILLIS.load(Ordering::Relaxed))
    }
}

#[allow(unsafe_code, reason = "these are the registers of the UART")]
pub(crate) mod uart {
    use core::ptr::without_provenance_mut;

    /// Registers: data, flags, line control and control.
    const DR: *mut u32 = without_provenance_mut(0x4000_C000);
    const FR: *mut u32 = without_provenance_mut(0x4000_C018);
    const LCRH: *mut u32 = without_provenance_mut(0x4000_C02C);
    const CR: *mut u32 = without_provenance_mut(0x4000_C030);

    pub(super) fn start() {
        unsafe {
            LCRH.write_volatile(0x70); // 8 bits, with FIFO
            CR.write_volatile(0x301); // receives and sends
        }
    }

    pub(crate) fn has_received() -> bool {
        unsafe { FR.read_volatile() & 0x10 == 0 }
    }

    pub(crate) fn receive() -> u8 {
        let [byte, ..] = unsafe { DR.read_volatile() }.to_le_bytes(); // error flags are in the upper bytes
        byte
    }

    pub(crate) fn has_room() -> bool {
        unsafe { FR.read_volatile() & 0x20 == 0 }
    }

    pub(crate) fn send(byte: u8) {
        unsafe { DR.write_volatile(byte.into()) }
    }

    pub(crate) fn is_drained() -> bool {
        unsafe { FR.read_volatile() & 0x08 == 0 }
    }
}
