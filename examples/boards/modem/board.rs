//! The board: an STM32F429ZI with a modem on USART6, which dials and then speaks PPP.
#![no_std]

pub use chip::{println, random};
use embassy_executor::Spawner;
use embassy_net::{ConfigV4, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use embassy_net_ppp as ppp;
use embassy_stm32::{
    bind_interrupts,
    peripherals::USART6,
    usart::{self, BufferedUart},
};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Read, Write};
use static_cell::StaticCell;

/// The commands to the modem and their answers, from the manual of the modem, with the access point of the SIM card.
const DIAL: [(&str, &str); 3] = [
    ("ATE0\r", "OK\r\n"),
    ("AT+CGDCONT=1,\"IP\",\"internet\"\r", "OK\r\n"),
    ("ATD*99***1#\r", "CONNECT"),
];

/// User name and password for the network of the SIM card. Most networks need none.
const ACCOUNT: ppp::Config<'static> = ppp::Config {
    username: b"",
    password: b"",
};

bind_interrupts!(struct Interrupts {
    USART6 => usart::BufferedInterruptHandler<USART6>;
});

/// Starts clocks and network, which gets its address by PPP.
///
/// # Panics
///
/// Panics if called again.
pub fn start(spawner: Spawner) -> Stack<'static> {
    static BUFFERS: StaticCell<([u8; 512], [u8; 4096])> = StaticCell::new();
    static STATE: StaticCell<ppp::State<4, 4>> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();

    let chip = chip::start();
    chip::start_random(chip.RNG);
    let (tx, rx) = BUFFERS.init(([0; 512], [0; 4096]));
    let uart = BufferedUart::new(
        chip.USART6,
        chip.PG9,
        chip.PG14,
        tx,
        rx,
        Interrupts,
        Default::default(),
    );
    let (interface, line) = ppp::new(STATE.init(ppp::State::new()));
    let seed = u64::from(random()) << 32 | u64::from(random());
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(interface, Default::default(), resources, seed);
    spawner.spawn(run_network(runner).expect("started twice"));
    spawner
        .spawn(run_line(line, uart.expect("speed not supported"), stack).expect("started twice"));
    stack
}

#[embassy_executor::task]
async fn run_network(mut runner: Runner<'static, ppp::Device<'static>>) -> ! {
    runner.run().await
}

/// Dials, and transfers packets until the connection ends. Then it dials again.
#[embassy_executor::task]
async fn run_line(
    mut line: ppp::Runner<'static>,
    mut uart: BufferedUart<'static>,
    stack: Stack<'static>,
) -> ! {
    loop {
        if dial(&mut uart).await.is_some() {
            let Err(end) = line.run(&mut uart, ACCOUNT, |ip| up(stack, ip)).await;
            stack.set_config_v4(ConfigV4::None);
            println!("the line ended: {end:?}");
        }
        Timer::after_secs(5).await;
    }
}

fn up(stack: Stack<'static>, ip: ppp::Ipv4Status) {
    let Some(address) = ip.address else { return };
    let config = StaticConfigV4 {
        address: Ipv4Cidr::new(address, 32),
        gateway: ip.peer_address,
        dns_servers: ip.dns_servers.into_iter().flatten().collect(),
    };
    stack.set_config_v4(ConfigV4::Static(config));
}

/// Sends the commands to the modem. Returns `None` if it does not give an expected answer within 30 s.
async fn dial(uart: &mut BufferedUart<'static>) -> Option<()> {
    for (command, wanted) in DIAL {
        uart.write_all(command.as_bytes()).await.ok()?;
        let answer = with_timeout(Duration::from_secs(30), skip_past(uart, wanted.as_bytes()));
        if answer.await.ok().flatten().is_none() {
            println!("the modem does not answer {command:?} with {wanted:?}");
            return None;
        }
    }
    Some(())
}

/// Reads until `wanted` was read. Its first byte must not occur in it again.
async fn skip_past(uart: &mut BufferedUart<'static>, wanted: &[u8]) -> Option<()> {
    let (mut rest, mut byte) = (wanted, [0]);
    while !rest.is_empty() {
        uart.read_exact(&mut byte).await.ok()?;
        let after = rest.strip_prefix(&byte).or(wanted.strip_prefix(&byte));
        rest = after.unwrap_or(wanted);
    }
    Some(())
}
