//! The statements of MQTT 3.1.1 about keep alive, and the documented deadlines, to the millisecond.

use umqtt::{
    Event, ProtocolError,
    codec::{Connect, PacketType, QoS},
};

use crate::wire::*;

const FILTER: [(&str, QoS); 1] = [("a/#", QoS::AtMostOnce)];

fn kept_alive(seconds: u16) -> Connect<'static> {
    Connect {
        keep_alive: seconds,
        ..KEEP
    }
}

/// Begins a payload of `len` bytes at QoS 0, and sends the bytes before it.
fn begin_payload(driven: &mut TestSession<'_>, len: usize) {
    let begun = driven.session.begin_payload(streamed(0), len);
    begun.unwrap();
    driven.sent();
}

impl TestSession<'_> {
    /// Checks that nothing happens until 1 ms before the deadline, which is in `millis` ms. Then advances the clock to
    /// the deadline.
    #[track_caller]
    fn nothing_before(&mut self, millis: u32) {
        assert_eq!(self.time_to_deadline(), Some(millis));
        self.pass(millis - 1);
        self.expect(&[]);
        assert!(!self.session.has_pending(), "a millisecond too early");
        assert_eq!(self.time_to_deadline(), Some(1));
        self.pass(1);
    }

    /// As [`Self::nothing_before`], while the transport accepts no bytes.
    #[track_caller]
    fn stuck_until(&mut self, millis: u32) {
        self.refuse();
        assert_eq!(self.time_to_deadline(), Some(millis));
        self.pass(millis - 1);
        self.expect(&[]);
        assert_eq!(self.time_to_deadline(), Some(1));
        self.pass(1);
    }

    /// Checks that the connection ends after `millis` ms, and not 1 ms earlier. Returns the events.
    #[track_caller]
    fn ends_after(&mut self, millis: u32, reason: ProtocolError) -> Vec<String> {
        self.stuck_until(millis);
        let (events, ended) = self.events_and_reason();
        assert_eq!(ended, reason);
        events
    }

    /// Checks that the last call did not close the connection, and that the next one, 20 ms later, does.
    #[track_caller]
    fn ends_at_next_look(&mut self, reason: ProtocolError) {
        assert_eq!(self.time_to_deadline(), Some(20));
        self.pass(20);
        assert_eq!(self.events_and_reason().1, reason);
    }

    /// Runs a device that sleeps until each deadline for `millis`. Returns the times at which PINGREQ was first offered
    /// to the transport.
    fn pings(&mut self, millis: u32) -> Vec<u32> {
        let (begin, mut slept, mut pings) = (self.now, 0, Vec::new());
        loop {
            let sleep = self.time_to_deadline().unwrap_or(millis);
            slept += sleep;
            if slept > millis {
                return pings;
            }
            self.pass(sleep);
            self.expect(&[]);
            assert_eq!(self.sent(), PINGREQ, "it woke for nothing");
            pings.push(self.now.wrapping_sub(begin));
            self.feed(&PINGRESP);
            self.expect(&[]);
        }
    }
}

/// Checks that each packet is offered to the transport within the keep alive after the end of the one before.
#[track_caller]
fn assert_kept_alive(begin: u32, moments: &[u32], keep_alive: u32) {
    let mut last = begin;
    for moment in moments {
        assert!(moment.wrapping_sub(last) <= keep_alive);
        last = *moment;
    }
}

/// [MQTT-3.1.2-23] PINGREQ is sent in time on a silent connection: with a keep alive of 1 s to 65,535 s, also when the
/// clock wraps.
#[test]
fn mqtt_3_1_2_23_silent_connection_sends_pingreq() {
    for seconds in [1, 2, 5, 60, 18 * 60 * 60, u16::MAX] {
        let keep_alive = u32::from(seconds) * 1_000;
        for start in [0, 1_000, u32::MAX - keep_alive - 5, u32::MAX] {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::new(&mut storage);
            driven.now = start;
            driven.open(&kept_alive(seconds), false);
            let pings = driven.pings(keep_alive * 5);
            assert!(pings.len() >= 5);
            assert!(pings.len() <= 7, "not much more often than needed");
            assert_kept_alive(0, &pings, keep_alive);
        }
    }
}

/// [MQTT-3.1.2-23] Received packets do not count: a device that only receives sends PINGREQ as often as a silent one.
#[test]
fn mqtt_3_1_2_23_received_packets_do_not_postpone_pingreq() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(10));
    let begin = driven.now;
    let mut pings = vec![];
    // A message is received every 99 ms, so that no other time of this test is a multiple. PINGRESP is received at
    // once.
    for _ in 0..1_000 {
        driven.pass(99);
        driven.receive(&publish(0, 0, b"x"), &[Event::Message(message(0, b"x"))]);
        let sent = driven.sent();
        if !sent.is_empty() {
            assert_eq!(sent, PINGREQ);
            pings.push(driven.now);
            driven.receive(&PINGRESP, &[]);
        }
    }
    assert!(pings.len() >= 9);
    assert_kept_alive(begin, &pings, 10_000);
}

/// [MQTT-3.1.2-23] PINGREQ is sent in time even if an event is pending each time, and no event is lost.
#[test]
fn mqtt_3_1_2_23_event_always_pending_sends_pingreq() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(1));
    let begin = driven.now;
    let mut pings = vec![];
    for _ in 0..1_000 {
        driven.pass(10);
        driven.feed(&publish(0, 0, b"x"));
        assert!(driven.next().unwrap().is_some(), "one event each time");
        let sent = driven.sent();
        if !sent.is_empty() {
            pings.push(driven.now);
        }
    }
    assert!(pings.len() >= 10);
    assert_kept_alive(begin, &pings, 1_000);
}

/// [MQTT-3.1.2-23] A device that sends and receives often enough never pings; the time counts from the end of its last
/// packet.
#[test]
fn mqtt_3_1_2_23_frequent_traffic_sends_no_pingreq() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(10));
    for level in [0, 1, 2].into_iter().cycle().take(100) {
        driven.pass(7_900);
        driven.expect(&[]);
        assert_eq!(driven.sent(), b"");
        let packet_id = driven.publish(level, b"x");
        assert_eq!(driven.sent()[0] & 0xF0, 0x30);
        match level {
            0 => driven.feed(&publish(0, 0, b"y")),
            1 => driven.feed(&puback(packet_id)),
            _ => driven.feed(&wire(&[&pubrec(packet_id), &pubcomp(packet_id)])),
        }
        driven.events();
        driven.sent();
    }
    // An acknowledgement is a packet as well.
    driven.pass(7_000);
    driven.feed(&publish(1, 1, b""));
    assert_eq!(driven.events().len(), 1);
    assert_eq!(driven.sent(), puback(1));
    driven.nothing_before(8_000);
    driven.expect(&[]);
    assert_eq!(driven.sent(), PINGREQ);
}

/// [MQTT-3.1.2-23] A packet that is sent byte by byte counts from its last byte, and no PINGREQ is sent inside it.
#[test]
fn mqtt_3_1_2_23_publish_half_written_delays_pingreq() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(2));
    driven.publish(0, b"slow");
    let whole = publish(0, 0, b"slow");
    let mut sent = driven.send_up_to(1);
    for _ in 1..whole.len() {
        driven.pass(1_900);
        driven.expect(&[]);
        sent.extend(driven.send_up_to(1));
    }
    assert_eq!(sent, whole);
    // The server has been silent for longer than keep alive.
    assert_eq!(driven.sent(), PINGREQ);
    driven.receive(&PINGRESP, &[]);
    driven.nothing_before(1_500);
    driven.expect(&[]);
    assert_eq!(driven.sent(), PINGREQ);
}

/// [MQTT-3.1.2-23] If a peer never reads, the connection is closed after the response timeout, even if the peer sends.
#[test]
fn mqtt_3_1_2_23_peer_never_reads_closes_connection() {
    for half in [0, 1] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(2));
        driven.nothing_before(1_500);
        driven.expect(&[]);
        assert!(driven.session.has_pending(), "PINGREQ");
        driven.send_up_to(half);
        driven.refuse();
        for _ in 0..9 {
            driven.pass(1_000);
            driven.feed(&publish(0, 0, b"x"));
            assert_eq!(driven.events().len(), 1);
        }
        driven.ends_after(1_000, ProtocolError::WriteTimeout);
    }
}

/// [MQTT-3.1.2-23] Keep alive continues before the server answers the CONNECT.
#[test]
fn mqtt_3_1_2_23_connack_late_keep_alive_continues() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&kept_alive(2));
    driven.pass(1_000);
    assert_eq!(driven.sent(), connect(&kept_alive(2)));
    for _ in 0..6 {
        driven.nothing_before(1_500);
        driven.expect(&[]);
        assert_eq!(driven.sent(), PINGREQ);
    }
    // CONNACK is due 10 s after CONNECT was sent.
    driven.ends_after(1_000, ProtocolError::ConnackTimeout);

    // This does not apply before the CONNECT was sent, or after a DISCONNECT.
    driven.connect(&kept_alive(2));
    driven.send_up_to(3);
    driven.pass(5_000);
    driven.expect(&[]);
    driven.session.disconnect().unwrap();
    assert_eq!(
        driven.sent(),
        wire(&[&connect(&kept_alive(2))[3..], &DISCONNECT])
    );
    driven.pass(3_000);
    driven.expect(&[]);
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-3.1.2-23] PINGREQ is sent in each keep alive interval, even if one is unanswered. The wait for
/// PINGRESP begins with the first of them.
#[test]
fn mqtt_3_1_2_23_pingreq_unanswered_next_one_is_sent() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(2));
    for _ in 0..7 {
        driven.nothing_before(1_500);
        driven.expect(&[]);
        assert_eq!(driven.sent(), PINGREQ);
    }
    driven.ends_after(1_000, ProtocolError::PingrespTimeout);
}

/// [MQTT-3.1.2-23] PINGREQ is sent between two packets: before DISCONNECT, and while a checkpoint is due.
#[test]
fn mqtt_3_1_2_23_pingreq_is_sent_between_two_packets() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(2));
    driven.publish(0, b"x");
    let mut sent = driven.send_up_to(2);
    driven.session.disconnect().unwrap();
    driven.pass(1_500);
    driven.expect(&[]);
    sent.extend(driven.sent());
    assert_eq!(sent, wire(&[&publish(0, 0, b"x"), &PINGREQ, &DISCONNECT]));
    driven.lose();

    driven.session.set_checkpoints(true);
    driven.open(&kept_alive(2), false);
    driven.events();
    driven.sent();
    driven.publish(1, b"x");
    driven.pass(1_500);
    assert!(driven.session.poll(driven.at()).unwrap().is_some());
    assert_eq!(driven.sent(), PINGREQ);
    assert!(driven.events()[0].starts_with("Checkpoint"));
    assert_eq!(driven.sent(), publish(1, 1, b"x"));
}

/// A dead peer is noticed within keep alive plus response timeout, even if the client sends. A PINGREQ is also due when
/// nothing was received for the keep alive interval.
#[test]
fn dead_peer_while_sending_is_detected() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(10));
    for half_seconds in 1..36 {
        driven.pass(500);
        driven.expect(&[]);
        driven.publish(0, b"x");
        let ping: &[u8] = if half_seconds == 16 { &PINGREQ } else { b"" };
        assert_eq!(driven.sent(), wire(&[ping, &publish(0, 0, b"x")]));
    }
    driven.ends_after(500, ProtocolError::PingrespTimeout);
}

/// [MQTT-3.1.2-24] Keep alive 0 turns it off: an idle session has no deadline at all.
#[test]
fn mqtt_3_1_2_24_keep_alive_0_has_no_deadline() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    assert_eq!(driven.time_to_deadline(), None);
    for _ in 0..100 {
        driven.pass(u32::MAX / 50);
        driven.expect(&[]);
        assert!(!driven.session.has_pending());
        assert_eq!(driven.time_to_deadline(), None);
    }
}

/// [MQTT-3.1.2-24] The PINGRESP deadline starts when PINGREQ was sent, not when it was queued.
#[test]
fn mqtt_3_1_2_24_pingresp_deadline_starts_at_sent_pingreq() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(60));
    driven.pass(58_000);
    driven.expect(&[]);
    driven.pass(5_000);
    driven.send_up_to(1);
    driven.pass(5_000);
    driven.send_up_to(1);
    driven.ends_after(TIMEOUT, ProtocolError::PingrespTimeout);
}

/// [MQTT-3.1.2-24] The PINGRESP deadline restarts with each received piece of a packet.
#[test]
fn mqtt_3_1_2_24_partial_packet_restarts_pingresp_deadline() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.session.ping().unwrap();
    assert_eq!(driven.sent(), PINGREQ);
    // Each piece is received as late as possible.
    let packet = publish(0, 0, &[b'x'; 200]);
    for piece in packet.chunks(9).take(8) {
        driven.pass(TIMEOUT - 1);
        driven.feed(piece);
        driven.events();
    }
    driven.pass(TIMEOUT - 1);
    driven.receive(&[], &[]);
    assert_eq!(driven.time_to_deadline(), Some(1), "nothing is no progress");
    let events = driven.ends_after(1, ProtocolError::PingrespTimeout);
    assert_eq!(events, ["ChunksAborted"]);
}

/// [MQTT-3.12.4-1] A PINGRESP without a PINGREQ has no effect, and does not answer a later PINGREQ.
#[test]
fn mqtt_3_12_4_1_pingresp_unexpected_has_no_effect() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(60));
    for _ in 0..3 {
        driven.receive(&PINGRESP, &[]);
    }
    // The same applies to one that is received before the PINGREQ was sent.
    driven.nothing_before(58_000);
    driven.expect(&[]);
    driven.receive(&PINGRESP, &[]);
    assert_eq!(driven.sent(), PINGREQ);
    driven.ends_after(TIMEOUT, ProtocolError::PingrespTimeout);
}

/// [MQTT-3.12.4-1] A missing PINGRESP is noticed by the deadline. A received one is not missing, even if the packets
/// after the PINGREQ are sent late.
#[test]
fn mqtt_3_12_4_1_pingresp_missing_is_pingresp_timeout() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.session.ping().unwrap();
    driven.sent();
    driven.ends_after(TIMEOUT, ProtocolError::PingrespTimeout);

    driven.open(&kept_alive(0), false);
    driven.session.ping().unwrap();
    driven.feed(&publish(1, 7, b""));
    assert_eq!(driven.events().len(), 1);
    // PINGREQ was sent, half of the PUBACK after it was not.
    assert_eq!(driven.send_up_to(4), PINGREQ);
    assert_eq!(driven.send_up_to(2), puback(7)[..2]);
    driven.receive(&PINGRESP, &[]);
    assert_eq!(driven.sent(), &puback(7)[2..]);
    assert_eq!(driven.time_to_deadline(), None, "no answer is pending");
}

/// The clock wraps after 49 days, and a connection may begin at any of its values.
#[test]
fn connect_at_any_time_is_due_at_once_and_answer_late_in_time() {
    for now in [0, 5, TIMEOUT, u32::MAX / 2, u32::MAX / 2 + 5, u32::MAX] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.now = now;
        driven.connect(&kept_alive(0));
        assert_eq!(driven.session.deadline(), Some(driven.at()), "at {now}");
        driven.sent();
        driven.expect(&[]);
        assert_eq!(driven.time_to_deadline(), Some(TIMEOUT), "at {now}");
        driven.ends_after(TIMEOUT, ProtocolError::ConnackTimeout);
    }
}

/// The CONNACK deadline starts when CONNECT was sent whole. Later packets do not change it.
#[test]
fn connack_deadline_starts_after_connect_is_sent() {
    for left in [0, 5] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.connect(&kept_alive(0));
        driven.pass(100);
        driven.send_up_to(left);
        driven.pass(3 * TIMEOUT);
        driven.sent();
        driven.pass(300);
        driven.publish_and_send(1, b"x");
        driven.ends_after(TIMEOUT - 300, ProtocolError::ConnackTimeout);

        // An answer to an unsent packet is never late.
        driven.connect(&kept_alive(0));
        driven.send_up_to(left);
        driven.ends_after(TIMEOUT, ProtocolError::WriteTimeout);
    }
}

/// The deadline of each request starts when it was sent whole. The deadline of the session is that of the oldest one.
#[test]
fn request_deadline_starts_after_request_is_sent() {
    let overdue = |packet_id| ProtocolError::RequestTimeout {
        packet_id: id(packet_id),
    };
    for kind in 0..4 {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
        let packet_id = match kind {
            0 => driven.publish(1, b"x"),
            1 => driven.publish(2, b"x"),
            2 => driven.subscribe(&FILTER),
            _ => driven.unsubscribe(&["a/#"]),
        };
        assert_eq!(
            driven.time_to_deadline(),
            Some(0),
            "no byte was offered to the transport"
        );
        driven.send_up_to(1);
        driven.refuse();
        driven.pass(500);
        assert_eq!(
            driven.time_to_deadline(),
            Some(TIMEOUT - 500),
            "the transport accepted a byte"
        );
        driven.sent();
        driven.pass(400);
        driven.publish_and_send(1, b"younger");
        let events = driven.ends_after(TIMEOUT - 400, overdue(packet_id));
        assert_eq!(events.is_empty(), kind < 2);
    }
}

/// A payload that is being sent extends no deadline while answers can be read.
#[test]
fn request_deadline_during_payload_is_unchanged() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    let packet_id = id(driven.subscribe(&FILTER));
    driven.sent();
    begin_payload(&mut driven, 9);
    driven.pass(TIMEOUT - 1);
    let now = driven.at();
    driven.session.payload_sent(1, now);
    driven.expect(&[]);
    driven.pass(1);
    let overdue = ProtocolError::RequestTimeout { packet_id };
    assert_eq!(driven.session.poll(driven.at()), Err(overdue));
}

/// PUBCOMP has its own deadline, which starts with PUBREL.
#[test]
fn pubcomp_deadline_is_separate_from_pubrec_deadline() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.publish_and_send(2, b"x");
    driven.pass(TIMEOUT - 1);
    driven.receive(&pubrec(1), &[]);
    driven.sent();
    let packet_id = id(1);
    driven.ends_after(TIMEOUT, ProtocolError::RequestTimeout { packet_id });
}

/// PUBCOMP is not awaited before PUBREL was sent.
#[test]
fn pubcomp_deadline_starts_after_pubrel_is_sent() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.publish_and_send(2, b"x");
    driven.receive(&pubrec(1), &[]);
    driven.pass(TIMEOUT);
    driven.expect(&[]);
    driven.pass(5);
    assert_eq!(driven.sent(), pubrel(1));
    let packet_id = id(1);
    driven.ends_after(TIMEOUT, ProtocolError::RequestTimeout { packet_id });
}

/// Received bytes extend a deadline to at most ten response timeouts.
#[test]
fn answer_missing_traffic_extends_deadline_to_ten_timeouts() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.session.ping().unwrap();
    driven.sent();
    for _ in 0..19 {
        driven.pass(TIMEOUT / 2);
        driven.receive(&publish(0, 0, b"x"), &[Event::Message(message(0, b"x"))]);
    }
    driven.ends_after(TIMEOUT / 2, ProtocolError::PingrespTimeout);
}

/// After ten response timeouts, a server that never pauses is read for 1 MiB more.
#[test]
fn answer_missing_in_flood_is_late_after_one_mebibyte() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.session.ping().unwrap();
    driven.sent();
    driven.expect(&[]);
    driven.pass(10 * TIMEOUT);
    let packet = publish(0, 0, &[b'x'; 40]);
    let mut received = 0;
    let reason = loop {
        driven.feed(&packet);
        received += packet.len();
        assert!(received < (1 << 20) + packet.len());
        match driven.next() {
            Ok(event) => assert!(event.is_some()),
            Err(reason) => break reason,
        }
        match driven.next() {
            Ok(event) => assert_eq!(event, None),
            Err(reason) => break reason,
        }
    };
    assert_eq!(reason, ProtocolError::PingrespTimeout);
    assert!(received >= 1 << 20);
}

/// A packet that is received at 64 bytes per response timeout extends a deadline until it is complete. At 63 bytes, it
/// extends it to ten response timeouts.
#[test]
fn long_packet_in_progress_extends_deadline() {
    for bytes in [63, 64] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
        driven.session.ping().unwrap();
        driven.sent();
        let packet = publish(0, 0, &[b'x'; 2_000]);
        let (head, mut rest) = packet.split_at(6);
        driven.feed(head);
        driven.events();
        let mut ended = None;
        for half in 1..=30 {
            // If more than a quarter of the timeout passed, the caller would count as absent.
            driven.pass(TIMEOUT / 4);
            driven.events();
            driven.pass(TIMEOUT / 4);
            let (piece, later) = rest.split_at(if half % 2 == 0 { 32 } else { bytes - 32 });
            rest = later;
            driven.feed(piece);
            driven.events();
            // This read finds nothing.
            if let Err(reason) = driven.next() {
                ended = Some((half, reason));
                break;
            }
        }
        if bytes == 63 {
            assert_eq!(ended, Some((20, ProtocolError::PingrespTimeout)));
        } else {
            assert_eq!(ended, None);
            driven.ends_after(TIMEOUT, ProtocolError::PingrespTimeout);
        }
    }
}

/// If a caller returns after more than a quarter of the response timeout, no answer counts as late at first. It polls
/// again 20 ms later.
#[test]
fn caller_absent_answer_is_not_late_at_first() {
    let packet_id = id(1);
    let late = ProtocolError::RequestTimeout { packet_id };
    for answered in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
        driven.publish_and_send(1, b"x");
        driven.expect(&[]);
        driven.pass(3 * TIMEOUT);
        driven.expect(&[]);
        if answered {
            driven.pass(19);
            driven.receive(&puback(1), &[Event::Puback(packet_id)]);
        } else {
            driven.ends_at_next_look(late);
        }
    }
    for absence in [TIMEOUT / 4, TIMEOUT / 4 + 1] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
        driven.publish_and_send(1, b"x");
        driven.pass(TIMEOUT - 1);
        driven.expect(&[]);
        driven.pass(absence);
        assert_eq!(driven.next().is_err(), absence == TIMEOUT / 4);
    }
}

/// As `caller_absent_answer_is_not_late_at_first`, with a transport that accepted nothing before.
#[test]
fn caller_absent_transport_is_not_late_at_first() {
    for taken in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
        driven.publish(0, b"x");
        driven.refuse();
        driven.expect(&[]);
        driven.pass(3 * TIMEOUT);
        driven.expect(&[]);
        if taken {
            assert_eq!(driven.sent(), publish(0, 0, b"x"));
            driven.pass(20);
            driven.expect(&[]);
            assert_eq!(driven.time_to_deadline(), None);
        } else {
            driven.ends_at_next_look(ProtocolError::WriteTimeout);
        }
    }
}

/// Without a read that found nothing, no answer is late.
#[test]
fn caller_not_reading_has_no_request_timeout() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.publish_and_send(1, b"x");
    driven.expect(&[]);
    for _ in 0..20 {
        driven.pass(TIMEOUT / 4);
        assert_eq!(driven.session.poll(driven.at()), Ok(None));
    }
    let packet_id = id(1);
    driven.session.space();
    driven.ends_at_next_look(ProtocolError::RequestTimeout { packet_id });
}

/// A clock that is set forward or back by an hour makes no answer late. After it went back, each wait begins again.
#[test]
fn clock_set_by_an_hour_causes_no_timeout() {
    const HOUR: u32 = 3_600_000;
    let packet_id = id(1);
    let late = ProtocolError::RequestTimeout { packet_id };
    for forth_first in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(60));
        driven.publish_and_send(1, b"x");
        driven.pass(5_000);
        driven.expect(&[]);
        if forth_first {
            driven.pass(HOUR);
            driven.expect(&[]);
            assert_eq!(driven.sent(), PINGREQ);
            driven.receive(&PINGRESP, &[]);
        }
        driven.pass(0_u32.wrapping_sub(HOUR / 2));
        driven.expect(&[]);
        driven.ends_after(TIMEOUT, late);
    }
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(60));
    driven.pass(30_000);
    driven.expect(&[]);
    driven.pass(0_u32.wrapping_sub(HOUR));
    driven.expect(&[]);
    driven.nothing_before(58_000);
    driven.expect(&[]);
    assert_eq!(driven.sent(), PINGREQ);
}

/// The deadline has passed while something can be done at once: a packet or an event is pending, a checkpoint is due,
/// or the transport has not refused bytes.
#[test]
fn deadline_work_pending_is_now() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_checkpoints(true);
    driven.open(&kept_alive(0), false);
    driven.events();
    driven.sent();
    assert_eq!(driven.time_to_deadline(), None);
    driven.pass(4 * TIMEOUT);

    driven.feed(&publish(0, 0, b"x"));
    assert_eq!(driven.time_to_deadline(), Some(0), "a packet");
    assert!(driven.session.poll(driven.at()).unwrap().is_some());
    assert_eq!(driven.time_to_deadline(), Some(0), "an event");
    driven.expect(&[Event::Message(message(0, b"x"))]);
    assert_eq!(driven.time_to_deadline(), None);

    driven.publish(1, b"x");
    assert_eq!(driven.time_to_deadline(), Some(0), "a checkpoint");
    assert!(driven.events()[0].starts_with("Checkpoint"));
    assert_eq!(driven.time_to_deadline(), Some(0), "bytes to send");
    driven.refuse();
    assert_eq!(
        driven.time_to_deadline(),
        Some(TIMEOUT),
        "bytes that were refused"
    );
    driven.send_up_to(1);
    assert_eq!(driven.time_to_deadline(), Some(0), "more bytes to send");
    driven.sent();
    assert_eq!(driven.time_to_deadline(), Some(TIMEOUT));
    driven.session.connection_lost();
    assert_eq!(driven.time_to_deadline(), Some(0), "the end");
    driven.lose();
    assert_eq!(driven.time_to_deadline(), None);
}

/// After DISCONNECT, acknowledgements are received for a second, unless the caller has set another time.
#[test]
fn disconnect_timeout_passed_closes_connection() {
    for (set, millis) in [(None, 1_000), (Some(300), 300)] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        if let Some(millis) = set {
            driven.session.set_disconnect_timeout(millis);
        }
        driven.open(&kept_alive(1), false);
        driven.publish(1, b"x");
        driven.session.disconnect().unwrap();
        assert_eq!(driven.sent(), wire(&[&publish(1, 1, b"x"), &DISCONNECT]));
        driven.pass(200);
        driven.receive(
            &wire(&[&publish(1, 5, b"dropped"), &puback(1)]),
            &[Event::Puback(id(1))],
        );
        driven.ends_after(millis - 200, ProtocolError::Closed);
    }
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_disconnect_timeout(0);
    driven.open(&kept_alive(1), false);
    driven.session.disconnect().unwrap();
    assert_eq!(driven.sent(), DISCONNECT);
    assert_eq!(driven.close_reason(), ProtocolError::Closed);
}

/// An answer in the receive buffer is in time, however late it is handled.
#[test]
fn answer_in_receive_buffer_is_in_time() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.publish_and_send(1, b"x");
    driven.feed(&wire(&[&publish(0, 0, b""), &puback(1)]));
    driven.pass(5 * TIMEOUT);
    driven.expect(&[Event::Message(message(0, b"")), Event::Puback(id(1))]);
    assert_eq!(driven.time_to_deadline(), None);
}

/// The write deadline starts when bytes are provided and the transport accepts none. It restarts with each accepted
/// byte.
#[test]
fn write_deadline_restarts_with_each_accepted_byte() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.publish(0, b"slow");
    for _ in 0..5 {
        let now = driven.at();
        assert!(!driven.session.pending(now).is_empty());
        driven.pass(TIMEOUT - 1);
        driven.expect(&[]);
        driven.send_up_to(1);
    }
    driven.pass(1);
    driven.send_up_to(0);
    driven.ends_after(TIMEOUT - 1, ProtocolError::WriteTimeout);
}

/// If the transport accepts no bytes of a payload, the write deadline does not change.
#[test]
fn write_deadline_inside_payload_is_unchanged() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    begin_payload(&mut driven, 5);
    for _ in 0..9 {
        driven.pass(TIMEOUT / 10);
        let now = driven.at();
        driven.session.payload_sent(0, now);
        driven.expect(&[]);
    }
    driven.ends_after(TIMEOUT / 10, ProtocolError::WriteTimeout);
}

/// A source that provides nothing does not extend the write deadline of its payload.
#[test]
fn write_deadline_source_silent_is_unchanged() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    begin_payload(&mut driven, 9);
    driven.pass(TIMEOUT - 1);
    driven.session.payload_commit(0);
    driven.expect(&[]);
    driven.ends_after(1, ProtocolError::WriteTimeout);
}

/// The write deadline applies while an event is pending, and the event is not lost with the connection.
#[test]
fn write_deadline_event_pending_is_unchanged() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.publish(0, b"stuck");
    driven.send_up_to(1);
    driven.feed(&publish(0, 0, b"x"));
    driven.refuse();
    driven.pass(TIMEOUT - 1);
    let waiting = driven.session.poll(driven.at()).unwrap();
    assert!(waiting.is_some());
    driven.refuse();
    driven.pass(1);
    assert_eq!(
        driven.session.poll(driven.at()),
        Err(ProtocolError::WriteTimeout)
    );
    driven.expect_end(&[Event::Message(message(0, b"x")), Event::Qos0Dropped(1)]);
}

impl TestSession<'_> {
    #[track_caller]
    fn expect_end(&mut self, events: &[Event<'_>]) {
        assert_eq!(self.events_and_reason().0, texts(events));
    }
}

/// If no bytes are left to write, there is no write deadline.
#[test]
fn write_deadline_nothing_to_write_is_none() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.publish_and_send(1, b"x");
    driven.lose();
    driven.open(&kept_alive(0), true);
    // The transport does not accept the PUBLISH. It is acknowledged before it was sent again.
    driven.refuse();
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    assert!(!driven.session.has_pending());
    assert_eq!(driven.time_to_deadline(), None);
    driven.pass(TIMEOUT);
    driven.expect(&[]);
    // The next bytes have the whole response timeout.
    driven.publish(1, b"y");
    driven.refuse();
    driven.ends_after(TIMEOUT, ProtocolError::WriteTimeout);
}

/// All deadlines are exact if the clock wraps before they pass.
#[test]
fn deadlines_clock_wraps_are_exact() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.now = u32::MAX - 100;
    driven.connect(&kept_alive(0));
    driven.sent();
    driven.ends_after(TIMEOUT, ProtocolError::ConnackTimeout);
    driven.now = u32::MAX - 100;
    driven.open(&kept_alive(0), false);
    driven.publish_and_send(1, b"x");
    let packet_id = id(1);
    driven.ends_after(TIMEOUT, ProtocolError::RequestTimeout { packet_id });
}

/// If a packet stays in the buffer for lack of room for its answer, it is handled as soon as there is room, not only
/// when more bytes are received.
#[test]
fn packet_without_ack_room_is_handled_when_room_is_free() {
    let mut storage = umqtt::Storage::<128, 128, 4>::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.pass(3_000_000_000);
    let ids = 1..=9;
    ids.for_each(|id| driven.feed(&publish(1, id, b"x")));
    assert_eq!(
        driven.events().len(),
        8,
        "there is room for so many answers"
    );
    assert_eq!(
        driven.time_to_deadline(),
        Some(0),
        "the answers wait to be sent"
    );
    driven.refuse();
    assert_eq!(driven.time_to_deadline(), Some(TIMEOUT));
    driven.sent();
    assert_eq!(driven.time_to_deadline(), Some(0));
    driven.expect(&[Event::Message(message(1, b"x"))]);
    driven.sent();
    assert_eq!(driven.time_to_deadline(), None);
}

/// A deadline is correct after weeks without a step, even if the clock has wrapped.
#[test]
fn deadlines_after_weeks_without_step_are_exact() {
    const DAY: u32 = 86_400_000;
    for days in [10, 24, 25, 30, 40, 49, 50] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
        driven.expect(&[]);
        (0..days).for_each(|_| driven.pass(DAY));
        let packet_id = id(driven.publish(1, b"x"));
        driven.sent();
        assert_eq!(driven.time_to_deadline(), Some(TIMEOUT));
        // The caller polls again after these weeks. The wait is measured from the PUBLISH.
        driven.expect(&[]);
        driven.ends_after(TIMEOUT, ProtocolError::RequestTimeout { packet_id });
    }
}

/// A shorter response timeout also applies to pending answers.
#[test]
fn response_timeout_shortened_applies_to_pending_answers() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    let packet_id = id(driven.publish(1, b"x"));
    driven.sent();
    driven.expect(&[]);
    driven.pass(5_000);
    driven.session.set_response_timeout(6_000);
    driven.ends_after(1_000, ProtocolError::RequestTimeout { packet_id });
}

/// A response timeout is limited to 2^27 ms, 37 hours. A longer one could look as if it had passed at once, because the
/// clock wraps.
#[test]
fn response_timeout_over_maximum_is_limited() {
    const MAX: u32 = 1 << 27;
    for millis in [MAX, MAX + 1, u32::MAX / 2, u32::MAX] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.session.set_response_timeout(millis);
        driven.open(&kept_alive(0), false);
        let packet_id = id(driven.publish_and_send(1, b"x"));
        driven.expect(&[]);
        driven.ends_after(MAX, ProtocolError::RequestTimeout { packet_id });
    }
}

/// If the caller does not poll for longer than the longest response timeout, the answer is still accepted.
#[test]
fn answer_polled_after_longest_response_timeout_is_accepted() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_response_timeout(u32::MAX);
    driven.open(&kept_alive(0), false);
    driven.publish_and_send(1, b"x");
    driven.pass(1_000_000_000);
    driven.expect(&[]);
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
}

/// An idle session wakes only for keep alive, and a closed one never.
#[test]
fn idle_session_wakes_for_keep_alive_only() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    assert_eq!(driven.time_to_deadline(), None);
    driven.open(&kept_alive(600), false);
    driven.publish_and_send(2, b"x");
    driven.receive(&pubrec(1), &[]);
    driven.sent();
    driven.receive(&pubcomp(1), &[Event::Pubcomp(id(1))]);
    driven.feed(&publish(2, 9, b""));
    assert_eq!(driven.events().len(), 1);
    driven.sent();
    assert_eq!(driven.time_to_deadline(), Some(598_000));
    assert_eq!(driven.pings(6_000_000).len(), 10);
    driven.publish_and_send(1, b"unacknowledged");
    driven.lose();
    assert_eq!(driven.time_to_deadline(), None);
}

/// A forbidden packet is detected by its header, before its body is received.
#[test]
fn forbidden_packet_header_closes_connection() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    driven.feed(&[0x82, 0xFF, 0xFF, 0x7F]);
    assert_eq!(
        driven.close_reason(),
        ProtocolError::UnexpectedPacket(PacketType::Subscribe)
    );
}

/// If several answers are late, the reason names the one awaited longest, not the first that is checked.
#[test]
fn several_answers_late_longest_wait_is_named() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &kept_alive(0));
    let packet_id = id(driven.publish_and_send(1, b"x"));
    driven.pass(5_000);
    // Received bytes extend the wait for PUBACK, and that for PINGRESP begins now.
    driven.receive(&publish(0, 0, b"y"), &[Event::Message(message(0, b"y"))]);
    driven.session.ping().unwrap();
    assert_eq!(driven.sent(), PINGREQ);
    driven.expect(&[]);
    driven.ends_after(TIMEOUT, ProtocolError::RequestTimeout { packet_id });
}

#[test]
fn response_timeout_set_is_returned() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    assert_eq!(driven.session.response_timeout(), TIMEOUT);
    driven.session.set_response_timeout(3_000);
    assert_eq!(driven.session.response_timeout(), 3_000);
}

/// A PINGREQ does not divide an acknowledgement that the transport accepted in part.
#[test]
fn ping_acknowledgement_sent_in_part_is_sent_after_it() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for accepted in 1..4 {
        driven.receive(&publish(1, 7, b"x"), &[Event::Message(message(1, b"x"))]);
        assert_eq!(driven.send_up_to(accepted), puback(7)[..accepted]);
        driven.session.ping().unwrap();
        let rest = &puback(7)[accepted..];
        assert_eq!(driven.sent(), [rest, &PINGREQ].concat());
        driven.receive(&PINGRESP, &[]);
    }
}
