//! Wi-Fi: joins the network, says whether that worked, and joins again when it is lost.

use core::pin::pin;

use embassy_executor::Spawner;
use embassy_futures::select::select;
use embassy_net::{Config, Runner, Stack, StackResources};
use embassy_time::{Duration, TimeoutError, Timer, with_timeout};
use esp_hal::{peripherals::WIFI, rng::Rng};
use esp_radio::wifi::{
    self, AuthenticationMethodConfig, ConnectionError, ControllerConfig, DisconnectReason,
    Interface, WifiController, WifiError,
    sta::{ConnectedInfo, StationConfig},
};
use static_cell::StaticCell;

use crate::{
    console::{complain, info},
    settings, spawn,
};

/// Within this time it is said whether joining worked, and whether there is an address.
const PATIENCE: Duration = Duration::from_secs(10);

/// And within this, an attempt is given up.
const MORE_PATIENCE: Duration = Duration::from_secs(20);

/// From one attempt to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// DHCP, DNS, and the connection to the broker.
const SOCKETS: usize = 3;

/// Starts joining the network, and never stops.
pub(crate) fn start(wifi: WIFI<'static>, spawner: Spawner) -> Result<Stack<'static>, WifiError> {
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();

    let radio = ControllerConfig::default().with_initial_config(wifi::Config::Station(station()?));
    let controller = WifiController::new(wifi, radio)?;
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let (stack, runner) = embassy_net::new(
        Interface::station(),
        Config::dhcpv4(Default::default()),
        RESOURCES.init(StackResources::new()),
        seed,
    );
    spawn(spawner, move_packets(runner));
    spawn(spawner, stay_joined(controller, stack));
    Ok(stack)
}

fn station() -> Result<StationConfig, WifiError> {
    let authentication = if settings::WIFI_PASSWORD.is_empty() {
        AuthenticationMethodConfig::Open
    } else {
        // The weakest that is accepted; WPA3 is used where the access point has it.
        AuthenticationMethodConfig::Wpa2Personal(settings::WIFI_PASSWORD.try_into()?)
    };
    Ok(StationConfig::default()
        .with_ssid(settings::WIFI_SSID.try_into()?)
        .with_authentication(authentication))
}

#[embassy_executor::task]
async fn move_packets(mut runner: Runner<'static, Interface>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn stay_joined(mut controller: WifiController<'static>, stack: Stack<'static>) -> ! {
    loop {
        info!("Joining the Wi-Fi network {}", settings::WIFI_SSID);
        match join(&mut controller).await {
            Ok(Ok(_)) => {
                info!("Joined");
                select(controller.wait_for_disconnect_async(), show_address(stack)).await;
                complain!("The Wi-Fi network is lost");
            }
            Ok(Err(ConnectionError::Failed(failed))) => {
                complain!("Not joined: {}", reason(failed.reason));
            }
            Ok(Err(_)) => complain!("Not joined: the radio reports an error"),
            Err(TimeoutError) => {
                let _ = with_timeout(PATIENCE, controller.disconnect_async()).await;
            }
        }
        Timer::after(PAUSE).await;
    }
}

/// Says so when it takes long.
async fn join(
    controller: &mut WifiController<'static>,
) -> Result<Result<ConnectedInfo, ConnectionError>, TimeoutError> {
    let mut joining = pin!(controller.connect_async());
    if let Ok(joined) = with_timeout(PATIENCE, joining.as_mut()).await {
        return Ok(joined);
    }
    let seconds = PATIENCE.as_secs();
    complain!("Not joined: no answer within {} s, still trying", seconds);
    with_timeout(MORE_PATIENCE, joining).await
}

/// Says the address as soon as there is one, and never returns.
async fn show_address(stack: Stack<'static>) -> ! {
    loop {
        if with_timeout(PATIENCE, stack.wait_config_up())
            .await
            .is_err()
        {
            complain!(
                "No IP address within {} s: is there a DHCP server?",
                PATIENCE.as_secs()
            );
            continue;
        }
        if let Some(config) = stack.config_v4() {
            info!("IP address {}", config.address.address());
        }
        stack.wait_config_down().await;
    }
}

/// What to look at first; the radio's own words are many, and mostly say how it went wrong rather than why.
fn reason(reason: DisconnectReason) -> &'static str {
    use DisconnectReason as R;
    match reason {
        R::NoAccessPointFound => "there is no such network in reach on 2.4 GHz",
        R::NoAccessPointFoundWithCompatibleSecurity | R::NoAccessPointFoundInAuthmodeThreshold => {
            "the network's security is neither WPA2 nor WPA3, or it is open and a password is set, or the reverse"
        }
        R::AuthenticationFailed
        | R::AuthenticationExpired
        | R::HandshakeTimeout
        | R::FourWayHandshakeTimeout => {
            "the access point does not accept us: is the password right?"
        }
        R::AssociationTooMany => "the access point serves too many devices already",
        R::BeaconTimeout | R::NoAccessPointFoundInRssiThreshold => "the signal is too weak",
        _ => "the access point ended it",
    }
}
