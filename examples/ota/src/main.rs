//! A device with 128 bytes of receive buffer takes a firmware image of several MiB over MQTT.
//!
//! The image comes as one message, its SHA-256 in the last 32 bytes. The device writes it to its (simulated) flash piece
//! by piece and acknowledges it with the last one. If the connection breaks before that, the broker sends the message
//! again, and the device begins anew.
//!
//! ```text
//! cargo run -p ota -- --cut-after 1000000                 # the cable is pulled after the first megabyte
//! cargo run -p ota -- --broker localhost:1883             # then, elsewhere:
//! (cat image; sha256sum image | xxd -r -p) | mosquitto_pub -t firmware/image -q 1 -s
//! ```

use std::{
    net::{Shutdown, SocketAddr},
    process::ExitCode,
};

use clap::Parser;
use indicatif::ProgressBar;
use ota::{Memory, Result, broker, device, progress, publish_image};
use sha2::{Digest, Sha256};
use umqtt::{Backoff, Event, SubscriptionState, codec::QoS, std_io};

/// Receives a firmware image that is far larger than the device's receive buffer.
#[derive(Parser)]
struct Options {
    /// The broker, as HOST:PORT; one inside this program if none is named.
    #[arg(long)]
    broker: Option<String>,
    /// The topic of the image.
    #[arg(long, default_value = "firmware/image")]
    topic: String,
    /// Pulls the cable, once, when so many bytes have come.
    #[arg(long, value_name = "BYTES")]
    cut_after: Option<usize>,
    /// Size of the image that is published when no broker is named, in KiB (at most 16,000).
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u16).range(1..=16_000))]
    kib: u16,
}

/// The memory into which the image goes.
struct Flash {
    cells: Vec<u8>,
    bar: ProgressBar,
    is_complete: bool,
}

impl Flash {
    /// Writes the image as it comes.
    fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Chunk(chunk) => {
                if chunk.offset == 0 {
                    self.cells.clear();
                    self.bar = progress(chunk.total);
                }
                self.cells.extend_from_slice(chunk.bytes);
                self.bar.inc(chunk.bytes.len() as u64);
                self.is_complete = chunk.is_last();
            }
            Event::ChunksAborted => {
                println!("The rest of the image will not come; it begins anew.");
            }
            _ => {}
        }
    }

    /// Whether the image is the one to which its last 32 bytes belong.
    fn is_sound(&self) -> bool {
        match self.cells.split_last_chunk() {
            Some((image, sum)) => <[u8; 32]>::from(Sha256::digest(image)) == *sum,
            None => false,
        }
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
    let mut flash = Flash {
        cells: Vec::new(),
        bar: ProgressBar::hidden(),
        is_complete: false,
    };
    let mut memory = Memory::new();
    let subscriptions = [(&*options.topic, QoS::AtLeastOnce)];
    let mut device = device(&mut memory, "ota-device", &subscriptions)?;
    device.set_backoff(Backoff::new(500, 5_000));

    let transport = std_io::connect(address)?;
    let cable = transport.get_ref().try_clone()?;
    device.connect(transport)?;
    while device.subscriptions() == SubscriptionState::Pending {
        device.recv(1_000, |event, _| flash.handle(event))?;
    }
    if device.subscriptions() == SubscriptionState::Refused {
        return Err("the broker refused the subscription".into());
    }
    if options.broker.is_none() {
        publish(address, &options.topic, usize::from(options.kib) << 10)?;
    }

    let mut pull_at = options.cut_after;
    while !flash.is_complete {
        if let Err(error) = device.recv(1_000, |event, _| flash.handle(event)) {
            let len = flash.cells.len();
            if len == 0 {
                return Err(error.into());
            }
            println!("After {len} bytes: {error}. Connecting again.");
        }
        if pull_at.take_if(|at| flash.cells.len() >= *at).is_some() {
            cable.shutdown(Shutdown::Both)?;
        }
        if let Err(error) = device.dial(|| std_io::connect(address)) {
            println!("{error}. Connecting again.");
        }
    }
    device.shut_down(|_, _| ())?;
    flash.bar.finish();
    if !flash.is_sound() {
        return Err("the image is damaged: its SHA-256 is another".into());
    }
    let len = flash.cells.len();
    println!("The image of {len} bytes is in the flash, and its SHA-256 is right.");
    Ok(())
}

/// What a build server does.
fn publish(broker: SocketAddr, topic: &str, len: usize) -> Result<()> {
    let image: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
    publish_image(broker, topic, &[&image, &Sha256::digest(&image)])
}
