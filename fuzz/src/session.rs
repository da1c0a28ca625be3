//! Calls in any order, with any bytes, sizes and times. The session does not panic, and stays within its memory. Every
//! call ends. On each connection, the session writes a stream of valid packets that begins with a CONNECT.

use arbitrary::Arbitrary;
use umqtt::{
    Event, Instant, Message, Session, Storage, StreamedPublish,
    codec::{Connect, Credentials, PacketId, QoS, Will},
};

use super::wire::Wire;

type Memory = Storage<24, 96, 3, 2>;

#[derive(Arbitrary, Debug)]
pub enum Call<'a> {
    Connect {
        client: bool,
        clean: bool,
        keep_alive: u16,
        will: bool,
        user: bool,
    },
    Publish {
        topic: &'a str,
        payload: &'a [u8],
        qos: u8,
        retain: bool,
    },
    Subscribe(Vec<(&'a str, bool)>),
    Unsubscribe(Vec<&'a str>),
    Ping,
    Disconnect,
    ConnectionLost,
    /// The transport accepts this number of pending bytes.
    Write(u8),
    /// The transport accepts all pending bytes.
    Flush,
    /// These bytes are received.
    Read(&'a [u8]),
    /// These packets are received, as a server would send them.
    Serve(Served<'a>),
    /// More bytes are committed than there is space for.
    CommitTooMuch(u16),
    Poll,
    /// Polls without taking the event.
    PollOnly,
    PollAll,
    Pass(u32),
    Timeout(u32),
    DisconnectTimeout(u32),
    Checkpoints(bool),
    Save,
    Restore,
    RestoreBytes(&'a [u8]),
    BeginPayload {
        qos: u8,
        len: u8,
    },
    PayloadAgain {
        id: u16,
        len: u8,
    },
    PayloadSent(u8),
    PayloadCommit(u8),
    AbandonPayload,
    DeclinePayload(u16),
    ReadPayload(u8),
    SkipMessage,
}

#[derive(Arbitrary, Debug)]
pub enum Served<'a> {
    Connack(bool),
    Puback(u8),
    Pubrec(u8),
    Pubrel(u8),
    Pubcomp(u8),
    Suback(u8, u8),
    Unsuback(u8),
    Pingresp,
    Publish {
        id: u8,
        flags: u8,
        payload: &'a [u8],
    },
}

impl Served<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Served::Connack(present) => vec![0x20, 2, u8::from(*present), 0],
            Served::Puback(id) => vec![0x40, 2, 0, *id],
            Served::Pubrec(id) => vec![0x50, 2, 0, *id],
            Served::Pubrel(id) => vec![0x62, 2, 0, *id],
            Served::Pubcomp(id) => vec![0x70, 2, 0, *id],
            Served::Suback(id, code) => vec![0x90, 3, 0, *id, code % 3],
            Served::Unsuback(id) => vec![0xB0, 2, 0, *id],
            Served::Pingresp => vec![0xD0, 0],
            Served::Publish { id, flags, payload } => {
                let payload = &payload[..payload.len().min(100)];
                let id: &[u8] = if flags & 6 == 0 { &[] } else { &[0, *id] };
                let len = 3 + id.len() + payload.len();
                let header = [0x30 | (flags & 0xF), len as u8, 0, 1, b't'];
                [&header, id, payload].concat()
            }
        }
    }
}

struct World<'s, 'b> {
    session: &'s mut Session<'b>,
    now: Instant,
    wire: Wire,
    image: Vec<u8>,
}

impl World<'_, '_> {
    /// The transport accepts at most `limit` pending bytes. Returns `true` if it accepted any.
    fn write(&mut self, limit: usize) -> bool {
        let bytes = self.session.pending(self.now);
        let n = bytes.len().min(limit);
        self.wire.take(&bytes[..n], |_| {});
        self.session.consume(n, self.now);
        n > 0
    }

    /// Receives bytes. If there is no space for all of them, polls in between.
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.session.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.session.commit(n);
            bytes = &bytes[n..];
            if !bytes.is_empty() && !self.poll() && n == 0 {
                return;
            }
        }
    }

    /// Polls, and takes the event. Returns `true` if one was pending.
    fn poll(&mut self) -> bool {
        let Ok(Some(ready)) = self.session.poll(self.now) else {
            return false;
        };
        let completes = ready.completed_request();
        match self.session.event(ready) {
            Ok(Some(Event::CheckpointDue)) => self.save(),
            Ok(Some(Event::Puback(id) | Event::Pubcomp(id) | Event::Suback(id, _))) => {
                assert_eq!(completes, Some(id));
            }
            _ => {}
        }
        true
    }

    fn save(&mut self) {
        let mut image = [0; Memory::IMAGE_LEN];
        let saved = self.session.save(&mut image).expect("IMAGE_LEN is enough");
        self.image = image[..saved.len].to_vec();
    }

    /// Writes at most `n` payload bytes directly to the transport.
    fn payload_sent(&mut self, n: usize) {
        if self.session.has_pending() {
            return;
        }
        let n = n.min(self.session.payload_left());
        self.wire.take(&vec![b'x'; n], |_| {});
        self.session.payload_sent(n, self.now);
    }

    fn call(&mut self, call: &Call<'_>) {
        let session = &mut *self.session;
        match call {
            Call::Connect {
                client,
                clean,
                keep_alive,
                will,
                user,
            } => {
                let options = Connect {
                    clean_session: *clean,
                    keep_alive: *keep_alive,
                    will: will.then(|| Will::new("w", b"gone")),
                    credentials: user.then_some(Credentials {
                        user_name: "u",
                        password: Some(b"p"),
                    }),
                    ..Connect::new(if *client { "a" } else { "bb" })
                };
                if session.connect(&options, self.now).is_ok() {
                    self.wire = Wire::default();
                }
            }
            Call::Publish {
                topic,
                payload,
                qos,
                retain,
            } => {
                let message = Message {
                    qos: level(*qos),
                    retain: *retain,
                    ..Message::new(topic, payload)
                };
                let _ = session.publish(&message);
            }
            Call::Subscribe(filters) => {
                let level = |high| {
                    if high {
                        QoS::ExactlyOnce
                    } else {
                        QoS::AtMostOnce
                    }
                };
                let filters: Vec<_> = filters.iter().map(|(f, high)| (*f, level(*high))).collect();
                let _ = session.subscribe(&filters);
            }
            Call::Unsubscribe(filters) => {
                let _ = session.unsubscribe(filters);
            }
            Call::Ping => {
                let _ = session.ping();
            }
            Call::Disconnect => {
                let _ = session.disconnect();
            }
            Call::ConnectionLost => session.connection_lost(),
            Call::Write(limit) => {
                self.write(usize::from(*limit));
            }
            Call::Flush => self.flush(),
            Call::Read(bytes) => self.read(bytes),
            Call::Serve(served) => self.read(&served.bytes()),
            Call::CommitTooMuch(n) => session.commit(usize::from(*n)),
            Call::Poll => {
                self.poll();
            }
            Call::PollOnly => {
                let _ = session.poll(self.now);
            }
            Call::PollAll => self.poll_all(),
            Call::Pass(millis) => self.now = self.now.add_millis(*millis),
            Call::Timeout(millis) => session.set_response_timeout(*millis),
            Call::DisconnectTimeout(millis) => session.set_disconnect_timeout(*millis),
            Call::Checkpoints(on) => session.set_checkpoints(*on),
            Call::Save => self.save(),
            Call::Restore => {
                let restored = session.restore(&self.image);
                assert!(self.image.is_empty() || restored.is_ok(), "{restored:?}");
            }
            Call::RestoreBytes(bytes) => {
                let _ = session.restore(bytes);
            }
            Call::BeginPayload { qos, len } => {
                let message = StreamedPublish::New {
                    topic: "t",
                    qos: level(*qos),
                    retain: false,
                };
                let _ = session.begin_payload(message, usize::from(*len));
            }
            Call::PayloadAgain { id, len } => {
                if let Some(id) = session.payload_needed().or(PacketId::new(*id)) {
                    let _ = session.begin_payload(StreamedPublish::Resend(id), usize::from(*len));
                }
            }
            Call::PayloadSent(n) => self.payload_sent(usize::from(*n)),
            Call::PayloadCommit(n) => {
                session.payload_space().fill(b'y');
                session.payload_commit(usize::from(*n));
            }
            Call::AbandonPayload => session.abandon_payload(),
            Call::DeclinePayload(id) => {
                if let Some(id) = session.payload_needed().or(PacketId::new(*id)) {
                    let _ = session.discard_publish(id);
                }
            }
            Call::ReadPayload(n) => {
                session.read_payload(&mut vec![0; usize::from(*n)]);
            }
            Call::SkipMessage => session.skip_message(),
        }
        let _ = self.session.deadline();
        assert!(self.session.in_flight() <= 3);
    }

    fn flush(&mut self) {
        let mut writes = 0;
        while self.write(usize::MAX) {
            writes += 1;
            assert!(writes < 100, "the bytes never end");
        }
    }

    fn poll_all(&mut self) {
        let mut events = 0;
        while self.poll() {
            events += 1;
            assert!(events < 100, "the events never end");
        }
    }
}

fn level(qos: u8) -> QoS {
    QoS::try_from(qos % 3).expect("0, 1 and 2 are levels")
}

/// Makes these calls, in their order.
pub fn run(calls: &[Call<'_>]) {
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let mut world = World {
        session: &mut session,
        now: Instant::from_millis(u32::MAX - 1_000),
        wire: Wire::default(),
        image: Vec::new(),
    };
    for call in calls {
        world.call(call);
    }
    // In every case, the session has nothing more to do in the end.
    for _ in 0..100 {
        world.poll_all();
        world.flush();
    }
    assert!(!world.poll() && !world.write(1));
}
