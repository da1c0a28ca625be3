//! A day of a device under a virtual clock that wraps at noon. There are messages in both directions at every QoS,
//! packet ids that wrap many times, quiet times with only keep alive, and cut connections.

use std::collections::{HashSet, VecDeque};

use fastrand::Rng;
use umqtt::{
    Event, Instant, Message, RequestError, Session, Storage,
    codec::{
        Connack, Connect, Delivery, Packet, PacketId, Puback, Pubcomp, Publish, Pubrec, Pubrel,
        QoS, Suback, SubackReturnCode, TopicName,
    },
};

type Memory = Storage<128, 512, 8, 8>;

const SECOND: u32 = 1_000;
const DAY: u32 = 86_400;
const KEEP_ALIVE: u16 = 30;
/// Number of messages in each direction in a second that is not quiet.
const RATE: u32 = 8;
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The received messages of one QoS, which are numbered.
#[derive(Default)]
struct Arrivals {
    next: u32,
    repeated: u32,
}

impl Arrivals {
    fn record_received(&mut self, qos: QoS, number: u32) {
        match qos {
            // It may be lost with its connection.
            QoS::AtMostOnce => assert!(number >= self.next, "{number} was received again at QoS 0"),
            QoS::AtLeastOnce => {
                assert!(number <= self.next, "{} was lost at QoS 1", self.next);
                self.repeated += u32::from(number < self.next);
            }
            QoS::ExactlyOnce => assert_eq!(number, self.next, "at QoS 2"),
        }
        self.next = self.next.max(number + 1);
    }
}

/// A message that the server has sent and that is not acknowledged.
struct Sent {
    id: PacketId,
    qos: QoS,
    number: u32,
    received: bool,
}

/// The server, which always keeps its session.
#[derive(Default)]
struct Server {
    unread: Vec<u8>,
    answers: Vec<u8>,
    known: bool,
    /// Ids of QoS 2 messages that were received and not released.
    ids: HashSet<PacketId>,
    arrivals: [Arrivals; 3],
    /// The next number for each QoS.
    numbers: [u32; 3],
    sent: VecDeque<Sent>,
    last_id: u16,
    /// Time of the last received packet, in ms of this day.
    heard: u32,
    pings: u32,
    ids_used: u32,
}

impl Server {
    fn say(&mut self, packet: &Packet<'_>) {
        let mut buffer = [0; 128];
        self.answers
            .extend_from_slice(packet.encode(&mut buffer).unwrap());
    }

    fn record_bytes(&mut self, bytes: &[u8], now: u32) {
        self.unread.extend_from_slice(bytes);
        let unread = core::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        while let Some((packet, used)) = Packet::decode(rest).unwrap() {
            // [MQTT-3.1.2-23] The client is not silent for longer than the keep alive.
            let silence = now - self.heard;
            assert!(
                silence <= u32::from(KEEP_ALIVE) * SECOND,
                "silent for {silence} ms"
            );
            self.heard = now;
            self.packet(&packet);
            rest = &rest[used..];
        }
        self.unread = rest.to_vec();
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(_) => self.resume(),
            Packet::Subscribe(subscribe) => {
                let codes = [SubackReturnCode::Granted(QoS::ExactlyOnce)];
                self.say(&Packet::Suback(
                    Suback::new(subscribe.packet_id(), &codes).unwrap(),
                ));
            }
            Packet::Pingreq => {
                self.pings += 1;
                self.say(&Packet::Pingresp);
            }
            Packet::Publish(publish) => self.publish(publish),
            Packet::Pubrel(ack) => {
                self.ids.remove(&ack.packet_id);
                self.say(&Packet::Pubcomp(Pubcomp::new(ack.packet_id)));
            }
            Packet::Pubrec(ack) => {
                let sent = self.sent.iter_mut().find(|sent| sent.id == ack.packet_id);
                sent.unwrap().received = true;
                self.say(&Packet::Pubrel(Pubrel::new(ack.packet_id)));
            }
            Packet::Puback(Puback { packet_id }) | Packet::Pubcomp(Pubcomp { packet_id }) => {
                self.sent.retain(|sent| sent.id != *packet_id);
            }
            other => panic!("{other:?}"),
        }
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        let number = u32::from_be_bytes(publish.payload.try_into().unwrap());
        let qos = publish.delivery.qos();
        let arrivals = &mut self.arrivals[usize::from(qos as u8)];
        match publish.delivery {
            Delivery::AtMostOnce => arrivals.record_received(qos, number),
            Delivery::AtLeastOnce { packet_id, .. } => {
                arrivals.record_received(qos, number);
                self.say(&Packet::Puback(Puback::new(packet_id)));
            }
            Delivery::ExactlyOnce { packet_id, .. } => {
                if self.ids.insert(packet_id) {
                    arrivals.record_received(qos, number);
                }
                self.say(&Packet::Pubrec(Pubrec::new(packet_id)));
            }
        }
    }

    fn resume(&mut self) {
        let session_present = core::mem::replace(&mut self.known, true);
        self.say(&Packet::Connack(Connack::Accepted { session_present }));
        for sent in core::mem::take(&mut self.sent) {
            if sent.received {
                self.say(&Packet::Pubrel(Pubrel::new(sent.id)));
            } else {
                self.say_message(sent.qos, sent.number, sent.id, true);
            }
            self.sent.push_back(sent);
        }
    }

    /// Sends a message to the device, if few enough are in flight.
    fn offer(&mut self, qos: QoS) {
        if self.sent.len() >= 8 {
            return;
        }
        let place = &mut self.numbers[usize::from(qos as u8)];
        let number = *place;
        *place += 1;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = PacketId::new(self.last_id).unwrap();
        assert!(self.sent.iter().all(|sent| sent.id != id));
        if qos > QoS::AtMostOnce {
            self.ids_used += 1;
            let received = false;
            self.sent.push_back(Sent {
                id,
                qos,
                number,
                received,
            });
        }
        self.say_message(qos, number, id, false);
    }

    fn say_message(&mut self, qos: QoS, number: u32, packet_id: PacketId, dup: bool) {
        let payload = number.to_be_bytes();
        let topic = TopicName::new("down").unwrap();
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        };
        self.say(&Packet::Publish(Publish {
            delivery,
            ..Publish::new(topic, &payload)
        }));
    }

    /// Closes the connection, and loses the packets in transit.
    fn cut(&mut self) {
        self.unread.clear();
        self.answers.clear();
    }
}

/// The device, and the time of its day.
struct Day<'s, 'b> {
    session: &'s mut Session<'b>,
    server: Server,
    rng: Rng,
    /// Milliseconds since midnight. The clock of the device wraps at noon.
    now: u32,
    numbers: [u32; 3],
    arrivals: [Arrivals; 3],
    acknowledged: u32,
    ids_used: u32,
    cuts: u32,
}

impl Day<'_, '_> {
    fn instant(&self) -> Instant {
        Instant::from_millis(self.now.wrapping_sub(DAY / 2 * SECOND))
    }

    fn connect(&mut self) {
        let options = Connect {
            clean_session: false,
            keep_alive: KEEP_ALIVE,
            ..Connect::new("day")
        };
        self.session.connect(&options, self.instant()).unwrap();
        self.server.heard = self.now;
        self.exchange();
        assert!(self.session.is_connected());
    }

    /// Moves packets in both directions until neither side has any.
    fn exchange(&mut self) {
        while self.send() | self.receive() {}
    }

    fn send(&mut self) -> bool {
        let now = self.instant();
        let pending = self.session.pending(now).to_vec();
        // A packet may be received in two pieces.
        let n = self.rng.usize(pending.len().min(1)..=pending.len());
        self.session.consume(n, now);
        self.server.record_bytes(&pending[..n], self.now);
        !pending.is_empty()
    }

    fn receive(&mut self) -> bool {
        while let Some(ready) = self.session.poll(self.instant()).unwrap() {
            match self.session.event(ready).unwrap() {
                Some(Event::Message(message)) => {
                    let number = u32::from_be_bytes(message.payload.try_into().unwrap());
                    self.arrivals[usize::from(message.qos as u8)]
                        .record_received(message.qos, number);
                }
                Some(Event::Puback(_) | Event::Pubcomp(_)) => self.acknowledged += 1,
                Some(Event::Connected {
                    unknown_session, ..
                }) => assert!(!unknown_session),
                Some(Event::Qos0Dropped(_) | Event::Suback(..)) => {}
                other => panic!("{other:?}"),
            }
        }
        let answers = &mut self.server.answers;
        let space = self.session.space();
        let n = answers.len().min(space.len());
        for (place, byte) in space.iter_mut().zip(answers.drain(..n)) {
            *place = byte;
        }
        self.session.commit(n);
        n > 0
    }

    fn publish(&mut self, qos: QoS) {
        let place = usize::from(qos as u8);
        let payload = self.numbers[place].to_be_bytes();
        match self.session.publish(&Message {
            qos,
            ..Message::new("up", &payload)
        }) {
            Ok(id) => {
                self.numbers[place] += 1;
                self.ids_used += u32::from(id.is_some());
            }
            Err(RequestError::InflightFull { .. } | RequestError::SendBufferFull { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn second(&mut self, second: u32) {
        // The first ten minutes of each hour are quiet.
        if second % 3_600 >= 600 {
            for turn in 0..RATE {
                let qos = QOS[(turn % 3) as usize];
                self.publish(qos);
                self.server.offer(qos);
                if turn % 4 == 3 {
                    self.exchange();
                }
            }
        }
        if self.rng.u32(..600) == 0 {
            self.cut();
        }
        self.exchange();
        self.now += SECOND;
    }

    /// Breaks the connection at any byte in transit, and opens it again.
    fn cut(&mut self) {
        for _ in 0..self.rng.u32(..4) {
            if self.rng.bool() {
                self.send()
            } else {
                self.receive()
            };
        }
        self.session.connection_lost();
        self.server.cut();
        self.cuts += 1;
        self.connect();
    }
}

#[test]
fn day_with_faults_keeps_all_rules() {
    let seed = std::env::var("DAY_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("DAY_SEED={seed}");
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    let mut day = Day {
        session: &mut session,
        server: Server::default(),
        rng: Rng::with_seed(seed),
        now: 0,
        numbers: [0; 3],
        arrivals: Default::default(),
        acknowledged: 0,
        ids_used: 0,
        cuts: 0,
    };
    day.connect();
    day.session
        .subscribe(&[("down", QoS::ExactlyOnce)])
        .unwrap();
    day.exchange();
    for second in 0..DAY {
        day.second(second);
    }
    day.exchange();
    println!(
        "{:?} sent, {:?} received, {} cuts, {} pings, {} and {} packet ids used",
        day.numbers,
        day.server.numbers,
        day.cuts,
        day.server.pings,
        day.ids_used,
        day.server.ids_used
    );
    for (place, sent) in day.numbers.into_iter().enumerate().skip(1) {
        assert_eq!(day.server.arrivals[place].next, sent);
        assert_eq!(day.arrivals[place].next, day.server.numbers[place]);
    }
    assert_eq!(day.acknowledged, day.ids_used);
    assert_eq!(day.session.in_flight(), 0);
    assert!(day.server.ids.is_empty() && day.server.sent.is_empty());
    assert!(
        day.ids_used > 4 * 65_535 && day.server.ids_used > 4 * 65_535,
        "the ids wrap"
    );
    assert!(day.cuts > 50 && day.server.pings > 24 * 600 / 30 / 2);
}
