//! Wi-Fi: joins the network, reports the result on the console, and joins again if the network is lost.

use core::pin::pin;

use embassy_executor::Spawner;
use embassy_futures::select::{Either3, select3};
use embassy_net::{Config, Runner, Stack, StackResources};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use embassy_time::{Duration, Timer, with_timeout};
use esp_hal::{peripherals::WIFI, rng::Rng};
use esp_radio::wifi::{
    self, AuthenticationMethodConfig, ConnectionError, ControllerConfig, DisconnectReason,
    Interface, WifiController, WifiError, sta::StationConfig,
};
use static_cell::StaticCell;

use crate::{
    info,
    settings::{WIFI_PASSWORD, WIFI_SSID},
    stop, warning,
};

/// Time after which the console reports that there is no answer yet.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum further time of an attempt to join. Also the maximum time to get an address.
const LONGEST: Duration = Duration::from_secs(30);
/// Time from one attempt to the next.
const PAUSE: Duration = Duration::from_secs(5);
/// Number of sockets: DHCP, DNS, and the connection to the broker.
const SOCKETS: usize = 3;

static REJOIN: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// Leaves the network and joins it again: an access point may forward nothing, or have forgotten this device.
pub(crate) fn rejoin() {
    REJOIN.signal(());
}

/// Starts to join the network, and stays joined. If the radio does not start, prints the reason and does not return.
pub async fn join(radio: WIFI<'static>, spawner: Spawner) -> Stack<'static> {
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let started = station().and_then(|station| {
        let config = ControllerConfig::default();
        WifiController::new(
            radio,
            config.with_initial_config(wifi::Config::Station(station)),
        )
    });
    let controller = match started {
        Ok(controller) => controller,
        Err(error) => stop(format_args!("The radio does not start: {error}")).await,
    };
    let seed = u64::from(Rng::new().random());
    let dhcp = Config::dhcpv4(Default::default());
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(Interface::station(), dhcp, resources, seed);
    match (move_packets(runner), stay_joined(controller, stack)) {
        (Ok(packets), Ok(joined)) => {
            spawner.spawn(packets);
            spawner.spawn(joined);
            stack
        }
        _ => stop("Wi-Fi was started twice").await,
    }
}

fn station() -> Result<StationConfig, WifiError> {
    let authentication = if WIFI_PASSWORD.is_empty() {
        AuthenticationMethodConfig::Open
    } else {
        // The minimum. WPA3 is used if the access point supports it.
        AuthenticationMethodConfig::Wpa2Personal(WIFI_PASSWORD.try_into()?)
    };
    let station = StationConfig::default().with_ssid(WIFI_SSID.try_into()?);
    Ok(station.with_authentication(authentication))
}

#[embassy_executor::task]
async fn move_packets(mut runner: Runner<'static, Interface>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn stay_joined(mut controller: WifiController<'static>, stack: Stack<'static>) -> ! {
    loop {
        info!("Joining the Wi-Fi network {}", WIFI_SSID);
        if connect(&mut controller).await {
            info!("Joined");
            REJOIN.reset();
            let lost = controller.wait_for_disconnect_async();
            match select3(lost, no_address(stack), REJOIN.wait()).await {
                Either3::First(_) => warning!("The Wi-Fi network is lost"),
                Either3::Second(()) => warning!("No IP address: is there a DHCP server?"),
                Either3::Third(()) => warning!("The Wi-Fi network does not lead to the broker"),
            }
        }
        let _ = with_timeout(PATIENCE, controller.disconnect_async()).await;
        Timer::after(PAUSE).await;
    }
}

/// Returns `true` if the network was joined.
async fn connect(controller: &mut WifiController<'static>) -> bool {
    let mut joining = pin!(controller.connect_async());
    let mut joined = with_timeout(PATIENCE, joining.as_mut()).await;
    if joined.is_err() {
        warning!("Not joined: no answer yet, still trying");
        joined = with_timeout(LONGEST, joining).await;
    }
    match joined {
        Ok(Ok(_)) => return true,
        Ok(Err(ConnectionError::Failed(failed))) => {
            warning!("Not joined: {}", reason(failed.reason));
        }
        Ok(Err(error)) => warning!("Not joined: {}", error),
        Err(_) => {}
    }
    false
}

/// Shows each address, and returns when there is none for too long.
async fn no_address(stack: Stack<'static>) {
    while with_timeout(LONGEST, stack.wait_config_up()).await.is_ok() {
        if let Some(config) = stack.config_v4() {
            info!("IP address {}", config.address.address());
        }
        stack.wait_config_down().await;
    }
}

/// Returns the probable cause. Most other reasons of the radio name the step that failed, but not the cause.
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
            "the access point does not accept this device: is the password right?"
        }
        R::AssociationTooMany => "the access point serves too many devices already",
        R::BeaconTimeout | R::NoAccessPointFoundInRssiThreshold => "the signal is too weak",
        _ => "the access point ended it",
    }
}
