//! Suspicions, one test each: each FAILS where the library misbehaves.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::blocking::Client;
use umqtt::client::Error;
use umqtt::codec::{Connect, ConnectReturnCode, PacketId, QoS};
use umqtt::{Clock, Event, Instant, Message, ProtocolError, Session, Storage, StreamedPublish};

fn at(ms: u32) -> Instant {
    Instant::from_millis(ms)
}
fn opts() -> Connect<'static> {
    Connect {
        clean_session: false,
        keep_alive: 0,
        ..Connect::new("c")
    }
}
const CONNACK0: &[u8] = &[0x20, 2, 0, 0];
const CONNACK1: &[u8] = &[0x20, 2, 1, 0];

fn publish(qos: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![(topic.len() >> 8) as u8, topic.len() as u8];
    body.extend(topic.as_bytes());
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend(payload);
    let mut out = vec![0x30 | qos << 1];
    let mut n = body.len();
    loop {
        let b = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            out.push(b);
            break;
        }
        out.push(b | 0x80);
    }
    out.extend(body);
    out
}

fn send_all(s: &mut Session<'_>, now: u32) -> Vec<u8> {
    let mut out = vec![];
    loop {
        let p = s.pending(at(now)).to_vec();
        if p.is_empty() {
            return out;
        }
        out.extend(&p);
        s.consume(p.len(), at(now));
    }
}
/// Feeds all bytes, polling and sending in between; events as text.
fn feed(
    s: &mut Session<'_>,
    mut bytes: &[u8],
    now: u32,
    out: &mut Vec<u8>,
) -> Result<Vec<String>, ProtocolError> {
    let mut events = vec![];
    loop {
        loop {
            match s.poll(at(now))? {
                Some(r) => {
                    if let Some(e) = s.event(r)? {
                        events.push(format!("{e:?}"))
                    }
                }
                None => break,
            }
            out.extend(send_all(s, now));
        }
        out.extend(send_all(s, now));
        if bytes.is_empty() {
            match s.poll(at(now))? {
                None => return Ok(events),
                Some(r) => {
                    if let Some(e) = s.event(r)? {
                        events.push(format!("{e:?}"))
                    };
                    continue;
                }
            }
        }
        let space = s.space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        s.commit(n);
    }
}

/// D1: a long QoS 2 message in front of the PUBRELs that would make room: reconnecting makes no progress, ever.
#[test]
fn d01_long_qos2_before_pubrel_livelocks() {
    let mut storage = Storage::<32, 128, 2, 1>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    out.extend(send_all(&mut s, 0));
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let ev = feed(&mut s, &publish(2, 1, "t", b"first"), 0, &mut out).unwrap();
    assert_eq!(ev.len(), 1);
    // The line is cut here; PUBREC 1 has arrived. On each connection the server repeats what it owes: PUBLISH 2 and PUBREL 1.
    let mut again = CONNACK1.to_vec();
    again.extend(publish(2, 2, "t", &[b'x'; 100]));
    again.extend([0x62, 2, 0, 1]);
    let mut reasons = vec![];
    for n in 0..50 {
        s.connect(&opts(), at(n)).unwrap();
        out.clear();
        out.extend(send_all(&mut s, n));
        match feed(&mut s, &again, n, &mut out) {
            Ok(events) => {
                println!("progress on connection {n}: {events:?}");
                return;
            }
            Err(e) => reasons.push(e),
        }
    }
    panic!("no progress in 50 connections: {:?}", reasons.last());
}

/// D2: PUBREL counts as sent when it is queued: behind a payload that takes longer than the response timeout (and moves
/// all the time) a healthy connection ends with RequestTimeout.
#[test]
fn d02_pubrel_waits_in_the_lane_and_times_out() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let id = s
        .publish(&Message {
            qos: QoS::ExactlyOnce,
            ..Message::new("a", b"1")
        })
        .unwrap()
        .unwrap();
    send_all(&mut s, 0);
    s.begin_payload(StreamedPublish::new("big"), 100_000)
        .unwrap();
    let mut now = 10;
    send_all(&mut s, now);
    assert_eq!(s.payload_left(), 100_000);
    s.payload_sent(1000, at(now));
    // PUBREC comes at once.
    out.clear();
    feed(&mut s, &[0x50, 2, 0, id.get() as u8], now, &mut out).unwrap();
    // 1 KB each 200 ms: 20 s.
    while s.payload_left() > 0 {
        now += 200;
        s.payload_sent(1000, at(now));
        if let Err(e) = s.poll(at(now)) {
            panic!("at {now} ms, {} bytes left: {e:?}", s.payload_left())
        }
    }
}

/// D3: a PUBACK behind a packet that fits into the buffer and comes slowly: the connection ends, again and again.
#[test]
fn d03_an_answer_behind_a_slow_packet_that_fits() {
    for rx in [64usize, 4096] {
        let mut small = Storage::<64, 256, 4>::new();
        let mut large = Storage::<4096, 256, 4>::new();
        let mut s = if rx == 64 {
            Session::new(&mut small)
        } else {
            Session::new(&mut large)
        };
        let mut now = 0;
        s.connect(&opts(), at(now)).unwrap();
        let mut delivered = false;
        let mut result = Ok(());
        for _connection in 0..20 {
            s.connect(&opts(), at(now)).unwrap();
            send_all(&mut s, now);
            let mut out = vec![];
            feed(&mut s, CONNACK1, now, &mut out).unwrap();
            if s.in_flight() == 0 {
                s.publish(&Message {
                    qos: QoS::AtLeastOnce,
                    ..Message::new("a", b"1")
                })
                .unwrap();
            }
            send_all(&mut s, now);
            // 3,000 bytes at 200 bytes/s: 15 s; then PUBACK.
            let mut bytes = publish(1, 9, "t", &[b'x'; 3000]);
            bytes.extend([0x40, 2, 0, 1]);
            result = Ok(());
            for chunk in bytes.chunks(20) {
                now += 100;
                match feed(&mut s, chunk, now, &mut out) {
                    Ok(events) => delivered |= events.iter().any(|e| e.contains("Puback")),
                    Err(e) => {
                        result = Err(e);
                        break;
                    }
                }
            }
            if delivered {
                break;
            }
        }
        assert!(delivered, "RX {rx}: never in 20 connections: {result:?}");
    }
}

// ---------------------------------------------------------------- clients

#[derive(Default)]
struct Net {
    rx: RefCell<VecDeque<u8>>,
    eof: Cell<bool>,
    now: Cell<u32>,
    tick: Cell<u32>,
    tx: RefCell<Vec<u8>>,
    room: Cell<usize>,
    flush_pending: Cell<bool>,
    later: RefCell<Vec<(u32, Vec<u8>)>>,
}
impl Net {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            room: Cell::new(usize::MAX),
            ..Self::default()
        })
    }
    fn put(&self, b: &[u8]) {
        self.rx.borrow_mut().extend(b)
    }
    fn due(&self) {
        let now = self.now.get();
        let mut later = self.later.borrow_mut();
        while let Some(at) = later.iter().position(|(t, _)| *t <= now) {
            let (_, b) = later.remove(at);
            self.put(&b);
        }
    }
}
struct Line(Rc<Net>);
impl ErrorType for Line {
    type Error = ErrorKind;
}
impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buf.is_empty());
        let mut rx = self.0.rx.borrow_mut();
        let n = buf.len().min(rx.len());
        for b in &mut buf[..n] {
            *b = rx.pop_front().unwrap()
        }
        Ok(n)
    }
}
impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        self.0.due();
        Ok(!self.0.rx.borrow().is_empty() || self.0.eof.get())
    }
}
impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let n = buf.len().min(self.0.room.get());
        self.0.tx.borrow_mut().extend(&buf[..n]);
        self.0.room.set(self.0.room.get() - n);
        Ok(n)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        if self.0.flush_pending.get() {
            Err(ErrorKind::TimedOut)
        } else {
            Ok(())
        }
    }
}
impl WriteReady for Line {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.0.room.get() > 0)
    }
}
#[derive(Clone)]
struct Watch(Rc<Net>);
impl Clock for Watch {
    fn now(&self) -> Instant {
        let n = self.0.now.get();
        self.0.now.set(n + self.0.tick.get());
        at(n)
    }
    fn idle(&self) {
        self.0.now.set(self.0.now.get() + 10)
    }
}

/// D4: the caller comes late; CONNACK "not authorized" and the end of the stream have come meanwhile.
#[test]
fn d04_a_refusal_before_the_end_of_the_stream_seen_late() {
    for late in [0, 9_000, 11_000] {
        let net = Net::new();
        let mut storage = Storage::<128, 256, 4>::new();
        let mut s = Session::new(&mut storage);
        let mut c = Client::open(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
        assert!(c.poll().unwrap().is_none());
        net.put(&[0x20, 2, 0, 5]);
        net.eof.set(true);
        net.now.set(late);
        let e = loop {
            match c.poll() {
                Ok(_) => {}
                Err(e) => break e,
            }
        };
        assert_eq!(
            e,
            Error::Protocol(ProtocolError::Refused(ConnectReturnCode::NotAuthorized)),
            "{late} ms late"
        );
    }
}

/// D4b: messages (and a PUBACK) that came before the end of the stream are not shown to a caller who comes after the response timeout.
#[test]
fn d04b_messages_before_the_end_of_the_stream_seen_late() {
    for late in [0, 9_000, 11_000] {
        let net = Net::new();
        let mut storage = Storage::<128, 256, 4>::new();
        let mut s = Session::new(&mut storage);
        net.put(CONNACK0);
        let mut c =
            Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
        assert!(c.poll().unwrap().is_none());
        net.put(&publish(0, 0, "t", b"one"));
        net.put(&publish(0, 0, "t", b"two"));
        net.eof.set(true);
        net.now.set(net.now.get() + late);
        let mut seen = 0;
        while let Ok(e) = c.poll() {
            if let Some(Event::Message(_)) = e {
                seen += 1
            }
        }
        assert_eq!(seen, 2, "{late} ms late");
    }
}

/// D5: an answer that has come in time, behind more packets without an event than the buffer holds, and a caller who comes late.
#[test]
fn d05_an_answer_in_time_behind_quiet_packets() {
    let net = Net::new();
    let mut storage = Storage::<16, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    let id = c
        .publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("a", b"1")
        })
        .unwrap()
        .unwrap();
    for n in 100..106 {
        net.put(&[0x62, 2, 0, n]);
    } // PUBRELs
    net.put(&[0x40, 2, 0, id.get() as u8]);
    net.now.set(11_000);
    assert_eq!(
        c.recv().map(|e| format!("{e:?}")),
        Ok(format!("{:?}", Event::Puback(id)))
    );
}

/// D6: checkpoints on: after a publish, `deadline` tells the caller to sleep for ever (or past the keep alive).
#[test]
fn d06_deadline_with_a_checkpoint_owed() {
    let net = Net::new();
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    s.set_checkpoints(true);
    net.put(CONNACK0);
    let options = Connect {
        keep_alive: 30,
        ..opts()
    };
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &options).unwrap();
    while c.poll().unwrap().is_some() {}
    c.publish(&Message {
        qos: QoS::AtLeastOnce,
        ..Message::new("a", b"1")
    })
    .unwrap();
    println!("deadline {:?}", c.deadline());
    let tx = net.tx.borrow().len();
    // A super-loop that sleeps until the deadline, or 60 s when there is none.
    let until = c.deadline().map_or(60_000, |d| d.as_millis());
    assert!(
        until <= 30_000,
        "sleeps until {until}, keep alive is 30 s, and {} bytes of the publish have left",
        net.tx.borrow().len() - tx
    );
}

/// D6c: a second packet lies in the receive buffer: deadline does not say so.
#[test]
fn d06c_deadline_with_a_packet_in_the_buffer() {
    let net = Net::new();
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    assert!(c.poll().unwrap().is_none());
    net.put(&publish(0, 0, "t", b"one"));
    net.put(&publish(0, 0, "t", b"two"));
    assert!(matches!(c.recv(), Ok(Event::Message(_))));
    assert!(net.rx.borrow().is_empty());
    assert!(
        c.deadline().is_some(),
        "a whole message lies in the buffer, the transport has nothing, and the deadline is never"
    );
}

/// D7: the clock ticks between the look for late answers and the check of the deadlines.
#[test]
fn d07_the_clock_ticks_within_a_round() {
    let mut failures = vec![];
    for start in 9_980..10_000 {
        let net = Net::new();
        let mut storage = Storage::<128, 256, 4>::new();
        let mut s = Session::new(&mut storage);
        net.put(CONNACK0);
        let mut c =
            Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
        let id = c
            .publish(&Message {
                qos: QoS::AtLeastOnce,
                ..Message::new("a", b"1")
            })
            .unwrap()
            .unwrap();
        net.put(&[0x40, 2, 0, id.get() as u8]); // has come long ago
        net.now.set(start);
        net.tick.set(1);
        if let Err(e) = c.recv().map(|e| format!("{e:?}")) {
            failures.push((start, e))
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

/// D8: after the last byte of a payload nothing is read while the transport flushes: an answer in time counts as late.
#[test]
fn d08_after_the_last_byte_nothing_is_read() {
    let net = Net::new();
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    let id = c
        .publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("a", b"1")
        })
        .unwrap()
        .unwrap();
    let start = net.now.get();
    // PUBACK comes 1 s later; the payload goes at 500 ms; the flush ends never within the response timeout of the first.
    net.later
        .borrow_mut()
        .push((start + 1_000, vec![0x40, 2, 0, id.get() as u8]));
    net.now.set(start + 500);
    net.flush_pending.set(true);
    let r = c.publish_slices(StreamedPublish::new("big"), &[&[1; 500]], |_| {});
    println!("{r:?} at {}", net.now.get());
    // The stuck flush alone would end it 10 s after the last write (10.5 s), with WriteTimeout.
    assert_eq!(r, Err(Error::Protocol(ProtocolError::WriteTimeout)));
}

/// D9: poll has nothing to tell, and space is empty: a read into it looks like the end of the stream.
#[test]
fn d09_space_is_empty_after_poll_had_nothing() {
    let mut storage = Storage::<16, 128, 2>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let bytes: Vec<u8> = (1..20u16).flat_map(|id| publish(1, id, "t", b"")).collect();
    let mut rest = &bytes[..];
    // The transport takes nothing at present.
    for _ in 0..30 {
        while let Some(r) = s.poll(at(0)).unwrap() {
            s.event(r).unwrap();
        }
        let _ = s.pending(at(0));
        let space = s.space();
        assert!(!space.is_empty(), "poll said None");
        let n = space.len().min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        s.commit(n);
    }
}

/// D10: the caller was away for longer than the window; the peer could not send more than the transport buffers.
#[test]
fn d10_too_slow_because_the_caller_was() {
    let net = Net::new();
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    let big = publish(0, 0, "t", &[7; 50_000]);
    net.put(&big[..100]);
    assert!(matches!(c.recv(), Ok(Event::Chunk(_))));
    assert!(c.poll().unwrap().is_none()); // all that has come is seen; a window begins
    // The caller erases flash for 15 s; meanwhile the transport has filled its 4 KiB.
    net.put(&big[100..4196]);
    net.now.set(net.now.get() + 15_000);
    loop {
        match c.poll() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(e) => panic!("{e:?}"),
        }
    }
}

/// D11: the server forgot the session, and the CONNACK that says so is lost. The next says "session present": nobody is told, and a
/// new QoS 2 message is taken for a repetition.
#[test]
fn d11_connack_with_session_present_0_is_lost() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let ev = feed(&mut s, &publish(2, 1, "t", b"old"), 0, &mut out).unwrap();
    assert_eq!(ev.len(), 1);
    // Cut before PUBREL. The server loses its memory; the next CONNECT makes a new session, whose CONNACK is lost.
    s.connect(&opts(), at(1)).unwrap();
    send_all(&mut s, 1);
    s.connection_lost();
    // The third connection finds that new session; a new message comes, with the first id of a new session.
    s.connect(&opts(), at(2)).unwrap();
    send_all(&mut s, 2);
    let ev = feed(&mut s, CONNACK1, 2, &mut out).unwrap();
    println!("{ev:?}");
    let told = ev
        .iter()
        .any(|e| e.contains("session_present: false") || e.contains("unknown_session: true"));
    let new = feed(&mut s, &publish(2, 1, "t", b"new"), 2, &mut out).unwrap();
    println!("{new:?}");
    assert!(told, "the caller was not told");
    assert!(!new.is_empty(), "a new message was swallowed");
}

/// D12: a declined QoS 2 payload takes its slot for ever while the server keeps the session.
#[test]
fn d12_declined_takes_its_slot_for_ever() {
    let mut storage = Storage::<128, 256, 1>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let id = s
        .begin_payload(
            StreamedPublish::New {
                topic: "t",
                qos: QoS::ExactlyOnce,
                retain: false,
            },
            1000,
        )
        .unwrap()
        .unwrap();
    // Not a byte of it leaves.
    s.connect(&opts(), at(1)).unwrap();
    send_all(&mut s, 1);
    let ev = feed(&mut s, CONNACK1, 1, &mut out).unwrap();
    println!("{ev:?}");
    s.decline_payload(id).unwrap();
    for n in 2..20 {
        s.connect(&opts(), at(n)).unwrap();
        send_all(&mut s, n);
        feed(&mut s, CONNACK1, n, &mut out).unwrap();
        if s.publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("a", b"")
        })
        .is_ok()
        {
            return;
        }
    }
    panic!(
        "{:?}",
        s.publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("a", b"")
        })
    );
}

/// D13: a stale token redeems another event.
#[test]
fn d13_a_stale_token() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let mut b = publish(0, 0, "t", b"one");
    b.extend(publish(0, 0, "t", b"two"));
    s.space()[..b.len()].copy_from_slice(&b);
    s.commit(b.len());
    let first = s.poll(at(0)).unwrap().unwrap();
    let same = s.poll(at(0)).unwrap().unwrap();
    assert!(s.event(first).unwrap().is_some());
    let _second = s.poll(at(0)).unwrap().unwrap();
    assert_eq!(s.event(same).unwrap(), None, "has been redeemed");
}

/// D14: README: 128 bytes are enough for any message if they hold the topic and nine bytes.
#[test]
fn d14_topic_plus_nine() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let ev = feed(
        &mut s,
        &publish(1, 3, &"t".repeat(128 - 9), &vec![0; 2_100_000]),
        0,
        &mut out,
    )
    .unwrap();
    assert!(ev[0].starts_with("Chunk"), "{}", ev[0]);
}

/// D15: an acknowledgement for a packet that is to be sent again and has half left.
#[test]
fn d15_late_ack_for_a_half_resent_publish() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let id = s
        .publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("a", b"12345678")
        })
        .unwrap()
        .unwrap();
    send_all(&mut s, 0);
    for (sent, n) in [(0usize, 1u32), (1, 2)] {
        s.connect(&opts(), at(n)).unwrap();
        let connect = s.pending(at(n)).len();
        s.consume(connect, at(n));
        let mut b = CONNACK1.to_vec();
        s.space()[..4].copy_from_slice(&b);
        s.commit(4);
        let r = s.poll(at(n)).unwrap().unwrap();
        s.event(r).unwrap();
        let _ = s.pending(at(n));
        s.consume(sent, at(n));
        b = vec![0x40, 2, 0, id.get() as u8];
        if sent == 0 {
            continue;
        }
        s.space()[..4].copy_from_slice(&b);
        s.commit(4);
        assert!(
            s.poll(at(n)).is_ok(),
            "{sent} bytes have left again: {:?}",
            s.poll(at(n))
        );
    }
    let _ = PacketId::MIN;
}

/// D16: DISCONNECT is queued behind what waits for CONNACK: no PINGREQ goes any more, however late CONNACK is.
#[test]
fn d16_no_ping_before_connack_once_disconnect_is_queued() {
    for leaving in [false, true] {
        let mut storage = Storage::<128, 256, 4>::new();
        let mut s = Session::new(&mut storage);
        let o = Connect {
            keep_alive: 2,
            ..opts()
        };
        s.connect(&o, at(0)).unwrap();
        send_all(&mut s, 0);
        let mut out = vec![];
        feed(&mut s, CONNACK0, 0, &mut out).unwrap();
        s.publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("a", b"1")
        })
        .unwrap();
        s.connect(&o, at(10)).unwrap();
        send_all(&mut s, 10);
        if leaving {
            s.disconnect().unwrap();
        }
        let mut last = 10;
        let mut now = 10;
        while now < 9_000 {
            now += 50;
            assert!(s.poll(at(now)).unwrap().is_none());
            if !send_all(&mut s, now).is_empty() {
                last = now
            }
            assert!(
                now - last <= 2_000,
                "leaving {leaving}: {} ms of silence, keep alive is 2 s",
                now - last
            );
        }
    }
}

/// D2c: CONNACK is waited for from the moment the CONNECT is queued: a transport that takes it late leaves the server no time.
#[test]
fn d02c_connack_timeout_counts_the_transports_time() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    s.connect(&opts(), at(0)).unwrap();
    let n = s.pending(at(0)).len();
    s.consume(n, at(9_900));
    assert!(s.poll(at(9_900)).unwrap().is_none());
    assert!(
        s.poll(at(10_100)).is_ok(),
        "200 ms after CONNECT left: {:?}",
        s.poll(at(10_100))
    );
}

/// D17: publish_and_wait at QoS 0 waits "until it has left", yet goes on for as long as messages come.
#[test]
fn d17_publish_and_wait_at_qos_0_under_a_flood() {
    let net = Net::new();
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    for _ in 0..10_000 {
        net.put(&publish(0, 0, "t", b"flood"));
    }
    let before = net.tx.borrow().len();
    let mut late = 0;
    c.publish_and_wait(&Message::new("a", b"1"), |_| {
        if net.tx.borrow().len() > before {
            late += 1
        }
    })
    .unwrap();
    assert!(late < 100, "{late} events after it had left");
}

/// D18: checkpoints on, a publish between two chunks, then the reader: an error that is not fatal, and a QoS 2 message is skipped and acknowledged.
#[test]
fn d18_the_reader_loses_a_qos_2_message() {
    let net = Net::new();
    let mut storage = Storage::<32, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    s.set_checkpoints(true);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    while c.poll().unwrap().is_some() {}
    net.put(&publish(2, 7, "t", &[b'x'; 100]));
    assert!(matches!(c.recv(), Ok(Event::Chunk(_))));
    c.publish(&Message {
        qos: QoS::AtLeastOnce,
        ..Message::new("a", b"1")
    })
    .unwrap();
    let mut got: Vec<u8> = vec![];
    let mut failed = None;
    {
        let mut p = c.payload();
        let mut b = [0; 16];
        loop {
            match p.read(&mut b) {
                Ok(0) => break,
                Ok(n) => got.extend(&b[..n]),
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
    }
    println!(
        "{} bytes, then {failed:?}, fatal {:?}",
        got.len(),
        failed.map(|e| e.is_fatal())
    );
    for _ in 0..50 {
        c.poll().unwrap();
    }
    let pubrec = net.tx.borrow().windows(4).any(|w| w == [0x50, 2, 0, 7]);
    assert!(
        got.len() == 100 || !pubrec,
        "{} of 100 bytes were seen, and PUBREC has left",
        got.len()
    );
}

/// D19: a report that waits is not counted by in_flight, and is lost by save.
#[test]
fn d19_in_flight_is_zero_and_a_report_waits() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    s.publish(&Message {
        qos: QoS::AtLeastOnce,
        ..Message::new("a", b"1")
    })
    .unwrap();
    send_all(&mut s, 0);
    s.space()[..4].copy_from_slice(&[0x40, 2, 0, 1]);
    s.commit(4);
    let _ = s.poll(at(0)).unwrap().unwrap(); // the token is dropped, as a cancelled future does
    assert_eq!(s.in_flight(), 1, "\"until its event has been seen\"");
}

/// D21: flush with a full receive buffer in front of a peer that writes before it reads.
#[test]
fn d21_flush_and_a_full_buffer() {
    let net = Net::new();
    let mut storage = Storage::<64, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    for _ in 0..20 {
        net.put(&publish(0, 0, "t", b"0123456789"));
    }
    net.room.set(0);
    c.publish(&Message::new("a", b"1")).unwrap();
    let start = net.now.get();
    let r = c.flush();
    println!(
        "{r:?} after {} ms, {} bytes unread in the transport",
        net.now.get() - start,
        net.rx.borrow().len()
    );
}

/// D22: a decline while nothing is connected, and what in_flight says.
#[test]
fn d22_disconnect_drops_the_transport_on_an_error_that_is_not_fatal() {
    let net = Net::new();
    let mut storage = Storage::<128, 256, 4>::new();
    let mut s = Session::new(&mut storage);
    s.set_checkpoints(true);
    net.put(CONNACK0);
    let mut c = Client::connect(&mut s, Line(net.clone()), Watch(net.clone()), &opts()).unwrap();
    while c.poll().unwrap().is_some() {}
    c.publish(&Message {
        qos: QoS::AtLeastOnce,
        ..Message::new("a", b"1")
    })
    .unwrap();
    let e = c.disconnect().map(|_| ()).unwrap_err();
    assert!(
        e.is_fatal(),
        "{e:?} says the connection is fine, and the client and its transport are gone"
    );
}

/// A transport with a buffer of its own, as embassy-net's socket: bytes leave when another task runs, that is when the client's future
/// has returned `Pending`; what has not left by then is lost when the socket is dropped.
struct Socket {
    net: Rc<Net>,
    held: Rc<RefCell<Vec<u8>>>,
}
impl ErrorType for Socket {
    type Error = ErrorKind;
}
impl embedded_io_async::Read for Socket {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        std::future::poll_fn(|_| {
            let mut rx = self.net.rx.borrow_mut();
            if rx.is_empty() {
                return if self.net.eof.get() {
                    std::task::Poll::Ready(Ok(0))
                } else {
                    std::task::Poll::Pending
                };
            }
            let n = buf.len().min(rx.len());
            for b in &mut buf[..n] {
                *b = rx.pop_front().unwrap()
            }
            std::task::Poll::Ready(Ok(n))
        })
        .await
    }
}
impl embedded_io_async::Write for Socket {
    async fn write(&mut self, b: &[u8]) -> Result<usize, ErrorKind> {
        self.held.borrow_mut().extend(b);
        Ok(b.len())
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        std::future::poll_fn(|_| {
            if self.held.borrow().is_empty() {
                std::task::Poll::Ready(Ok(()))
            } else {
                std::task::Poll::Pending
            }
        })
        .await
    }
}
impl umqtt::asynch::Sleep for Watch {
    async fn sleep_until(&self, at: Instant) {
        std::future::poll_fn(|_| {
            if at.has_passed(self.now()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await
    }
}
fn run<R>(net: &Rc<Net>, held: &Rc<RefCell<Vec<u8>>>, f: impl Future<Output = R>) -> R {
    let mut f = std::pin::pin!(f);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..10_000 {
        if let std::task::Poll::Ready(r) = f.as_mut().poll(&mut cx) {
            return r;
        }
        net.tx.borrow_mut().extend(held.borrow_mut().drain(..)); // the network task
    }
    panic!("waits for ever")
}

/// Some polls, with the network task between them.
fn some<R>(net: &Rc<Net>, held: &Rc<RefCell<Vec<u8>>>, f: impl Future<Output = R>) -> Option<R> {
    let mut f = std::pin::pin!(f);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..20 {
        if let std::task::Poll::Ready(r) = f.as_mut().poll(&mut cx) {
            return Some(r);
        }
        net.tx.borrow_mut().extend(held.borrow_mut().drain(..));
    }
    None
}

/// H1 (holds): a CONNECT that no longer fits beside what is kept, then one that does.
#[test]
fn h1_a_longer_connect_that_does_not_fit() {
    let mut storage = Storage::<128, 64, 4>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let id = s
        .publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new("a", &[7; 30])
        })
        .unwrap()
        .unwrap();
    let o = Connect {
        credentials: Some(umqtt::codec::Credentials {
            user_name: "somebody",
            password: Some(b"secret"),
        }),
        ..opts()
    };
    println!("{:?}", s.connect(&o, at(1)).unwrap_err());
    s.connect(&opts(), at(2)).unwrap();
    out.clear();
    out.extend(send_all(&mut s, 2));
    feed(&mut s, CONNACK1, 2, &mut out).unwrap();
    assert!(
        out.windows(5).any(|w| w[1..] == *b"\x00\x01a\x00"),
        "{out:02x?}"
    );
    assert_eq!(
        feed(&mut s, &[0x40, 2, 0, 1], 2, &mut out).unwrap(),
        [format!("{:?}", Event::Puback(id))]
    );
}

/// D24: read_payload after `space`: the bytes of the chunk that was shown are gone without a word.
#[test]
fn d24_space_drops_what_read_payload_has_not_copied() {
    let mut storage = Storage::<32, 128, 2>::new();
    let mut s = Session::new(&mut storage);
    let mut out = vec![];
    s.connect(&opts(), at(0)).unwrap();
    send_all(&mut s, 0);
    feed(&mut s, CONNACK0, 0, &mut out).unwrap();
    let b = publish(0, 0, "t", b"abc");
    s.space()[..b.len()].copy_from_slice(&b);
    s.commit(b.len());
    let r = s.poll(at(0)).unwrap().unwrap();
    assert!(s.event(r).unwrap().is_some());
    let _ = s.space();
    let mut buf = [0; 8];
    assert_eq!(s.read_payload(&mut buf), 3);
}
