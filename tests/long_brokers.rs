//! A message of 64 MiB through buffers of 128 bytes, to mosquitto and back, with both clients.
//!
//! It needs the program `mosquitto` (on Debian: `apt-get install mosquitto`). Without it, the test prints that it is
//! skipped, and fails if the variable `CI` is set.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::panic
)]

use std::{
    env, fs,
    future::poll_fn,
    io::{self, ErrorKind as StdErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    task::Poll,
    thread::sleep,
    time::{Duration, Instant as StdInstant},
};

use embassy_futures::block_on;
use embedded_io::{ErrorKind, ErrorType};
use sha2::{Digest, Sha256};
use umqtt::{
    Clock, Event, Instant, Session, Storage, StreamedPublish,
    asynch::{self, Sleep},
    blocking,
    codec::{Connect, QoS},
    std_io::{NonBlocking, StdClock},
};

const LEN: usize = 64 << 20;
const TOPIC: &str = "large";
/// Maximum growth of the process in KiB: enough for an allocator, and much less than a message.
const GROWTH: u64 = 2_048;

type Memory = Storage<128, 128, 4>;
type Sha = [u8; 32];

const OPTIONS: Connect<'static> = Connect {
    keep_alive: 60,
    ..Connect::new("large")
};

struct Mosquitto {
    process: Child,
    port: u16,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        let paths = env::var_os("PATH").unwrap_or_default();
        let program = env::split_paths(&paths)
            .chain([PathBuf::from("/usr/sbin")])
            .map(|path| path.join("mosquitto"))
            .find(|path| path.is_file());
        let Some(program) = program else {
            assert!(
                env::var_os("CI").is_none(),
                "mosquitto must be installed in CI"
            );
            eprintln!("skipped: mosquitto is missing; apt-get install mosquitto");
            return None;
        };
        for _ in 0..5 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let mut process = Command::new(&program)
                .args(["-p", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let start = StdInstant::now();
            while start.elapsed() < Duration::from_secs(5) && process.try_wait().unwrap().is_none()
            {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Some(Self { process, port });
                }
                sleep(Duration::from_millis(5));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("mosquitto does not start");
    }

    fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bytes without repetition, generated while they are read, and their checksum.
struct Generated {
    state: u64,
    sum: Sha256,
}

impl Generated {
    fn new() -> Self {
        let state = 0x9E37_79B9_7F4A_7C15;
        Self {
            state,
            sum: Sha256::new(),
        }
    }

    fn fill(&mut self, buf: &mut [u8]) -> usize {
        for byte in buf.iter_mut() {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            *byte = self.state as u8;
        }
        self.sum.update(&*buf);
        buf.len()
    }
}

impl ErrorType for &mut Generated {
    type Error = ErrorKind;
}

impl embedded_io::Read for &mut Generated {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        Ok(self.fill(buf))
    }
}

impl embedded_io_async::Read for &mut Generated {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        Ok(self.fill(buf))
    }
}

/// The checksum and the length of the received part of the message.
struct Received {
    sum: Sha256,
    len: usize,
}

impl Received {
    fn new() -> Self {
        let (sum, len) = (Sha256::new(), 0);
        Self { sum, len }
    }

    /// Adds a part. Returns `true` when the message is complete.
    fn add_event(&mut self, event: &Event<'_>) -> bool {
        let Event::Chunk(chunk) = event else {
            return false;
        };
        assert_eq!(
            (chunk.topic, chunk.offset, chunk.total),
            (TOPIC, self.len, LEN)
        );
        self.len += chunk.bytes.len();
        self.sum.update(chunk.bytes);
        chunk.is_last()
    }
}

fn outgoing() -> StreamedPublish<'static> {
    StreamedPublish::New {
        topic: TOPIC,
        qos: QoS::AtLeastOnce,
        retain: false,
    }
}

/// Sends and receives the message. Returns the checksums of the sent and of the received bytes.
fn over_blocking(mosquitto: &Mosquitto) -> (Sha, Sha) {
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let transport = NonBlocking::new(mosquitto.dial());
    let mut client =
        blocking::Client::connect(&mut session, transport, StdClock::new(), &OPTIONS).unwrap();
    let codes = client
        .subscribe_and_wait(&[(TOPIC, QoS::AtLeastOnce)], |_, _| {})
        .unwrap();
    assert!(codes.all_granted());
    let (mut source, mut received) = (Generated::new(), Received::new());
    client
        .publish_from(outgoing(), LEN, &mut source, |event, _| {
            assert!(!received.add_event(&event))
        })
        .unwrap();
    while !received.add_event(&client.recv().unwrap()) {}
    client.disconnect().unwrap();
    (source.sum.finalize().into(), received.sum.finalize().into())
}

/// As [`over_blocking`], with the async client.
async fn over_async(mosquitto: &Mosquitto) -> (Sha, Sha) {
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let transport = Polled(mosquitto.dial());
    let clock = Spinning(StdClock::new());
    let mut client = asynch::Client::connect(&mut session, transport, clock, &OPTIONS)
        .await
        .unwrap();
    let codes = client
        .subscribe_and_wait(&[(TOPIC, QoS::AtLeastOnce)], |_, _| {})
        .await
        .unwrap();
    assert!(codes.all_granted());
    let (mut source, mut received) = (Generated::new(), Received::new());
    client
        .publish_from(outgoing(), LEN, &mut source, |event, _| {
            assert!(!received.add_event(&event))
        })
        .await
        .unwrap();
    while !received.add_event(&client.recv().await.unwrap()) {}
    client.disconnect().await.unwrap();
    (source.sum.finalize().into(), received.sum.finalize().into())
}

/// A non-blocking socket that is polled repeatedly.
struct Polled(TcpStream);

impl Polled {
    async fn retry(
        &mut self,
        mut call: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> Result<usize, ErrorKind> {
        poll_fn(|cx| match call(&mut self.0) {
            Err(error) if error.kind() == StdErrorKind::WouldBlock => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            result => Poll::Ready(result.map_err(|error| error.kind().into())),
        })
        .await
    }
}

impl ErrorType for Polled {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for Polled {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        self.retry(|socket| socket.read(buf)).await
    }
}

impl embedded_io_async::Write for Polled {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.retry(|socket| socket.write(buf)).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// A clock whose futures are polled repeatedly until their time.
struct Spinning(StdClock);

impl Clock for Spinning {
    fn now(&self) -> Instant {
        self.0.now()
    }
}

impl Sleep for Spinning {
    async fn sleep_until(&self, at: Instant) {
        poll_fn(|cx| {
            if at.has_passed(self.now()) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Returns the peak memory of this process in KiB; `None` if the operating system is not Linux.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn payload_of_64_mebibytes_fits_through_128_bytes() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let before = resident();
    for run in ["blocking", "async"] {
        let start = StdInstant::now();
        let (sent, received) = match run {
            "blocking" => over_blocking(&mosquitto),
            _ => block_on(over_async(&mosquitto)),
        };
        assert_eq!(sent, received, "{run}");
        eprintln!("{run}: sent and received in {:?}", start.elapsed());
    }
    match (before, resident()) {
        (Some(before), Some(after)) => {
            eprintln!("at most {after} KiB resident, {before} KiB before");
            assert!(after - before < GROWTH, "the process grew");
        }
        _ => eprintln!("the memory was not measured: this is not Linux"),
    }
}
