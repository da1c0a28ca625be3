//! The board: an STM32 Nucleo-F429ZI with its Ethernet socket.
#![no_std]

pub use chip::{println, random};
use embassy_executor::Spawner;
use embassy_net::{Runner, Stack, StackResources};
use embassy_stm32::{
    bind_interrupts,
    eth::{self, Ethernet, GenericPhy, PacketQueue, Sma},
    peripherals::{ETH, ETH_SMA},
    uid::uid,
};
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    ETH => eth::InterruptHandler;
});

type Interface = Ethernet<'static, ETH, GenericPhy<Sma<'static, ETH_SMA>>>;

/// Starts clocks and network, which gets its address by DHCP.
///
/// # Panics
///
/// Panics if called again.
pub fn start(spawner: Spawner) -> Stack<'static> {
    static QUEUE: StaticCell<PacketQueue<4, 4>> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();

    let chip = chip::start();
    chip::start_random(chip.RNG);
    let interface = Ethernet::new(
        QUEUE.init(PacketQueue::new()),
        chip.ETH,
        Interrupts,
        chip.PA1,  // reference clock
        chip.PA7,  // carrier sense
        chip.PC4,  // receive
        chip.PC5,  // receive
        chip.PG13, // transmit
        chip.PB13, // transmit
        chip.PG11, // transmit enable
        mac_address(),
        chip.ETH_SMA,
        chip.PA2, // management data
        chip.PC1, // management clock
    );
    let seed = u64::from(random()) << 32 | u64::from(random());
    let (stack, runner) = embassy_net::new(
        interface,
        embassy_net::Config::dhcpv4(Default::default()),
        RESOURCES.init(StackResources::new()),
        seed,
    );
    spawner.spawn(run_network(runner).expect("started twice"));
    stack
}

#[embassy_executor::task]
async fn run_network(mut runner: Runner<'static, Interface>) -> ! {
    runner.run().await
}

/// Returns a locally administered address, made of the unique id of the chip.
fn mac_address() -> [u8; 6] {
    let [a, b, c, d, e, .., f] = uid();
    [2, a ^ f, b, c, d, e]
}
