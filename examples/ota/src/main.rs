//! A device with 128 bytes of receive buffer receives a firmware image of several MiB over MQTT.
//!
//! The image is one message, with its SHA-256 in the first 32 bytes. The device writes it to its (simulated) flash in
//! chunks, and acknowledges it with the last one. If the connection breaks before that, the broker sends the message
//! again, and the device begins again. `ota-slot` does the same on a chip.
//!
//! ```text
//! cargo run -p ota -- --cut-after 1000000                 # cuts the connection after the first megabyte
//! cargo run -p ota -- --broker localhost:1883             # then, in another terminal:
//! (sha256sum image | xxd -r -p; cat image) | mosquitto_pub -t firmware/image -q 1 -s
//! ```

use std::{
    net::{Shutdown, SocketAddr},
    process::ExitCode,
};

use clap::Parser;
use embedded_storage::nor_flash::NorFlashErrorKind;
use indicatif::ProgressBar;
use ota::{Memory, RamFlash, Result, broker, device, progress, publish_image};
use ota_slot::{InstallError, Installer, Progress, SUM_LEN, installed};
use sha2::{Digest, Sha256};
use umqtt::{Backoff, Event, Handled, SubscriptionState, codec::QoS, std_io};

/// Size of the slot for a new image in bytes.
const SLOT: usize = 64 << 20;

/// Receives a firmware image that is far larger than the device's receive buffer.
#[derive(Parser)]
struct Options {
    /// The broker, as HOST:PORT; without it, the program starts its own
    #[arg(long)]
    broker: Option<String>,
    /// The topic of the image
    #[arg(long, default_value = "firmware/image")]
    topic: String,
    /// Cuts the connection once, after this number of received bytes
    #[arg(long, value_name = "BYTES")]
    cut_after: Option<usize>,
    /// Size of the image that is published without --broker, in KiB (at most 16,000)
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u16).range(1..=16_000))]
    kib: u16,
}

/// Receives the image, and shows the progress.
struct Update<'f> {
    installer: Installer<&'f mut RamFlash>,
    bar: ProgressBar,
    received: usize,
    is_installed: bool,
    /// The reason why the image was not installed.
    failed: Option<InstallError<NorFlashErrorKind>>,
}

impl Update<'_> {
    /// Passes the image to the installer, in chunks or whole.
    fn handle(&mut self, event: Event<'_>) -> Handled {
        let (offset, total, bytes) = match event {
            Event::Chunk(chunk) => (chunk.offset, chunk.total, chunk.bytes),
            Event::Message(message) => (0, message.payload.len(), message.payload),
            Event::ChunksAborted => {
                println!("The connection was closed inside the image; the broker sends it again.");
                return Handled::Done;
            }
            _ => return Handled::Done,
        };
        if offset == 0 {
            self.bar = progress(total);
        }
        self.received = offset.saturating_add(bytes.len());
        self.bar.set_position(self.received as u64);
        match self.installer.take(offset, total, bytes) {
            Ok(Progress::Incomplete) => return Handled::Done,
            // No image runs here, so none is recognized as running.
            Ok(Progress::Installed | Progress::IsRunning) => self.is_installed = true,
            Err(error) => self.failed = Some(error),
        }
        Handled::SkipRest
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}.");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let address = broker(options.broker.as_deref())?;
    let mut slot = RamFlash::new(SLOT);
    let mut update = Update {
        installer: Installer::new(&mut slot, None),
        bar: ProgressBar::hidden(),
        received: 0,
        is_installed: false,
        failed: None,
    };
    let mut memory = Memory::new();
    let subscriptions = [(&*options.topic, QoS::AtLeastOnce)];
    let mut device = device(&mut memory, "ota-device", &subscriptions)?;
    device.set_backoff(Backoff::new(500, 5_000));

    let transport = std_io::connect(address)?;
    let socket = transport.get_ref().try_clone()?;
    device.connect(transport)?;
    while device.subscriptions() == SubscriptionState::Pending {
        device.recv(1_000, |event, _| update.handle(event))?;
    }
    if device.subscriptions() == SubscriptionState::Refused {
        return Err("the broker refused the subscription".into());
    }
    if options.broker.is_none() {
        publish(address, &options.topic, usize::from(options.kib) << 10)?;
    } else {
        println!("Waiting for an image on {}.", options.topic);
    }

    let mut cut_at = options.cut_after;
    while !update.is_installed && update.failed.is_none() {
        if let Err(error) = device.recv(1_000, |event, _| update.handle(event)) {
            let len = update.received;
            if len == 0 {
                return Err(error.into());
            }
            println!("After {len} bytes: {error}. Connecting again.");
        }
        if cut_at.take_if(|at| update.received >= *at).is_some() {
            socket.shutdown(Shutdown::Both)?;
        }
        if let Err(error) = device.dial(|| std_io::connect(address)) {
            println!("{error}. Connecting again.");
        }
    }
    device.shut_down(|_, _| ())?;
    update.bar.finish();
    if let Some(error) = update.failed {
        return Err(error.to_string().into());
    }
    let len = update.received.saturating_sub(SUM_LEN);
    match installed(&mut slot) {
        Ok(Some(_)) => {
            println!("The image of {len} bytes is in the flash, and its SHA-256 is right.");
            Ok(())
        }
        Ok(None) => Err("the image in the flash is damaged".into()),
        Err(error) => Err(format!("the flash cannot be read: {error}").into()),
    }
}

/// Publishes an image, as a build server would.
fn publish(broker: SocketAddr, topic: &str, len: usize) -> Result<()> {
    let image: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
    publish_image(broker, topic, &[&Sha256::digest(&image), &image])
}
