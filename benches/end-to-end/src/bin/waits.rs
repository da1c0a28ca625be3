//! Bytes per second on a socket with read and write timeouts of 10 ms, compared with a non-blocking socket.
//!
//! It shows that no call waits for a timeout without need. `cargo run --release --bin waits` in this folder prints the
//! table. `--write` writes it to `waits.md`. The peer is a thread of this program.

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use umqtt::{
    Event, Message, RequestError, Session, Storage, StreamedPublish,
    blocking::Client,
    client::Error,
    codec::Connect,
    std_io::{NonBlocking, StdClock},
};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const TIMEOUT: Duration = Duration::from_millis(10);
const UPLOAD: usize = 4 << 20;
const MESSAGES: usize = 4_000;
const SIZE: usize = 1_024;
const ROUNDS: usize = 5;

type Device<'s, 'b> = Client<'s, 'b, NonBlocking<TcpStream>, StdClock>;

/// A measurement: the work of the device, and of its peer at the same time.
struct Case {
    name: &'static str,
    /// Payload in bytes.
    bytes: usize,
    device: fn(&mut Device<'_, '_>) -> Result<()>,
    peer: fn(TcpStream),
}

const CASES: [Case; 3] = [
    Case {
        name: "`publish_from`, 4 MiB through 512 bytes",
        bytes: UPLOAD,
        device: upload,
        peer: discard_input,
    },
    Case {
        name: "`publish_and_wait` at QoS 0, 1 KiB",
        bytes: MESSAGES * SIZE,
        device: publish,
        peer: discard_input,
    },
    Case {
        name: "receive 1 KiB at QoS 0 while the peer reads nothing",
        bytes: MESSAGES * SIZE,
        device: receive,
        peer: send_and_read_nothing,
    },
];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let write = match arguments.as_slice() {
        [] => false,
        [write] if write == "--write" => true,
        _ => bail!("usage: [--write]"),
    };
    let mut table = String::from(
        "# Sockets with timeouts\n\nkB/s of payload, the median of five rounds. Written by `cargo run --release --bin waits -- --write` in this folder.\n\n\
         | | timeouts of 10 ms | non-blocking | ratio |\n| --- | ---: | ---: | ---: |\n",
    );
    for case in &CASES {
        let with_timeouts = measure(case, false)?;
        let non_blocking = measure(case, true)?;
        let ratio = non_blocking / with_timeouts;
        table += &format!(
            "| {} | {with_timeouts:.0} | {non_blocking:.0} | {ratio:.2} |\n",
            case.name
        );
    }
    println!("{table}");
    if write {
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/waits.md"), &table)?;
    }
    Ok(())
}

/// Returns the median of all rounds in kB/s.
fn measure(case: &Case, non_blocking: bool) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let time = run_once(case, non_blocking)?.as_secs_f64();
        rates.push(case.bytes as f64 / 1_000.0 / time);
    }
    rates.sort_by(f64::total_cmp);
    rates.get(ROUNDS / 2).copied().context("no round")
}

fn run_once(case: &Case, non_blocking: bool) -> Result<Duration> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let peer = case.peer;
    thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let mut connect = [0; 14 + 5];
            if stream.read_exact(&mut connect).is_ok() && stream.write_all(&CONNACK).is_ok() {
                peer(stream);
            }
        }
    });
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    if non_blocking {
        stream.set_nonblocking(true)?;
    } else {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
    }
    let mut storage = Storage::<4_096, 65_536, 4>::new();
    let mut small = Storage::<512, 512, 4>::new();
    let mut session = if case.bytes == UPLOAD {
        Session::new(&mut small)
    } else {
        Session::new(&mut storage)
    };
    let options = Connect::new("waits");
    let transport = NonBlocking::new(stream);
    let mut client = Client::connect(&mut session, transport, StdClock::new(), &options)?;
    if case.name.starts_with("receive") {
        fill(&mut client)?;
    }
    let start = Instant::now();
    (case.device)(&mut client)?;
    Ok(start.elapsed())
}

fn upload(client: &mut Device<'_, '_>) -> Result<()> {
    let source = NonBlocking::new(std::io::repeat(b'x'));
    client.publish_from(StreamedPublish::new("t"), UPLOAD, source, |_, _| {})?;
    Ok(())
}

fn publish(client: &mut Device<'_, '_>) -> Result<()> {
    let payload = [b'x'; SIZE];
    for _ in 0..MESSAGES {
        client.publish_and_wait(&Message::new("t", &payload), |_, _| {})?;
    }
    Ok(())
}

/// Queues messages until neither the peer nor the send buffer accepts more.
fn fill(client: &mut Device<'_, '_>) -> Result<()> {
    let payload = [b'x'; 16 * 1_024];
    let mut refusals = 0;
    while refusals < 20 {
        match client.publish(&Message::new("t", &payload)) {
            Ok(_) => refusals = 0,
            Err(Error::Request(RequestError::SendBufferFull { .. })) => {
                refusals += 1;
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn receive(client: &mut Device<'_, '_>) -> Result<()> {
    let mut received = 0;
    while received < MESSAGES {
        if let Event::Message(_) = client.recv()? {
            received += 1;
        }
    }
    Ok(())
}

/// Reads until the end.
fn discard_input(mut stream: TcpStream) {
    let mut buffer = [0; 65_536];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

/// Waits until the device has filled the connection, then sends messages.
fn send_and_read_nothing(mut stream: TcpStream) {
    thread::sleep(Duration::from_millis(500));
    let mut packet = vec![0x30, 0x83, 0x08, 0, 1, b't'];
    packet.resize(6 + SIZE, b'x');
    for _ in 0..MESSAGES {
        if stream.write_all(&packet).is_err() {
            return;
        }
    }
    thread::sleep(Duration::from_secs(5));
}
