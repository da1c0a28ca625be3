//! The board: QEMU's RISC-V machine `virt` with a virtio network interface. On hardware, the crates of the chip's maker do
//! what is in here.
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

/// Starts timer and network, which gets its address by DHCP.
///
/// # Panics
///
/// Panics without a network interface, or if called again.
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

/// A number that differs from call to call and from boot to boot: the clock's, stirred. A chip has a generator in hardware.
pub fn random() -> u32 {
    let mut x = register::time::read64().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    (x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
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
