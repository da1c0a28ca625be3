//! What CI runs on each machine, with `runner` at the other end: messages come back as they were sent, a large one as
//! its checksum, and the session outlives a broker that goes away.
#![no_std]
#![no_main]

use core::{
    convert::Infallible,
    fmt::{self, Write as _},
};

use firmware::{
    End, Serial,
    machine::{Timer, Uart, entry},
};
use heapless::{String, Vec};
use semihosting::println;
use umqtt::{
    Chunk, Event, Message, Session, Storage,
    blocking::Client,
    client::Error,
    codec::{Connect, QoS},
};

/// What comes on `check/to/NAME` is answered on `check/from/NAME`.
const TO: &str = "check/to/";
const FROM: &str = "check/from/";
const FILTER: &str = "check/to/#";
/// What comes under this name ends the run.
const LAST: &str = "last";

const LARGE: usize = 65_536;
const RX: usize = 512;

/// Only time tells that nobody listens at the other end of a serial line: no more than both together.
const KEEP_ALIVE_S: u16 = 3;
const RESPONSE_TIMEOUT_MS: u32 = 4_000;

#[entry]
fn main() -> ! {
    firmware::run(|serial, timer| {
        let mut storage = Storage::<RX, 512, 8>::new();
        let mut session = Session::new(&mut storage);
        session.set_response_timeout(RESPONSE_TIMEOUT_MS);
        let mut seen = Seen::default();
        loop {
            match serve(&mut session, serial, timer, &mut seen) {
                Ok(()) => break,
                Err(error) if error.is_fatal() => println!("{error}"),
                Err(error) => {
                    println!("{error}");
                    return End::Failure;
                }
            }
        }
        println!("{seen}");
        if seen.is_all() {
            End::Success
        } else {
            End::Failure
        }
    })
}

/// Works on one connection until the runner has sent its last message.
fn serve(
    session: &mut Session<'_>,
    serial: &Serial<Uart>,
    timer: &Timer,
    seen: &mut Seen,
) -> Result<(), Error<Infallible>> {
    let options = Connect {
        clean_session: false,
        keep_alive: KEEP_ALIVE_S,
        ..Connect::new("check")
    };
    serial.drain(timer);
    let mut client = Client::connect(session, serial, timer, &options)?;
    println!("connected, session present: {}", client.session_present());
    if client.session_present() {
        seen.resumed = seen.resumed.saturating_add(1);
    } else {
        let codes = client.subscribe_and_wait(&[(FILTER, QoS::ExactlyOnce)], |_, _| {})?;
        if !codes.all_granted() {
            println!("the broker refused the subscription");
        }
    }
    loop {
        let reply = match client.recv()? {
            Event::Message(message) if message.topic.strip_prefix(TO) == Some(LAST) => {
                client.disconnect()?;
                return Ok(());
            }
            Event::Message(message) => seen.message(&message),
            Event::Chunk(chunk) => seen.chunk(&chunk),
            _ => None,
        };
        if let Some(reply) = reply {
            client.publish(&reply.message())?;
        }
    }
}

/// A message to be sent when the one that caused it has been let go.
struct Reply {
    topic: String<64>,
    payload: Vec<u8, 128>,
    qos: QoS,
}

impl Reply {
    /// `None` if the message is not one of the runner's, or too long to be answered.
    fn new(topic: &str, payload: &[u8], qos: QoS) -> Option<Self> {
        let mut answer = String::try_from(FROM).ok()?;
        answer.push_str(topic.strip_prefix(TO)?).ok()?;
        Some(Self {
            topic: answer,
            payload: Vec::from_slice(payload).ok()?,
            qos,
        })
    }

    fn message(&self) -> Message<'_> {
        Message {
            qos: self.qos,
            ..Message::new(&self.topic, &self.payload)
        }
    }
}

/// What has come so far.
#[derive(Default)]
struct Seen {
    qos: [u32; 3],
    large: Large,
    resumed: u32,
}

impl Seen {
    fn is_all(&self) -> bool {
        self.qos.iter().all(|&count| count > 0) && self.large.len == LARGE && self.resumed > 0
    }

    fn message(&mut self, message: &Message<'_>) -> Option<Reply> {
        if let Some(count) = self.qos.get_mut(usize::from(message.qos as u8)) {
            *count = count.saturating_add(1);
        }
        Reply::new(message.topic, message.payload, message.qos)
    }

    fn chunk(&mut self, chunk: &Chunk<'_>) -> Option<Reply> {
        if chunk.offset == 0 {
            self.large = Large::default();
        }
        self.large.add(chunk);
        if !chunk.is_last() {
            return None;
        }
        let mut sum = String::<64>::new();
        write!(sum, "{} {:08x}", self.large.len, self.large.sum).ok()?;
        Reply::new(chunk.topic, sum.as_bytes(), QoS::ExactlyOnce)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [qos_0, qos_1, qos_2] = self.qos;
        let Large { len, chunks, .. } = self.large;
        write!(
            f,
            "messages at QoS 0, 1, 2: {qos_0}, {qos_1}, {qos_2}; a message of {len} bytes in {chunks} chunks through \
             a buffer of {RX}; sessions resumed: {}",
            self.resumed
        )
    }
}

/// The message that is larger than the buffer: its length, and its checksum (FNV-1a).
struct Large {
    len: usize,
    chunks: u32,
    sum: u32,
}

impl Default for Large {
    fn default() -> Self {
        Self {
            len: 0,
            chunks: 0,
            sum: 0x811C_9DC5,
        }
    }
}

impl Large {
    fn add(&mut self, chunk: &Chunk<'_>) {
        self.len = self.len.saturating_add(chunk.bytes.len());
        self.chunks = self.chunks.saturating_add(1);
        for &byte in chunk.bytes {
            self.sum = (self.sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
}
