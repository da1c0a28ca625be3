//! A device with 128 bytes of send buffer uploads a log file of any size as one message.
//!
//! ```text
//! cargo run -p ota --bin log_upload -- /var/log/syslog --broker localhost:1883
//! ```

use std::{
    env,
    fs::File,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{self, ExitCode},
    thread,
};

use clap::Parser;
use ota::{Memory, Result, broker, connect, progress};
use sha2::{Digest, Sha256};
use umqtt::{
    Event, Session, StreamedPublish,
    codec::QoS,
    std_io::{self, NonBlocking},
};

/// Publishes a log file that is far larger than the device's send buffer.
#[derive(Parser)]
struct Options {
    /// The file; one with a hundred thousand lines is made if none is named.
    file: Option<PathBuf>,
    /// The broker, as HOST:PORT; one inside this program if none is named.
    #[arg(long)]
    broker: Option<String>,
    /// The topic of the log.
    #[arg(long, default_value = "device/log")]
    topic: String,
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
    if options.broker.is_some() {
        return upload_any(options, address);
    }
    let topic = options.topic.clone();
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    let mut server = connect(&mut session, std_io::connect(address)?, "log-server")?;
    let codes = server.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], |_, _| {})?;
    if !codes.all_granted() {
        return Err("the broker refused the subscription".into());
    }
    thread::scope(|scope| {
        let device = scope.spawn(|| upload_any(options, address).map_err(|e| e.to_string()));
        let (mut len, mut sum) = (0_usize, Sha256::new());
        loop {
            let (bytes, last) = match server.recv()? {
                Event::Message(message) => (message.payload, true),
                Event::Chunk(chunk) => (chunk.bytes, chunk.is_last()),
                _ => continue,
            };
            len = len.saturating_add(bytes.len());
            sum.update(bytes);
            if last {
                break;
            }
        }
        server.disconnect()?;
        device.join().map_err(|_| "the device failed")??;
        println!(
            "{len} bytes have arrived, with SHA-256 {}.",
            hex(&sum.finalize())
        );
        Ok(())
    })
}

fn upload_any(options: &Options, address: SocketAddr) -> Result<()> {
    if let Some(file) = &options.file {
        return upload(file, &options.topic, address);
    }
    let made = env::temp_dir().join(format!("umqtt-{}.log", process::id()));
    let mut file = std::io::BufWriter::new(File::create(&made)?);
    for line in 0..100_000 {
        writeln!(file, "{line:09} all is well")?;
    }
    drop(file);
    let result = upload(&made, &options.topic, address);
    std::fs::remove_file(&made)?;
    result
}

/// Sends the file as it is read, and waits until the broker has it.
fn upload(path: &PathBuf, topic: &str, address: SocketAddr) -> Result<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len().try_into()?;
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    let mut device = connect(&mut session, std_io::connect(address)?, "log-device")?;
    let message = StreamedPublish::New {
        topic,
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    let bar = progress(len);
    let reader = NonBlocking::new(bar.wrap_read(file));
    let id = device.publish_from(message, len, reader, |_, _| {})?;
    while Some(device.recv()?) != id.map(Event::Puback) {}
    device.disconnect()?;
    bar.finish();
    println!("{} is with the broker, {len} bytes.", path.display());
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
