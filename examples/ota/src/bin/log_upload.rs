//! A device with 128 bytes of send buffer uploads a log file of any size as one message.
//!
//! ```text
//! cargo run -p ota --bin log_upload -- /var/log/syslog --broker localhost:1883
//! ```

use std::{
    fs::File,
    io::{Cursor, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use clap::Parser;
use ota::{Memory, Result, broker, device, progress};
use sha2::{Digest, Sha256};
use umqtt::{
    Event, StreamedPublish, SubscriptionState,
    codec::QoS,
    std_io::{self, NonBlocking},
};

/// Publishes a log file that is far larger than the device's send buffer.
#[derive(Parser)]
struct Options {
    /// The file; without it, a log of 100,000 lines
    file: Option<PathBuf>,
    /// The broker, as HOST:PORT; without it, the program starts its own
    #[arg(long)]
    broker: Option<String>,
    /// The topic of the log.
    #[arg(long, default_value = "device/log")]
    topic: String,
}

/// A log, and its length in bytes.
type Log = (Box<dyn Read + Send>, usize);

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
    let log = match &options.file {
        Some(path) => open(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => made_log(),
    };
    let address = broker(options.broker.as_deref())?;
    if options.broker.is_some() {
        upload(log, &options.topic, address)
    } else {
        upload_and_receive(log, &options.topic, address)
    }
}

fn open(path: &Path) -> Result<Log> {
    let file = File::open(path)?;
    let len = file.metadata()?.len().try_into()?;
    Ok((Box::new(file), len))
}

fn made_log() -> Log {
    let lines = (0..100_000).map(|line| format!("{line:09} all is well\n"));
    let log: String = lines.collect();
    let len = log.len();
    (Box::new(Cursor::new(log)), len)
}

/// Sends the log while it is read, and waits until the broker has acknowledged it.
fn upload((log, len): Log, topic: &str, broker: SocketAddr) -> Result<()> {
    let mut memory = Memory::new();
    let mut device = device(&mut memory, "log-device", &[])?;
    device.connect(std_io::connect(broker)?)?;
    let message = StreamedPublish::New {
        topic,
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    let bar = progress(len);
    device.publish_from(
        message,
        len,
        NonBlocking::new(bar.wrap_read(log)),
        |_, _| (),
    )?;
    while device.session().in_flight() > 0 {
        device.recv(1_000, |_, _| ())?;
    }
    device.shut_down(|_, _| ())?;
    bar.finish();
    println!("The log is with the broker, {len} bytes.");
    Ok(())
}

/// Uploads the log, and receives it with another device.
fn upload_and_receive(log: Log, topic: &str, broker: SocketAddr) -> Result<()> {
    let mut memory = Memory::new();
    let subscriptions = [(topic, QoS::AtLeastOnce)];
    let mut server = device(&mut memory, "log-server", &subscriptions)?;
    server.connect(std_io::connect(broker)?)?;
    while server.subscriptions() == SubscriptionState::Pending {
        server.recv(1_000, |_, _| ())?;
    }
    if server.subscriptions() == SubscriptionState::Refused {
        return Err("the broker refused the subscription".into());
    }
    let (mut len, mut sum, mut is_complete) = (0_usize, Sha256::new(), false);
    thread::scope(|scope| {
        let upload = || upload(log, topic, broker).map_err(|error| error.to_string());
        let mut upload = Some(scope.spawn(upload));
        while !is_complete {
            let millis = if upload.is_some() { 100 } else { 10_000 };
            let received = server.recv(millis, |event, _| {
                let (bytes, is_last) = match event {
                    Event::Message(message) => (message.payload, true),
                    Event::Chunk(chunk) => (chunk.bytes, chunk.is_last()),
                    _ => return,
                };
                len = len.saturating_add(bytes.len());
                sum.update(bytes);
                is_complete = is_last;
            })?;
            if !received && upload.is_none() {
                return Err("the log has not arrived".into());
            }
            if let Some(ended) = upload.take_if(|it| it.is_finished()) {
                ended.join().map_err(|_| "the device failed")??;
            }
        }
        server.shut_down(|_, _| ())?;
        let sum = hex(&sum.finalize());
        println!("{len} bytes have arrived, with SHA-256 {sum}.");
        Ok(())
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
