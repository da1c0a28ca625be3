//! Feature `deep-sleep`: reports once at QoS 1 and sleeps, with the session in memory that stays powered.

use embassy_time::{Timer, with_timeout};
use esp_hal::{
    peripherals::LPWR,
    ram,
    rtc_cntl::sleep::{LowPower, RtcSleepConfig},
    time::{Duration, Instant},
};
use light::{Board as _, Identity, asynch::report, kept};
use portable_atomic::{AtomicU8, Ordering::Relaxed};
use umqtt::{EmbassyClock, Session, codec::Connect};

use crate::{
    Memory,
    board::Device,
    console::{complain, info},
    network::Broker,
    settings::SLEEP_SECONDS,
};

/// How long the chip stays awake for a report that does not get through, joining Wi-Fi included.
const PATIENCE: embassy_time::Duration = embassy_time::Duration::from_secs(40);

/// What the last line needs to leave through the UART.
const LAST_LINE: embassy_time::Duration = embassy_time::Duration::from_millis(50);

const LEN: usize = kept::HEADER + Memory::IMAGE_LEN;

/// What survives the sleep. It is zero after power has come on.
#[allow(unsafe_code, reason = "the attribute names a section of the linker's")]
#[ram(unstable(rtc_fast, persistent))]
static KEPT: [AtomicU8; LEN] = [const { AtomicU8::new(0) }; _];

/// Reports, and sleeps whether that worked or not. The next boot goes on where this one ended.
pub(crate) async fn work(
    identity: &Identity,
    options: &Connect<'_>,
    session: &mut Session<'_>,
    broker: &mut Broker,
    device: &mut Device,
    lpwr: LPWR<'static>,
) -> ! {
    let on = !recall(session).unwrap_or(false);
    device.set_light(on);
    let light = (identity.topic(), on);
    let reported = report(light, session, options, &EmbassyClock, broker, device);
    match with_timeout(PATIENCE, reported).await {
        Ok(Ok(())) => info!("The broker has the report"),
        Ok(Err(failure)) => complain!("{}", failure),
        Err(_) => complain!("No report within {} s", PATIENCE.as_secs()),
    }
    keep(session, on);
    info!("Sleeping for {} s", SLEEP_SECONDS);
    Timer::after(LAST_LINE).await;
    sleep(lpwr)
}

/// Takes up the session of the last boot, and whether the light was on.
fn recall(session: &mut Session<'_>) -> Option<bool> {
    let mut memory = [0; LEN];
    for (byte, kept) in memory.iter_mut().zip(&KEPT) {
        *byte = kept.load(Relaxed);
    }
    match kept::restore(session, &memory) {
        Ok(None) => None,
        Ok(Some(on)) => {
            let waiting = session.in_flight();
            info!("Awake again; {} messages are not acknowledged", waiting);
            Some(on)
        }
        Err(error) => {
            complain!("Starting with a new session: {}", error);
            None
        }
    }
}

/// The connection has ended, so nothing more leaves that the image would not know of.
fn keep(session: &Session<'_>, on: bool) {
    let mut memory = [0; LEN];
    if let Err(error) = kept::save(session, on, &mut memory) {
        complain!("The session is not kept: {}", error);
    }
    for (kept, byte) in KEPT.iter().zip(memory) {
        kept.store(byte, Relaxed);
    }
}

fn sleep(lpwr: LPWR<'static>) -> ! {
    #[cfg_attr(
        feature = "esp32c6",
        allow(unused_mut, reason = "it always powers that memory")
    )]
    let mut config = RtcSleepConfig::deep();
    #[cfg(not(feature = "esp32c6"))]
    config.set_rtc_fastmem_pd_en(false);
    let mut power = LowPower::new(lpwr);
    #[allow(clippy::arithmetic_side_effects, reason = "the clock has 64 bits")]
    power.set_wakeup_deadline(Instant::now() + Duration::from_secs(SLEEP_SECONDS));
    power.sleep_deep(config)
}
