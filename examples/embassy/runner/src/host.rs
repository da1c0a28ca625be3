//! A client of the broker, in this program.

use sha2::{Digest as _, Sha256};
use umqtt::{
    Chunk, Event, Message, Session, Storage, StreamedPublish,
    blocking::Client,
    codec::{Connect, QoS},
    std_io::{self, StdClock, TcpTransport},
};

use crate::{Result, broker, chip::Chip, wait_for};

/// Size of large messages, in bytes.
pub(crate) const LARGE: usize = 1 << 20;

/// Size of the firmware image, in bytes.
const IMAGE: usize = 100_000;

/// One connection, with its received messages.
pub(crate) struct Host {
    client: Client<'static, 'static, TcpTransport, StdClock>,
    received: Received,
}

#[derive(Default)]
struct Received {
    messages: Vec<Inbound>,
    large: Option<Random>,
}

/// A received message. The payload of a large one is checked, and not stored.
pub(crate) struct Inbound {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
}

impl Host {
    /// Connects and subscribes. The memory of a connection is never freed, because the program runs for a short time.
    pub(crate) fn connect(filter: &str) -> Result<Self> {
        let storage = Box::leak(Box::new(Storage::<4096, 4096, 16>::new()));
        let session = Box::leak(Box::new(Session::new(storage)));
        let transport = std_io::connect(broker::ADDRESS)?;
        let connect = Connect::new("runner");
        let mut client = Client::connect(session, transport, StdClock::new(), &connect)?;
        let mut received = Received::default();
        let codes = client.subscribe_and_wait(&[(filter, QoS::ExactlyOnce)], |event, _| {
            received.take(&event);
        })?;
        if !codes.all_granted() {
            return Err("the broker refused the subscription".into());
        }
        Ok(Self { client, received })
    }

    /// Publishes, and waits until the broker has acknowledged.
    pub(crate) fn send(&mut self, topic: &str, payload: &[u8], qos: QoS) -> Result<()> {
        let message = Message {
            qos,
            ..Message::new(topic, payload)
        };
        let received = &mut self.received;
        Ok(self
            .client
            .publish_and_wait(&message, |event, _| received.take(&event))?)
    }

    /// Publishes a large message of random bytes at QoS 2.
    pub(crate) fn send_large(&mut self, topic: &str) -> Result<()> {
        self.send_slices(topic, &[&random(LARGE)], QoS::ExactlyOnce)
    }

    /// Publishes the SHA-256 and the firmware image, at QoS 1. The broker then needs no answer of this client to
    /// forward it.
    pub(crate) fn send_firmware(&mut self, topic: &str) -> Result<()> {
        let image = random(IMAGE);
        self.send_slices(topic, &[&Sha256::digest(&image), &image], QoS::AtLeastOnce)
    }

    fn send_slices(&mut self, topic: &str, payload: &[&[u8]], qos: QoS) -> Result<()> {
        let message = StreamedPublish::New {
            topic,
            qos,
            retain: false,
        };
        let received = &mut self.received;
        self.client
            .publish_slices(message, payload, |event, _| received.take(&event))?;
        Ok(())
    }

    /// Waits for a message on this topic, and takes it.
    pub(crate) fn receive(&mut self, topic: &str, chip: &mut Chip) -> Result<Inbound> {
        wait_for(&format!("a message on {topic}"), || {
            while let Some(event) = self.client.poll()? {
                self.received.take(&event);
            }
            let messages = &mut self.received.messages;
            let found = messages.iter().position(|message| message.topic == topic);
            if found.is_none() {
                chip.is_running()?;
            }
            Ok(found.map(|at| messages.remove(at)))
        })
    }

    /// Drops the received messages that were not taken.
    pub(crate) fn forget_received(&mut self) {
        self.received.messages.clear();
    }

    /// Returns the number of received messages on this topic that were not taken.
    pub(crate) fn count(&self, topic: &str) -> usize {
        let messages = self.received.messages.iter();
        messages.filter(|message| message.topic == topic).count()
    }
}

impl Received {
    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Message(message) => self.messages.push(Inbound {
                topic: message.topic.to_owned(),
                payload: message.payload.to_vec(),
                qos: message.qos,
            }),
            Event::Chunk(chunk) => self.take_chunk(chunk),
            _ => {}
        }
    }

    fn take_chunk(&mut self, chunk: &Chunk<'_>) {
        if chunk.offset == 0 {
            self.large = Some(Random(1));
        }
        let is_right = self
            .large
            .as_mut()
            .is_some_and(|random| chunk.bytes.iter().all(|&byte| byte == random.byte()));
        if !is_right {
            self.large = None;
        } else if chunk.is_last() && chunk.total == LARGE {
            self.messages.push(Inbound {
                topic: chunk.topic.to_owned(),
                payload: Vec::new(),
                qos: QoS::ExactlyOnce,
            });
        }
    }
}

fn random(len: usize) -> Vec<u8> {
    let mut random = Random(1);
    (0..len).map(|_| random.byte()).collect()
}

/// A generator of the bytes of large messages. `check` has the same one.
pub(crate) struct Random(u32);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.to_be_bytes()[0]
    }
}
