//! The board: the RISC-V machine `virt` of QEMU with a virtio network interface. On hardware, the HAL of the chip
//! replaces this module.
#![no_std]

pub mod flash;
mod net;
pub mod storage;
mod time;

use core::panic::PanicInfo;

use embassy_executor::Spawner;
use embassy_net::{Config, Runner, Stack, StackResources};
use riscv::{interrupt::Interrupt, register};
pub use semihosting::println;
use semihosting::process;
use static_cell::StaticCell;

/// Starts timer and network. The network receives its address by DHCP.
///
/// # Panics
///
/// Panics without a network interface, or on a second call.
#[expect(clippy::expect_used, reason = "without a network, nothing works")]
pub fn start(spawner: Spawner) -> Stack<'static> {
    static BUFFERS: StaticCell<net::Buffers> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();

    let interface = net::Interface::start(BUFFERS.init(net::EMPTY)).expect("no network interface");
    enable_interrupts();
    let seed = u64::from(random()) << 32 | u64::from(random());
    let (stack, runner) = embassy_net::new(
        interface,
        Config::dhcpv4(Default::default()),
        RESOURCES.init(StackResources::new()),
        seed,
    );
    spawner.spawn(run_network(runner).expect("started twice"));
    stack
}

#[embassy_executor::task]
async fn run_network(mut runner: Runner<'static, net::Interface>) -> ! {
    runner.run().await
}

#[expect(unsafe_code, reason = "interrupts")]
fn enable_interrupts() {
    // SAFETY: no critical section is open.
    unsafe {
        riscv::interrupt::enable_interrupt(Interrupt::MachineTimer);
        riscv::interrupt::enable_interrupt(Interrupt::MachineExternal);
        riscv::interrupt::enable();
    }
}

/// Returns a number that differs between calls and boots: a hash of the clock. A real chip has a hardware generator.
pub fn random() -> u32 {
    let mut x = register::time::read64().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    (x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

/// Returns the number of executed instructions. The emulator counts them only with `-icount shift=0`, and while the
/// chip does not sleep.
pub fn instructions() -> u64 {
    register::minstret::read64()
}

/// Ends the emulator, with this exit code.
pub fn exit(code: i32) -> ! {
    process::exit(code)
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    process::exit(101)
}
