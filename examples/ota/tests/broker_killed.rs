//! The broker is killed while it sends an image, and started again: the device receives the whole image.
//!
//! It needs the program `mosquitto` (on Debian: `apt-get install mosquitto`). Without it, the test prints that it is
//! skipped. In CI it then fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use ota::publish_image;
use sha2::{Digest, Sha256};

const TOPIC: &str = "firmware/image";
/// Length of the image in bytes. It is larger than the buffers of the operating system for a connection.
const IMAGE: usize = 32 << 20;

/// A mosquitto that stores its state in a folder.
struct Mosquitto {
    process: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Mosquitto {
    fn start(program: &Path) -> Self {
        let address = free_address();
        let folder = folder(address);
        Self {
            process: run(program, &folder, address),
            folder,
            address,
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn run(program: &Path, folder: &Path, address: SocketAddr) -> Child {
    let process = Command::new(program)
        .arg("-c")
        .arg(folder.join("conf"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "mosquitto does not start"
        );
        sleep(Duration::from_millis(20));
    }
    process
}

fn mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join("mosquitto"))
        .find(|program| program.is_file());
    if program.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "mosquitto must be installed in CI"
        );
        eprintln!("skipped: mosquitto is missing; apt-get install mosquitto");
    }
    program
}

/// Creates a folder with a configuration that keeps the state of mosquitto over a kill.
fn folder(address: SocketAddr) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("umqtt-ota-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let port = address.port();
    let conf = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n\
         persistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1\n",
        folder.display()
    );
    fs::write(folder.join("conf"), conf).unwrap();
    folder
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Forwards bytes to and from `broker`. After bytes from the broker, it sends their number to a channel without
/// capacity. It then waits until the test reads the number.
fn relay(broker: SocketAddr) -> (SocketAddr, Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, passed) = sync_channel(0);
    spawn(move || {
        for device in listener.incoming() {
            // While the broker is not running, the connection is closed at once.
            if let (Ok(device), Ok(broker)) = (device, TcpStream::connect(broker)) {
                let up = (device.try_clone().unwrap(), broker.try_clone().unwrap());
                spawn(move || pass(up.0, up.1, None));
                let sender = sender.clone();
                spawn(move || pass(broker, device, Some(sender)));
            }
        }
    });
    (address, passed)
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: Option<SyncSender<usize>>) {
    let mut buf = [0; 4_096];
    loop {
        match from.read(&mut buf) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
            Ok(n) => {
                if to.write_all(buf.get(..n).unwrap_or_default()).is_err() {
                    break;
                }
                if let Some(count) = &count {
                    let _ = count.send(n);
                }
            }
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

/// Publishes a retained image, and waits until the broker has stored it.
fn publish(broker: &Mosquitto) {
    let image = vec![0xA5; IMAGE];
    let sum = Sha256::digest(&image);
    publish_image(broker.address, TOPIC, &[&sum, &image]).unwrap();
    let start = Instant::now();
    let kept = || fs::metadata(broker.folder.join("mosquitto.db")).map_or(0, |file| file.len());
    while kept() < IMAGE as u64 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "mosquitto keeps nothing"
        );
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn image_broker_killed_during_transfer_arrives_whole() {
    let Some(program) = mosquitto() else { return };
    let mut broker = Mosquitto::start(&program);
    publish(&broker);
    let (relay, passed) = relay(broker.address);
    let device = Command::new(env!("CARGO_BIN_EXE_ota"))
        .args(["--broker", &relay.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    let mut half = IMAGE / 2;
    while half > 0 {
        half = half.saturating_sub(passed.recv_timeout(Duration::from_secs(20)).unwrap());
    }
    broker.kill();
    sleep(Duration::from_millis(800));
    broker.process = run(&program, &broker.folder, broker.address);
    spawn(move || passed.into_iter().for_each(drop));

    let output = device.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("Connecting again"), "{stdout}");
    assert!(stdout.contains("sends it again"), "{stdout}");
    assert!(
        stdout.contains(&format!("{IMAGE} bytes is in the flash")),
        "{stdout}"
    );
}
