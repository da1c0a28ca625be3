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
    net::{Shutdown, SocketAddr, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::Parser;
use indicatif::ProgressBar;
use ota::{Device, Memory, Result, broker, connect, progress};
use sha2::{Digest, Sha256};
use umqtt::{Event, Session, StreamedPublish, codec::QoS, std_io};

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
}

impl Flash {
    fn erase(&mut self, len: usize) {
        self.cells.clear();
        self.bar = progress(len);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.cells.extend_from_slice(bytes);
        self.bar.inc(bytes.len() as u64);
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
    let mut pull_at = options.cut_after;
    let mut flash = Flash {
        cells: Vec::new(),
        bar: ProgressBar::hidden(),
    };
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    // The subscription outlives the connection, and so does what comes while the device is away.
    let mut device = connect(&mut session, std_io::connect(address)?, "ota-device")?;
    let codes = device.subscribe_and_wait(&[(&options.topic, QoS::AtLeastOnce)], |_, _| {})?;
    if !codes.all_granted() {
        return Err("the broker refused the subscription".into());
    }
    device.disconnect()?;
    if options.broker.is_none() {
        publish(address, &options.topic, usize::from(options.kib) << 10)?;
    }
    while let Err(error) = update(
        &mut session,
        address,
        &options.topic,
        &mut flash,
        &mut pull_at,
    ) {
        if flash.cells.is_empty() {
            return Err(error);
        }
        let len = flash.cells.len();
        println!("After {len} bytes: {error}. Dialling again.");
        thread::sleep(Duration::from_millis(500));
    }
    flash.bar.finish();
    if !flash.is_sound() {
        return Err("the image is damaged: its SHA-256 is another".into());
    }
    let len = flash.cells.len();
    println!("The image of {len} bytes is in the flash, and its SHA-256 is right.");
    Ok(())
}

/// Takes an image over one connection.
fn update(
    session: &mut Session<'_>,
    address: SocketAddr,
    topic: &str,
    flash: &mut Flash,
    pull_at: &mut Option<usize>,
) -> Result<()> {
    let transport = std_io::connect(address)?;
    let cable = transport.get_ref().try_clone()?;
    let mut device = connect(session, transport, "ota-device")?;
    if !device.session_present() {
        device.subscribe(&[(topic, QoS::AtLeastOnce)])?;
    }
    receive(&mut device, topic, flash, &cable, pull_at)?;
    device.disconnect()?;
    Ok(())
}

/// Writes the image to the flash as it comes.
fn receive(
    device: &mut Device<'_, '_>,
    topic: &str,
    flash: &mut Flash,
    cable: &TcpStream,
    pull_at: &mut Option<usize>,
) -> Result<()> {
    loop {
        match device.recv()? {
            Event::Chunk(chunk) if chunk.topic == topic => {
                if chunk.offset == 0 {
                    flash.erase(chunk.total);
                }
                flash.write(chunk.bytes);
                if chunk.is_last() {
                    return Ok(());
                }
            }
            Event::ChunksAborted => {
                println!("The rest of the image will not come; it begins anew.")
            }
            _ => {}
        }
        if pull_at.take_if(|at| flash.cells.len() >= *at).is_some() {
            cable.shutdown(Shutdown::Both)?;
        }
    }
}

/// What a build server does: publishes an image, and keeps it there for every device that subscribes later.
fn publish(address: SocketAddr, topic: &str, len: usize) -> Result<()> {
    let image: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
    let sum = Sha256::digest(&image);
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    let mut server = connect(&mut session, std_io::connect(address)?, "ota-server")?;
    let message = StreamedPublish::New {
        topic,
        qos: QoS::AtLeastOnce,
        retain: true,
    };
    let id = server.publish_slices(message, &[&image, &sum], |_, _| {})?;
    while Some(server.recv()?) != id.map(Event::Puback) {}
    server.disconnect()?;
    Ok(())
}
