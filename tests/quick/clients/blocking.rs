//! The behaviour of the blocking client towards its transport, its clock, and its caller.

use embedded_io::{ErrorKind, Write, WriteReady};
use umqtt::{
    Event, Message, ProtocolError, RESPONSE_TIMEOUT, RequestError, Session, Storage,
    codec::{Connect, Credentials, Packet, QoS, SubackReturnCode, Will},
};

use crate::common::{
    self, Client, DISCONNECT, Error, Fault, Network, PINGREQ, PINGRESP, REFUSALS, Seen, Step,
    connack, connected, dup, message, packet_id, packets, puback, publish, record, refused, server,
    suback, unsuback,
};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn storage() -> Storage<256, 1024, 8> {
    Storage::new()
}

fn options() -> Connect<'static> {
    Connect {
        keep_alive: Connect::NO_KEEP_ALIVE,
        ..Connect::new("id")
    }
}

// The bytes for the transport.

/// A CONNECT with every field, and one packet of every other kind that a client sends.
#[test]
fn each_packet_is_written_in_one_write() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    let all = Connect {
        will: Some(Will::new("will", b"gone")),
        credentials: Some(Credentials {
            user_name: "user",
            password: Some(b"password"),
        }),
        ..options()
    };
    let mut client = Client::connect(&mut session, network.transport(), &network, &all).unwrap();
    for qos in QOS {
        client
            .publish_and_wait(&message("topic", b"payload", qos), |_, _| panic!())
            .unwrap();
    }
    let codes = client
        .subscribe_and_wait(&[("a", QOS[0]), ("b", QOS[1])], |_, _| panic!())
        .unwrap();
    assert!(codes.all_granted());
    client
        .unsubscribe_and_wait(&["a", "b"], |_, _| panic!())
        .unwrap();
    client.ping().unwrap();
    for (qos, id) in [(QoS::AtLeastOnce, 7), (QoS::ExactlyOnce, 8)] {
        network.feed(&publish("in", b"", qos, id));
        client.recv().unwrap();
    }
    client.disconnect().unwrap();
    let writes = network.take_writes();
    let sent = writes.concat();
    let (packets, rest) = packets(&sent);
    assert_eq!(writes, packets);
    assert!(rest.is_empty());
    let types: Vec<u8> = packets.iter().map(|packet| packet[0] >> 4).collect();
    // CONNECT, PUBLISH 0, 1 and 2 with PUBREL, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, PUBACK, PUBREC with PUBCOMP,
    // DISCONNECT.
    assert_eq!(types, [1, 3, 3, 3, 6, 8, 10, 12, 4, 5, 14]);
}

/// Packets that were queued through the session are sent in one write.
#[test]
fn packets_queued_through_session_are_one_write() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    for qos in QOS {
        client.session().publish(&message("t", b"p", qos)).unwrap();
    }
    client.flush().unwrap();
    assert_eq!(network.take_writes().len(), 1);
    assert_eq!(network.flushed(), 2, "CONNECT and the burst");
}

#[test]
fn partial_write_is_resumed() {
    let expected = publish("topic", b"payload", QoS::AtLeastOnce, 1);
    for most in 1..=expected.len() {
        let (mut storage, network) = (storage(), Network::with_server());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        network.writes(&[], Step::Bytes(most));
        client
            .publish(&message("topic", b"payload", QoS::AtLeastOnce))
            .unwrap();
        let writes = network.take_writes();
        assert_eq!(writes.concat(), expected);
        assert_eq!(writes.len(), expected.len().div_ceil(most));
    }
}

/// If a transport is busy after every byte, any following call sends the next one.
#[test]
fn write_interrupted_continues_with_next_call() {
    for pause in [Step::NotReady, Step::Interrupted, Step::TimedOut] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        let expected = publish("topic", b"payload", QoS::AtMostOnce, 0);
        network.writes(&[Step::Bytes(1)], pause);
        client.publish(&Message::new("topic", b"payload")).unwrap();
        let mut sent = network.take_sent();
        for len in 1..=expected.len() {
            assert_eq!(sent, expected[..len], "{pause:?}");
            network.writes(&[Step::Bytes(1)], pause);
            assert_eq!(client.poll(), Ok(None));
            sent.extend(network.take_sent());
        }
        assert_eq!(network.waits(), 0);
    }
}

/// An interrupted flush of the transport is repeated.
#[test]
fn transport_flush_interrupted_is_repeated() {
    for pause in [Step::Interrupted, Step::TimedOut] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        network.flushes(&[pause]);
        client.publish(&Message::new("t", b"")).unwrap();
        assert_eq!(network.flushed(), 1, "only the CONNECT's");
        client.poll().unwrap();
        assert_eq!(network.flushed(), 2);
    }
}

/// The end of a connection at each call of the transport, and its events.
#[test]
fn transport_error_in_read_or_write_is_reported() {
    let reset = Error::Transport(Fault(ErrorKind::ConnectionReset));
    let other = Error::Transport(Fault(ErrorKind::Other));
    for (step, expected) in [
        (Step::Broken, reset),
        (Step::ReadinessFails, other),
        (Step::Zero, Error::Closed),
    ] {
        for reading in [true, false] {
            let (mut storage, network) = (storage(), Network::new());
            let mut session = Session::new(&mut storage);
            let mut client = connected(&mut session, &network, &options());
            if reading {
                network.reads(&[], step);
            } else {
                network.writes(&[], step);
                client.session().publish(&Message::new("t", b"")).unwrap();
            }
            // Queued messages at QoS 0 are lost.
            if !reading {
                assert_eq!(client.recv(), Ok(Event::Qos0Dropped(1)), "{step:?}");
            }
            assert_eq!(client.recv(), Err(expected), "{step:?}");
            // The connection stays closed, and the transport is not used any more.
            network.reads(&[], Step::Bytes(1));
            network.writes(&[], Step::Bytes(1));
            network.feed(&publish("t", b"", QoS::AtMostOnce, 0));
            assert_closed(&mut client);
            assert!(network.take_sent().is_empty());
        }
    }
}

#[test]
fn transport_error_in_flush_is_reported() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.flushes(&[Step::Broken]);
    let error = Error::Transport(Fault(ErrorKind::ConnectionReset));
    assert_eq!(
        client.publish(&Message::new("t", b"")),
        Ok(None),
        "accepted"
    );
    assert_eq!(client.recv(), Err(error));
    assert_closed(&mut client);
}

/// Checks that every call on a closed connection returns an error.
fn assert_closed(client: &mut Client<'_, '_, '_>) {
    assert_eq!(client.publish(&Message::new("t", b"")), Err(Error::Closed));
    assert_eq!(client.ping(), Err(Error::Closed));
    // Reports about lost requests are returned first.
    while client.poll().is_ok() {}
    assert_eq!(client.poll(), Err(Error::Closed));
    assert_eq!(client.recv(), Err(Error::Closed));
    assert_eq!(client.flush(), Err(Error::Closed));
}

// Deadlines, without a peer that answers.

/// Checks that a call without an answer returns this error after exactly `millis` ms.
fn ends_after(
    millis: u32,
    expected: ProtocolError,
    prepare: impl FnOnce(&Network),
    call: impl FnOnce(&mut Client<'_, '_, '_>) -> common::Result<()>,
) {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    // The clock wraps during the wait.
    network.pass(u32::MAX - 5_000);
    let mut client = connected(&mut session, &network, &options());
    network.pass(300);
    let start = network.millis();
    prepare(&network);
    assert_eq!(call(&mut client), Err(Error::Protocol(expected)));
    assert_eq!(network.millis().wrapping_sub(start), millis);
}

/// Returns the error of a client whose first request is not answered.
fn request_timeout() -> ProtocolError {
    ProtocolError::RequestTimeout {
        packet_id: packet_id(1),
    }
}

/// Checks that a first request without an answer returns its error at its deadline.
fn ends_in_request_timeout(call: impl FnOnce(&mut Client<'_, '_, '_>) -> common::Result<()>) {
    ends_after(RESPONSE_TIMEOUT, request_timeout(), |_| {}, call);
}

#[test]
fn connect_unanswered_returns_connack_timeout() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    network.pass(123);
    let error = Client::connect(&mut session, network.transport(), &network, &options()).err();
    assert_eq!(error, Some(Error::Protocol(ProtocolError::ConnackTimeout)));
    assert_eq!(network.millis(), 123 + RESPONSE_TIMEOUT);
    assert!(network.is_dropped());
}

/// CONNACK is accepted up to the response timeout. A part of a CONNACK does not count.
#[test]
fn connack_before_response_timeout_is_accepted() {
    for (at, from, connects) in [(9_999, 0, true), (9_999, 1, false)] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        network.feed_at(at, &connack(false)[..4 - from]);
        let client = Client::connect(&mut session, network.transport(), &network, &options());
        assert_eq!(client.is_ok(), connects);
    }
}

#[test]
fn publish_unanswered_returns_request_timeout() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        ends_in_request_timeout(|client| {
            client.publish_and_wait(&message("t", b"", qos), |_, _| panic!())
        });
    }
}

/// PUBREC begins a second wait, for PUBCOMP.
#[test]
fn pubrel_unanswered_returns_request_timeout() {
    let expected = request_timeout();
    let half = |network: &Network| {
        network.feed_at(network.millis().wrapping_add(4_000), &common::pubrec(1))
    };
    ends_after(4_000 + RESPONSE_TIMEOUT, expected, half, |client| {
        client.publish_and_wait(&message("t", b"", QoS::ExactlyOnce), |_, _| panic!())
    });
}

#[test]
fn subscribe_unanswered_returns_request_timeout() {
    ends_in_request_timeout(|client| {
        let subscribed = client.subscribe_and_wait(&[("t", QoS::AtMostOnce)], |_, _| panic!());
        subscribed.map(|_| ())
    });
}

#[test]
fn unsubscribe_unanswered_returns_request_timeout() {
    ends_in_request_timeout(|client| client.unsubscribe_and_wait(&["t"], |_, _| panic!()));
}

/// Received messages extend the wait for an answer. It is late when the response timeout has passed since the last
/// byte, or after ten response timeouts.
#[test]
fn messages_received_extend_wait_to_ten_timeouts() {
    let expected = request_timeout();
    for (chatter, late_after) in [
        (20_000, 20_000 + RESPONSE_TIMEOUT),
        (200_000, 10 * RESPONSE_TIMEOUT),
    ] {
        let chatter = |network: &Network| {
            for after in (0..=chatter).step_by(1_000) {
                let bytes = publish("t", b"", QoS::AtMostOnce, 0);
                network.feed_at(network.millis().wrapping_add(after), &bytes);
            }
        };
        ends_after(late_after, expected, chatter, |client| {
            client.publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |_, _| {})
        });
    }
}

#[test]
fn ping_unanswered_returns_pingresp_timeout() {
    ends_after(
        RESPONSE_TIMEOUT,
        ProtocolError::PingrespTimeout,
        |_| {},
        |client| {
            client.ping()?;
            client.recv().map(|_| ())
        },
    );
}

/// A peer that never reads: every call that waits for bytes to be sent ends.
#[test]
fn peer_never_reads_calls_return_write_timeout() {
    let stuck = |network: &Network| network.writes(&[], Step::NotReady);
    let calls: [fn(&mut Client<'_, '_, '_>) -> common::Result<()>; 5] = [
        |client| client.publish_and_wait(&Message::new("t", b""), |_, _| panic!()),
        |client| client.publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |_, _| panic!()),
        |client| client.ping().and_then(|()| client.flush()),
        |client| {
            client
                .publish(&Message::new("t", b""))
                .and_then(|_| client.flush())
        },
        |client| client.ping().and_then(|()| client.recv().map(|_| ())),
    ];
    for call in calls {
        ends_after(RESPONSE_TIMEOUT, ProtocolError::WriteTimeout, stuck, call);
    }
}

/// The same with a transport that has its own timeout.
#[test]
fn transport_always_times_out_is_write_timeout() {
    let stuck = |network: &Network| network.writes(&[], Step::TimedOut);
    ends_after(
        RESPONSE_TIMEOUT,
        ProtocolError::WriteTimeout,
        stuck,
        |client| client.publish_and_wait(&Message::new("t", b""), |_, _| panic!()),
    );
}

/// Each accepted byte restarts the write deadline.
#[test]
fn each_accepted_byte_restarts_write_deadline() {
    let slow = |network: &Network| {
        // A ready transport takes one byte and pauses for 9 s, twice.
        let pause = [Step::NotReady; 9_000];
        let steps = [
            &[Step::Bytes(1)],
            &pause[..],
            &[Step::Bytes(1)],
            &pause[..],
            &[Step::Bytes(1)],
        ]
        .concat();
        network.writes(&steps, Step::NotReady);
    };
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    slow(&network);
    client.publish(&Message::new("t", b"")).unwrap();
    assert_eq!(
        client.flush(),
        Err(Error::Protocol(ProtocolError::WriteTimeout))
    );
    let writes = network.take_timed_writes();
    assert_eq!(writes.len(), 3);
    // The call of `publish` was refused once, so the first pause of the flush is 1 ms shorter.
    assert_eq!([0, 1, 2].map(|write| writes[write].0), [0, 8_999, 17_999]);
    assert_eq!(network.millis(), 17_999 + RESPONSE_TIMEOUT);
}

/// A peer that does not read and does not stop sending: `flush` continues to read, and still ends.
#[test]
fn flush_peer_sends_and_never_reads_is_write_timeout() {
    for qos in QOS {
        let expected = ProtocolError::WriteTimeout;
        let flood = |network: &Network| {
            network.writes(&[], Step::NotReady);
            for id in 1..=100 {
                network.feed(&publish("t", b"payload", qos, id));
            }
        };
        ends_after(RESPONSE_TIMEOUT, expected, flood, |client| {
            client.publish(&Message::new("t", b""))?;
            client.flush()
        });
    }
}

#[test]
fn disconnect_peer_never_reads_is_write_timeout() {
    for flood in [false, true] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        network.writes(&[], Step::NotReady);
        if flood {
            network.feed(&publish("t", b"payload", QoS::AtMostOnce, 0));
        }
        let error = client.disconnect().err();
        assert_eq!(error, Some(Error::Protocol(ProtocolError::WriteTimeout)));
        assert_eq!(network.millis(), RESPONSE_TIMEOUT);
    }
}

#[test]
fn response_timeout_set_is_applied() {
    let expected = request_timeout();
    ends_after(
        777,
        expected,
        |_| {},
        |client| {
            client.session().set_response_timeout(777);
            client.publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |_, _| panic!())
        },
    );
}

/// Answers that were received in time while the caller was busy are accepted, even if they are read late.
#[test]
fn answer_received_but_unread_is_in_time() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    let id = client
        .publish(&message("t", b"", QoS::AtLeastOnce))
        .unwrap()
        .unwrap();
    client.ping().unwrap();
    network.pass(RESPONSE_TIMEOUT + 1);
    assert_eq!(client.poll(), Ok(Some(Event::Puback(id))));
    assert_eq!(client.poll(), Ok(None));
    network.pass(RESPONSE_TIMEOUT + 1);
    assert_eq!(client.poll(), Ok(None));
}

// Keep alive.

#[test]
fn pingreq_is_sent_within_keep_alive_interval() {
    for seconds in [1, 2, 10, 60, 600] {
        let (mut storage, network) = (storage(), Network::with_server());
        let mut session = Session::new(&mut storage);
        let options = Connect {
            keep_alive: seconds,
            ..options()
        };
        let mut client = connected(&mut session, &network, &options);
        let interval = u32::from(seconds) * 1_000;
        network.set_step(interval / 1_000);
        let end = 10 * interval;
        network.feed_at(end, &publish("t", b"", QoS::AtMostOnce, 0));
        assert!(matches!(client.recv(), Ok(Event::Message(_))));
        let mut last = 0;
        for (at, bytes) in network.take_timed_writes() {
            assert_eq!(bytes, PINGREQ);
            assert!(
                at - last <= interval,
                "{seconds} s: silence from {last} to {at}"
            );
            assert!(
                at - last >= interval / 2,
                "{seconds} s: pings at {last} and {at}"
            );
            last = at;
        }
        assert!(end - last <= interval);
    }
}

/// `poll` also sends PINGREQ, and `deadline` returns the time of its next call.
#[test]
fn poll_at_deadline_sends_pingreq() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    let options = Connect {
        keep_alive: 60,
        ..options()
    };
    let mut client = connected(&mut session, &network, &options);
    for _ in 0..5 {
        let due = client.deadline().unwrap().as_millis();
        let wait = due - network.millis();
        assert!((30_000..=60_000).contains(&wait), "{wait}");
        network.pass(wait - 1);
        assert_eq!(client.poll(), Ok(None));
        assert!(network.take_sent().is_empty());
        network.pass(1);
        assert_eq!(client.poll(), Ok(None));
        assert_eq!(network.take_sent(), PINGREQ);
        assert_eq!(client.poll(), Ok(None));
    }
}

/// A PINGREQ is due when nothing was sent, or nothing was received, for the keep alive interval less 2 s. An
/// acknowledged PUBLISH postpones it. A PUBLISH at QoS 0 does not, because a dead server would not be noticed.
#[test]
fn acknowledged_publish_postpones_pingreq() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    let options = Connect {
        keep_alive: 10,
        ..options()
    };
    let mut client = connected(&mut session, &network, &options);
    for id in 1..=20 {
        network.pass(5_000);
        client
            .publish(&message("t", b"", QoS::AtLeastOnce))
            .unwrap();
        assert!(matches!(client.poll(), Ok(Some(Event::Puback(_)))));
        assert_eq!(
            network.take_writes(),
            [publish("t", b"", QoS::AtLeastOnce, id)]
        );
    }
    for round in 1..=20 {
        network.pass(5_000);
        client.publish(&Message::new("t", b"")).unwrap();
        while client.poll().unwrap().is_some() {}
        client.poll().unwrap();
        let mut expected = publish("t", b"", QoS::AtMostOnce, 0);
        if round % 2 == 0 {
            expected.extend(PINGREQ);
        }
        assert_eq!(network.take_sent(), expected, "round {round}");
    }
}

#[test]
fn keep_alive_zero_sends_no_pingreq() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    assert_eq!(client.deadline(), None);
    network.set_step(60_000);
    network.feed_at(24 * 3_600_000, &publish("t", b"", QoS::AtMostOnce, 0));
    assert!(matches!(client.recv(), Ok(Event::Message(_))));
    assert_eq!(network.millis(), 24 * 3_600_000);
    assert!(network.take_sent().is_empty());
}

/// A PINGRESP is not an event. It prevents the timeout that follows an unanswered PINGREQ.
#[test]
fn ping_answered_keeps_connection_open() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    client.ping().unwrap();
    assert_eq!(network.take_sent(), PINGREQ);
    network.feed_at(RESPONSE_TIMEOUT - 1, &PINGRESP);
    network.feed_at(5 * RESPONSE_TIMEOUT, &publish("t", b"", QoS::AtMostOnce, 0));
    assert!(matches!(client.recv(), Ok(Event::Message(_))));
}

// Calls that must not wait.

/// If only a part of a packet was received, `poll` reads it and returns.
#[test]
fn poll_input_incomplete_returns_at_once() {
    let stream = [
        publish("topic", b"payload", QoS::ExactlyOnce, 9),
        PINGRESP.to_vec(),
        publish("t", &[7; 300], QoS::AtLeastOnce, 10),
    ]
    .concat();
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    let mut seen = Vec::new();
    for byte in stream {
        network.feed(&[byte]);
        if let Some(event) = client.poll().unwrap() {
            record(&mut seen, event);
        }
        assert_eq!(network.unread(), 0);
    }
    assert_eq!(network.waits(), 0);
    assert_eq!(seen.len(), 2);
    assert_eq!(client.poll(), Ok(None));
    assert_eq!(
        network.take_sent(),
        [&common::pubrec(9)[..], &puback(10)].concat()
    );
}

/// Only the documented calls wait for a transport that accepts nothing.
#[test]
fn queueing_calls_transport_busy_return_at_once() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.writes(&[], Step::NotReady);
    for qos in QOS {
        client.publish(&message("t", b"", qos)).unwrap();
    }
    client.subscribe(&[("t", QoS::AtMostOnce)]).unwrap();
    client.unsubscribe(&["t"]).unwrap();
    client.ping().unwrap();
    client.poll().unwrap();
    assert_eq!(network.waits(), 0);
    assert!(network.take_sent().is_empty());
    network.writes(&[], Step::Bytes(usize::MAX));
    client.poll().unwrap();
    assert_eq!(packets(&network.take_sent()).0.len(), 6);
}

// Answers and messages.

/// A message that is received meanwhile is checked when its event is taken.
#[test]
fn publish_and_wait_malformed_message_returns_error() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.feed(b"\x30\x03\x00\x01#");
    let ended = client.publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |_, _| panic!());
    assert!(matches!(
        ended,
        Err(Error::Protocol(ProtocolError::Decode(_)))
    ));
}

/// A waiting call passes on all other events, in the order of their receipt.
#[test]
fn publish_and_wait_passes_other_events_to_handler() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    let first = client
        .publish(&message("t", b"", QoS::AtLeastOnce))
        .unwrap()
        .unwrap();
    let filters = [("a", QoS::AtMostOnce)];
    let subscribed = client.subscribe(&filters).unwrap();
    let unsubscribed = client.unsubscribe(&["a"]).unwrap();
    network.take_writes();
    let codes = [SubackReturnCode::Granted(QoS::AtMostOnce)];
    for bytes in [
        publish("zero", b"0", QoS::AtMostOnce, 0),
        suback(subscribed.get(), &codes),
        publish("one", b"1", QoS::AtLeastOnce, 77),
        puback(first.get()),
        unsuback(unsubscribed.get()),
        publish("two", b"2", QoS::ExactlyOnce, 78),
        puback(4),
        publish("late", b"", QoS::AtMostOnce, 0),
    ] {
        network.feed(&bytes);
    }
    let mut seen = Vec::new();
    client
        .publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |event, _| {
            record(&mut seen, event)
        })
        .unwrap();
    let expected = |topic: &str, payload: &[u8], qos| Seen::Message {
        topic: topic.to_owned(),
        payload: payload.to_vec(),
        qos,
        retain: false,
        dup: false,
    };
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[0], expected("zero", b"0", QoS::AtMostOnce));
    assert!(matches!(&seen[1], Seen::Other(text) if text.starts_with("Suback")));
    assert_eq!(seen[2], expected("one", b"1", QoS::AtLeastOnce));
    assert_eq!(seen[3], Seen::other(Event::Puback(first)));
    assert_eq!(seen[4], Seen::other(Event::Unsuback(unsubscribed)));
    assert_eq!(seen[5], expected("two", b"2", QoS::ExactlyOnce));
    // Acknowledgements of messages that were received together are sent together, before the call returns.
    let own = publish("t", b"", QoS::AtLeastOnce, 4);
    let acks = [puback(77), common::pubrec(78)].concat();
    assert_eq!(network.take_writes(), [own, acks]);
    assert_eq!(client.recv(), Ok(Event::Message(Message::new("late", b""))));
}

/// The acknowledgement is sent by the next call, when the caller does not borrow the message any more.
#[test]
fn message_is_acknowledged_with_next_call() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.feed(&publish("t", b"", QoS::AtLeastOnce, 5));
    assert!(matches!(client.recv(), Ok(Event::Message(_))));
    assert!(network.take_sent().is_empty());
    assert_eq!(
        client.deadline().unwrap().as_millis(),
        network.millis(),
        "an answer is owed"
    );
    client.poll().unwrap();
    assert_eq!(network.take_sent(), puback(5));
}

/// Acknowledgements wait only for the packets after them in the receive buffer.
#[test]
fn acknowledgements_wait_for_buffered_messages_only() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    let burst: Vec<_> = (1..=3)
        .flat_map(|id| publish("t", b"", QoS::AtLeastOnce, id))
        .collect();
    network.feed(&burst);
    for _ in 1..=3 {
        assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
    }
    assert!(network.take_writes().is_empty());
    assert_eq!(client.poll(), Ok(None));
    assert_eq!(
        network.take_writes(),
        [[puback(1), puback(2), puback(3)].concat()]
    );

    // A publish does not wait for messages. Acknowledgements that were sent with it were pending before.
    network.feed(&burst);
    assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
    assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
    client.publish(&Message::new("t", b"")).unwrap();
    assert_eq!(
        network.take_sent(),
        [puback(1), puback(2), publish("t", b"", QoS::AtMostOnce, 0)].concat()
    );
}

/// The acknowledgements of messages that were received together are sent in one write, after the last, even if the
/// caller takes its time.
#[test]
fn acknowledgements_of_messages_received_together_are_one_write() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    for id in 1..=4 {
        network.feed(&publish("t", b"", QoS::AtLeastOnce, id));
    }
    let mut sent = Vec::new();
    for _ in 1..=4 {
        assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
        sent.push(network.take_sent());
        network.pass(15);
    }
    assert_eq!(sent, [[]; 4]);
    assert_eq!(client.poll(), Ok(None));
    let all = [puback(1), puback(2), puback(3), puback(4)].concat();
    assert_eq!(network.take_writes(), [all]);
}

#[test]
fn subscribe_and_wait_returns_codes_in_filter_order() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    let granted = [
        SubackReturnCode::Granted(QoS::ExactlyOnce),
        SubackReturnCode::Failure,
        SubackReturnCode::Granted(QoS::AtMostOnce),
        SubackReturnCode::Granted(QoS::AtLeastOnce),
    ];
    network.feed(&publish("a", b"retained", QoS::AtMostOnce, 0));
    network.feed(&suback(1, &granted));
    let filters = ["a", "b/#", "c/+", "d"].map(|filter| (filter, QoS::ExactlyOnce));
    let mut seen = Vec::new();
    let codes = client
        .subscribe_and_wait(&filters, |event, _| record(&mut seen, event))
        .unwrap();
    assert_eq!(codes.iter().collect::<Vec<_>>(), granted);
    assert_eq!(seen, [Seen::message("a", b"retained")]);
}

// The beginning and the end of a connection.

#[test]
fn connect_refused_returns_code_and_drops_transport() {
    for code in REFUSALS {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        network.feed(&refused(code));
        let error = Client::connect(&mut session, network.transport(), &network, &options()).err();
        assert_eq!(error, Some(Error::Protocol(ProtocolError::Refused(code))));
        assert!(network.is_dropped());
        assert_eq!(
            packets(&network.take_sent()).0.len(),
            1,
            "the CONNECT and nothing else"
        );
    }
}

#[test]
fn session_present_is_reported() {
    for session_present in [false, true] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        network.feed(&connack(session_present));
        let options = Connect {
            clean_session: false,
            ..options()
        };
        let client =
            Client::connect(&mut session, network.transport(), &network, &options).unwrap();
        assert_eq!(client.session_present(), session_present);
    }
}

/// Acknowledgements and messages are sent before DISCONNECT, nothing after it, and the transport is returned.
#[test]
fn disconnect_sends_pending_packets_first() {
    for pause in [None, Some(Step::NotReady), Some(Step::Interrupted)] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        // Half of the first packet was sent when the others are received.
        let busy: Vec<Step> = pause
            .iter()
            .flat_map(|pause| [Step::Bytes(3), *pause])
            .collect();
        network.writes(&busy, Step::Bytes(usize::MAX));
        client.publish(&Message::new("first", b"")).unwrap();
        network.feed(&publish("t", b"", QoS::AtLeastOnce, 5));
        assert!(matches!(client.recv(), Ok(Event::Message(_))));
        client
            .session()
            .publish(&Message::new("last", b""))
            .unwrap();
        let flushed = network.flushed();
        assert_eq!(client.disconnect(), Ok(false), "the server does not close");
        let mut transport = client.into_transport();
        let first = publish("first", b"", QoS::AtMostOnce, 0);
        let last = publish("last", b"", QoS::AtMostOnce, 0);
        let sent = network.take_sent();
        assert_eq!(
            packets(&sent).0,
            [&first[..], &puback(5), &last, &DISCONNECT]
        );
        assert!(network.flushed() > flushed);

        assert!(!network.is_dropped());
        assert_eq!(transport.write_ready(), Ok(true));
        assert_eq!(transport.write(b"bye"), Ok(3));
        assert_eq!(
            session.publish(&Message::new("t", b"")),
            Err(RequestError::NotConnected)
        );
        assert!(!session.has_pending());
    }
}

/// On a closed connection, no DISCONNECT can be sent.
#[test]
fn disconnect_connection_closed_returns_closed() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.end();
    assert_eq!(client.recv(), Err(Error::Closed));
    assert_eq!(client.disconnect(), Err(Error::Closed));
    assert!(network.take_sent().is_empty());
    assert_eq!(network.millis(), 0);
}

/// The server closes while DISCONNECT waits for a transport that is busy.
#[test]
fn connection_lost_during_disconnect_is_reported() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.writes(&[], Step::NotReady);
    network.end();
    assert_eq!(client.disconnect().err(), Some(Error::Closed));
    assert!(network.take_sent().is_empty());
}

/// The session outlives its clients.
#[test]
fn session_after_disconnect_connects_again() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    for _ in 0..3 {
        let mut client = connected(&mut session, &network, &options());
        client
            .publish_and_wait(&message("t", b"", QoS::ExactlyOnce), |_, _| panic!())
            .unwrap();
        client.disconnect().unwrap();
    }
}

/// CONNECT, PUBLISH and DISCONNECT are sent in one write, and the answer is read before the transport is returned.
#[test]
fn open_publish_disconnect_are_one_write() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    let mut client = Client::open(&mut session, network.transport(), &network, &options()).unwrap();
    client
        .session()
        .publish(&Message::new("t", b"21.5"))
        .unwrap();
    client.disconnect().unwrap();
    let writes = network.take_writes();
    assert_eq!(writes.len(), 1);
    let types: Vec<u8> = packets(&writes[0])
        .0
        .iter()
        .map(|packet| packet[0] >> 4)
        .collect();
    assert_eq!(types, [1, 3, 14]);
    assert_eq!(network.unread(), 0);
}

/// A message of an earlier connection may be sent only after CONNACK. DISCONNECT is sent after it.
#[test]
fn disconnect_resend_pending_waits_for_connack() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let options = Connect {
        clean_session: false,
        ..options()
    };
    let mut client = connected(&mut session, &network, &options);
    client
        .publish(&message("t", b"", QoS::AtLeastOnce))
        .unwrap();
    drop(client);
    network.take_writes();
    network.feed_at(50, &connack(true));
    let mut client = Client::open(&mut session, network.transport(), &network, &options).unwrap();
    client.disconnect().unwrap();
    let sent = network.take_sent();
    let mut again = publish("t", b"", QoS::AtLeastOnce, 1);
    again[0] |= 0b1000;
    assert_eq!(packets(&sent).0[1..], [&again[..], &DISCONNECT]);
}

// Packet ids.

/// Ids increase, skip 0 and the ids in flight, and wrap.
#[test]
fn packet_ids_wrapped_skip_zero_and_ids_in_flight() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let in_flight = [2, 3, 5, 60_000];
    network.answer(move |packet| match packet {
        Packet::Publish(publish) => {
            let id = publish.delivery.packet_id().unwrap().get();
            if in_flight.contains(&id) {
                Vec::new()
            } else {
                puback(id)
            }
        }
        other => server(other),
    });
    let mut client = connected(&mut session, &network, &options());
    client.session().set_response_timeout(u32::MAX / 4);
    let mut ids = Vec::new();
    for _ in 0..65_535 + 10 {
        let id = client
            .publish(&message("t", b"", QoS::AtLeastOnce))
            .unwrap()
            .unwrap();
        ids.push(id.get());
        client.poll().unwrap();
        network.take_writes();
    }
    let second_lap = (1..=65_535).filter(|id| !in_flight.contains(id));
    let expected: Vec<u16> = (1..=65_535).chain(second_lap).take(ids.len()).collect();
    assert_eq!(ids, expected);
    assert_eq!(client.session().in_flight(), in_flight.len());
}

// Checkpoints.

#[test]
fn flush_checkpoint_due_returns_error() {
    let (mut storage, network) = (storage(), Network::with_server());
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    let mut client = connected(&mut session, &network, &options());
    while client.poll().unwrap().is_some() {}
    client
        .publish(&message("t", b"1", QoS::AtLeastOnce))
        .unwrap();
    let due = Err(Error::Request(RequestError::CheckpointDue));
    assert_eq!(client.flush(), due);
    let mut seen = Vec::new();
    client
        .publish_and_wait(&message("t", b"0", QoS::AtMostOnce), |event, _| {
            seen.push(format!("{event:?}"));
        })
        .unwrap();
    assert_eq!(seen[0], "CheckpointDue");
    assert_eq!(client.flush(), Ok(()));
}

/// Acknowledgements may be delayed. Messages are not, with or without acknowledgements. If the transport refuses a
/// message, the next call sends it, before the answers to packets that this call receives.
#[test]
fn publish_acknowledgements_delayed_is_sent_at_once() {
    for (qos, stuck) in [
        (QoS::AtMostOnce, false),
        (QoS::AtMostOnce, true),
        (QoS::AtLeastOnce, false),
        (QoS::AtLeastOnce, true),
    ] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        for id in 1..=2 {
            network.feed(&publish("t", b"", qos, id));
        }
        assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
        assert!(network.take_sent().is_empty(), "the answer is delayed");
        if stuck {
            network.writes(&[Step::NotReady], Step::Bytes(usize::MAX));
        }
        client
            .publish(&message("topic", b"payload", QoS::AtMostOnce))
            .unwrap();
        let published = publish("topic", b"payload", QoS::AtMostOnce, 0);
        let answer = match qos {
            QoS::AtMostOnce => Vec::new(),
            _ => puback(1),
        };
        if stuck {
            assert!(network.take_sent().is_empty());
            assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
        }
        assert_eq!(network.take_sent(), [answer, published].concat());
    }
}

/// Resent messages do not wait either, with or without an acknowledgement. The call that would return the next message
/// sends them first.
#[test]
fn resend_acknowledgements_delayed_is_sent_at_once() {
    for stuck in [false, true] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let keep = Connect {
            clean_session: false,
            ..options()
        };
        let mut client = connected(&mut session, &network, &keep);
        client
            .publish(&message("topic", b"payload", QoS::AtLeastOnce))
            .unwrap();
        client.flush().unwrap();
        drop(client);

        let network = Network::new();
        network.feed(&connack(true));
        for id in 1..=2 {
            network.feed(&publish("t", b"", QoS::AtLeastOnce, id));
        }
        let mut client =
            Client::connect(&mut session, network.transport(), &network, &keep).unwrap();
        network.take_sent();
        if stuck {
            network.writes(&[Step::NotReady], Step::Bytes(usize::MAX));
            assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
        }
        assert!(matches!(client.poll(), Ok(Some(Event::Message(_)))));
        let answer = if stuck { puback(1) } else { Vec::new() };
        let again = dup(publish("topic", b"payload", QoS::AtLeastOnce, 1));
        assert_eq!(network.take_sent(), [answer, again].concat(), "{stuck}");
    }
}

/// A flush waits for CONNACK only if a packet is queued that must not be sent before.
#[test]
fn flush_before_connack_returns_when_all_is_sent() {
    for checkpoints in [true, false] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        session.set_checkpoints(checkpoints);
        let mut client =
            Client::open(&mut session, network.transport(), &network, &options()).unwrap();
        if !checkpoints {
            client
                .publish(&message("topic", b"payload", QoS::AtLeastOnce))
                .unwrap();
        }
        assert_eq!(client.flush(), Ok(()));
    }
}
