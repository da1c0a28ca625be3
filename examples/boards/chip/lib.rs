//! Shared code of the boards: clocks and random numbers of an STM32F429ZI, and a console over RTT, which probe-rs
//! prints.
#![no_std]

use core::{cell::RefCell, fmt};

use embassy_stm32::{
    Config, Peri, Peripherals, bind_interrupts,
    peripherals::RNG,
    rcc,
    rng::{InterruptHandler, Rng},
};
use embassy_sync::blocking_mutex::CriticalSectionMutex;
use panic_rtt_target as _;
use rtt_target::{rprintln, rtt_init_print};

bind_interrupts!(struct Interrupts {
    HASH_RNG => InterruptHandler<RNG>;
});

static GENERATOR: CriticalSectionMutex<RefCell<Option<Rng<'static, RNG>>>> =
    CriticalSectionMutex::new(RefCell::new(None));

/// Starts console and clocks.
///
/// # Panics
///
/// Panics if called again.
pub fn start() -> Peripherals {
    rtt_init_print!();
    let mut config = Config::default();
    config.rcc.pll_src = rcc::PllSource::HSI; // 16 MHz
    config.rcc.pll = Some(rcc::Pll {
        prediv: rcc::PllPreDiv::DIV8,
        mul: rcc::PllMul::MUL168,
        divp: Some(rcc::PllPDiv::DIV2), // 168 MHz
        divq: Some(rcc::PllQDiv::DIV7), // 48 MHz for the random numbers
        divr: None,
    });
    config.rcc.sys = rcc::Sysclk::PLL1_P;
    config.rcc.apb1_pre = rcc::APBPrescaler::DIV4;
    config.rcc.apb2_pre = rcc::APBPrescaler::DIV2;
    embassy_stm32::init(config)
}

/// Starts the generator of random numbers.
pub fn start_random(generator: Peri<'static, RNG>) {
    let generator = Rng::new(generator, Interrupts);
    GENERATOR.lock(|slot| slot.replace(Some(generator)));
}

/// Returns a number from the generator of the chip; 0 before it was started.
pub fn random() -> u32 {
    GENERATOR.lock(|slot| slot.borrow_mut().as_mut().map_or(0, Rng::next_u32))
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::print(format_args!($($arg)*)) };
}

#[doc(hidden)]
pub fn print(line: fmt::Arguments<'_>) {
    rprintln!("{}", line);
}
