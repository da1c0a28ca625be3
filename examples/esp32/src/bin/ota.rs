//! A device that is updated by MQTT. A message on its topic with `/firmware` is the SHA-256 of an image and the image.
//!
//! The message is far larger than the memory, so it is received in chunks. They are written to the slot that does not
//! run. The new image is on trial until its first connection. If there is none within five minutes, a watchdog resets
//! the chip, and the old image starts again. This includes a new image that hangs.
#![no_std]
#![no_main]

use board::flash::{Flash, Partition};
use board::settings::{MQTT_HOST, MQTT_PORT, TOPIC_PREFIX};
use board::{info, warning};
use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_time::Timer;
use esp_hal::rtc_cntl::{Rwdt, RwdtStage};
use esp_hal::{rng::Rng, system::software_reset, time::Duration};
use esp32_parts::{Identity, OtaData};
use ota_slot::{ImageState, Installer, Progress, Slots as _, Start, confirm, installed, start};
use umqtt::asynch::{Device, Mqtt};
use umqtt::codec::{Connect, QoS};
use umqtt::{Backoff, Config, EmbassyClock, Ended, Event, Handled, Storage};

esp_bootloader_esp_idf::esp_app_desc!();

/// The slots, and the trial of the image that runs.
struct Update<'a> {
    ota_data: OtaData<Partition<'a>>,
    installer: Installer<Partition<'a>>,
    /// The watchdog of the trial.
    trial: Option<Rwdt>,
}

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let board = board::init();
    let flash = Flash::new(board.flash);
    let partitions = match flash.partitions() {
        Ok(partitions) => partitions,
        Err(error) => board::stop(format_args!("Flash it with partitions.csv: {error}")).await,
    };
    let (mut running, mut ota_data) = (partitions.running, partitions.ota_data);
    let trial = match start(&mut ota_data) {
        Ok(Start::Normal) => None,
        Ok(Start::Trial) => {
            let mut watchdog = board.watchdog;
            watchdog.set_timeout(RwdtStage::Stage0, Duration::from_secs(300));
            watchdog.enable();
            Some(watchdog)
        }
        Ok(Start::Reset) => restart("The trial failed: the old image starts").await,
        Err(error) => {
            warning!("The state of this image is unknown: {}", error);
            None
        }
    };
    board::check().await;
    let Ok(identity) = Identity::new(board.mac, TOPIC_PREFIX) else {
        board::stop("TOPIC_PREFIX is too long").await
    };
    let topic = identity.firmware();
    info!("Device {}, topic {}", identity.device(), topic);
    let sum = installed(&mut running).unwrap_or_else(|error| {
        warning!("This image cannot be read: {}", error);
        None
    });
    let mut update = Update {
        ota_data,
        installer: Installer::new(partitions.other, sum),
        trial,
    };
    let config = Config {
        connect: Connect {
            clean_session: false,
            credentials: board::credentials(),
            ..Connect::new(identity.device())
        },
        subscriptions: &[(&topic, QoS::AtLeastOnce)],
    };
    let mut storage = Storage::<1024, 512, 4>::new();
    let mut device = match Device::new(&mut storage, EmbassyClock, &config) {
        Ok(device) => device,
        Err(error) => board::stop(error).await,
    };
    let (mqtt, mut runner) = device.split();
    let stack = board::join(board.radio, spawner).await;
    let (mut rx, mut tx) = ([0; 4096], [0; 1024]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(1_000, 60_000);
    loop {
        let port = MQTT_PORT.unwrap_or(1883);
        let delay = match board::dial(stack, &mut socket, MQTT_HOST, port).await {
            Ok(()) => {
                let ended = runner.run(&mut socket, |event, _| update.handle(&event, mqtt, &topic));
                match ended.await {
                    Ended::Shutdown => restart("The new image starts").await,
                    ended => {
                        warning!("The connection ended: {}", ended);
                        backoff.after(&ended, Rng::new().random())
                    }
                }
            }
            Err(error) => {
                warning!("Not connected: {}", error);
                backoff.next(Rng::new().random())
            }
        };
        socket.abort();
        Timer::after_millis(delay.into()).await;
    }
}

impl Update<'_> {
    fn handle(&mut self, event: &Event<'_>, mqtt: Mqtt<'_>, topic: &str) -> Handled {
        match *event {
            Event::Connected { .. } => self.end_trial(),
            Event::Chunk(part) if part.topic == topic => {
                return self.take(part.offset, part.total, part.bytes, mqtt);
            }
            Event::Message(whole) if whole.topic == topic => {
                return self.take(0, whole.payload.len(), whole.payload, mqtt);
            }
            _ => {}
        }
        info!("{}", event);
        Handled::Done
    }

    /// Confirms the image that runs: it has connected, so it stays. If the flash fails, the next connection confirms
    /// it.
    fn end_trial(&mut self) {
        let Some(watchdog) = &mut self.trial else {
            return;
        };
        match confirm(&mut self.ota_data) {
            Ok(()) => {
                watchdog.disable();
                self.trial = None;
            }
            Err(error) => warning!("Not confirmed: {}", error),
        }
    }

    fn take(&mut self, offset: usize, total: usize, bytes: &[u8], mqtt: Mqtt<'_>) -> Handled {
        match self.installer.take(offset, total, bytes) {
            Ok(Progress::Incomplete) => return Handled::Done,
            Ok(Progress::IsRunning) => info!("This image runs already"),
            Ok(Progress::Installed) => match self.ota_data.switch(ImageState::New) {
                Ok(()) => mqtt.shut_down(), // acknowledges the image first
                Err(error) => warning!("Not switched: {}", error),
            },
            Err(error) => warning!("Not installed: {}", error),
        }
        Handled::SkipRest
    }
}

async fn restart(reason: &str) -> ! {
    info!("{}", reason);
    Timer::after_millis(50).await; // the UART sends this line
    software_reset()
}
