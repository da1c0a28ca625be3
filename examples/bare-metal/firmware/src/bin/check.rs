//! The test program of CI on each machine, with `runner` at the other end of the line. It answers each message with its
//! payload, and a large one with its checksum. Its session survives a restart of the broker.
#![no_std]
#![no_main]

use firmware::{Serial, machine::entry};
use semihosting::println;
use umqtt::{
    Chunk, Config, Event, Message, Publisher, RequestError, Storage,
    blocking::Device,
    codec::{Connect, QoS},
};

const LARGE: usize = 65_536;

/// A serial line has no end of stream. A lost connection is detected after at most the sum of these two times.
const KEEP_ALIVE_S: u16 = 3;
const RESPONSE_TIMEOUT_MS: u32 = 4_000;

#[entry]
fn main() -> ! {
    firmware::run(|timer| {
        let mut storage = Storage::<512, 512, 8>::new();
        let mut config = Config::new(Connect::new("check"));
        config.connect.clean_session = false;
        config.connect.keep_alive = KEEP_ALIVE_S;
        config.subscriptions = &[("check/to", QoS::ExactlyOnce)];
        let Ok(mut device) = Device::new(&mut storage, &timer, &config) else {
            return false;
        };
        device.session().set_response_timeout(RESPONSE_TIMEOUT_MS);
        let mut seen = Seen::default();
        while !seen.last {
            let dialled = device.dial(|| Serial::open(&timer));
            let served = device.serve(1_000, |event, publisher| {
                if let Err(error) = seen.handle(&event, publisher) {
                    println!("not answered: {error}");
                }
            });
            if let Err(error) = dialled.and(served) {
                println!("{error}");
            }
        }
        println!("{seen:?}");
        device.shut_down(|_, _| {}).is_ok() && seen.is_all()
    })
}

/// The messages received so far.
#[derive(Debug, Default)]
struct Seen {
    /// Number of messages at each QoS.
    qos: [u32; 3],
    /// Length of the last large message.
    large: usize,
    /// Number of its chunks.
    chunks: u32,
    /// Checksum of that message (FNV-1a).
    sum: u32,
    /// Number of connections on which the broker had kept the session.
    resumed: u32,
    /// The message that ends the run was received.
    last: bool,
}

impl Seen {
    fn is_all(&self) -> bool {
        self.qos.iter().all(|&count| count > 0) && self.large == LARGE && self.resumed > 0
    }

    /// Answers a message with its payload, and a large one with its length and checksum.
    fn handle(
        &mut self,
        event: &Event<'_>,
        publisher: &mut Publisher<'_, '_>,
    ) -> Result<(), RequestError> {
        match event {
            Event::Connected {
                session_present: true,
                ..
            } => self.resumed = self.resumed.saturating_add(1),
            Event::Message(message) if message.payload == b"last" => self.last = true,
            Event::Message(message) => {
                if let Some(count) = self.qos.get_mut(usize::from(message.qos as u8)) {
                    *count = count.saturating_add(1);
                }
                let topic = "check/from";
                publisher.publish(&Message { topic, ..*message })?;
            }
            Event::Chunk(chunk) => {
                self.add(chunk);
                if chunk.is_last() {
                    let answer = (u64::from(self.sum) << 32 | self.large as u64).to_be_bytes();
                    let mut message = Message::new("check/from", &answer);
                    message.qos = QoS::ExactlyOnce;
                    publisher.publish(&message)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, chunk: &Chunk<'_>) {
        if chunk.offset == 0 {
            (self.large, self.chunks, self.sum) = (0, 0, 0x811C_9DC5);
        }
        self.large = self.large.saturating_add(chunk.bytes.len());
        self.chunks = self.chunks.saturating_add(1);
        for &byte in chunk.bytes {
            self.sum = (self.sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
}
