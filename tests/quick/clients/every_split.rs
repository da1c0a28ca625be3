//! The result of a stream does not depend on the sizes of reads and writes, or on pauses of the transport.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};
use umqtt::{
    Event, Instant, ProtocolError, Publisher, RequestError, Session, Storage,
    codec::{Connect, Delivery, Packet, PacketType, Publish, QoS, SubackReturnCode, TopicName},
};

use crate::common::{
    self, Client, DISCONNECT, Error, Network, PINGRESP, Seen, Step, connack, encode, message,
    packet_id, packets, puback, pubcomp, publish, pubrec, pubrel, record, server, suback, unsuback,
};

const NOW: Instant = Instant::from_millis(0);
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The packets of a stream, in their order within each type.
type Types = BTreeMap<u8, Vec<Vec<u8>>>;

// A session, without a client.

/// The result of a stream in a session.
#[derive(Debug, PartialEq, Default)]
struct Outcome {
    events: Vec<Seen>,
    /// Its answers, by packet type. Between types there is no order: a PUBCOMP may be sent before a PUBREL that was
    /// pending earlier.
    answers: Types,
    error: Option<ProtocolError>,
}

/// Calls `test` with a session that has sent a CONNECT and, before CONNACK, requests of each kind with ids 1 to 5.
fn with_requests<const RX: usize>(test: impl FnOnce(&mut Session<'_>)) {
    let mut storage = Storage::<RX, 1024, 8>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        clean_session: false,
        ..Connect::new("id")
    };
    session.connect(&options, NOW).unwrap();
    session
        .publish(&message("t", b"", QoS::AtLeastOnce))
        .unwrap();
    session
        .publish(&message("t", b"", QoS::ExactlyOnce))
        .unwrap();
    session.subscribe(&[("a", QOS[1]), ("b", QOS[2])]).unwrap();
    session.unsubscribe(&["c"]).unwrap();
    session
        .publish(&message("t", b"", QoS::AtLeastOnce))
        .unwrap();
    take_pending(&mut session);
    test(&mut session);
}

/// Feeds a stream in pieces that end at `cuts`, like a client: it sends pending bytes first, then takes the next event,
/// then reads.
fn feed(session: &mut Session<'_>, stream: &[u8], cuts: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut answers = Vec::new();
    let ends = cuts.iter().copied().chain([stream.len()]);
    let begins = [0].into_iter().chain(cuts.iter().copied());
    for (begin, end) in begins.zip(ends) {
        let piece = &stream[begin..end];
        if let Err(error) = feed_piece(session, piece, &mut outcome.events, &mut answers) {
            outcome.error = Some(error);
            break;
        }
    }
    outcome.answers = by_type(&answers);
    outcome
}

/// Handles all events, receives a piece, and repeats this until the piece was received and all events were handled.
fn feed_piece(
    session: &mut Session<'_>,
    mut piece: &[u8],
    events: &mut Vec<Seen>,
    answers: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    loop {
        drain(session, events, answers)?;
        if piece.is_empty() {
            return Ok(());
        }
        let space = session.space();
        assert!(!space.is_empty(), "there is space if no event is pending");
        let n = space.len().min(piece.len());
        space[..n].copy_from_slice(&piece[..n]);
        session.commit(n);
        piece = &piece[n..];
    }
}

/// Handles all events, and takes all pending bytes.
fn drain(
    session: &mut Session<'_>,
    events: &mut Vec<Seen>,
    answers: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    loop {
        answers.extend(take_pending(session));
        let Some(ready) = session.poll(NOW)? else {
            // The last poll may have filled the acknowledgement queue, so there may be more packets to handle.
            if session.has_pending() {
                continue;
            }
            return Ok(());
        };
        if let Some(event) = session.event(ready)? {
            record(events, event);
        }
    }
}

fn take_pending(session: &mut Session<'_>) -> Vec<u8> {
    let mut taken = Vec::new();
    while session.has_pending() {
        let bytes = session.pending(NOW).to_vec();
        assert!(!bytes.is_empty());
        session.consume(bytes.len(), NOW);
        taken.extend(bytes);
    }
    taken
}

/// A packet that a server may send to a session with those requests, at any place of the stream.
fn server_packet() -> impl Strategy<Value = Vec<u8>> {
    let message = (
        "[a-z/é]{1,12}",
        vec(any::<u8>(), 0..40),
        0..3_usize,
        1..6_u16,
        any::<bool>(),
        any::<bool>(),
    );
    let message = message.prop_map(|(topic, payload, qos, id, dup, retain)| {
        let (packet_id, dup) = (packet_id(id), dup);
        let delivery = match QOS[qos] {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        };
        encode(&Packet::Publish(Publish {
            delivery,
            retain,
            ..Publish::new(TopicName::new(&topic).unwrap(), &payload)
        }))
    });
    prop_oneof![
        6 => message,
        2 => (1..6_u16).prop_map(pubrel),
        // Late acknowledgements, of unknown ids.
        1 => (100..200_u16).prop_map(puback),
        1 => (100..200_u16).prop_map(unsuback),
        1 => Just(PINGRESP.to_vec()),
    ]
}

/// CONNACK, then random packets, which contain each answer to the requests once.
fn server_stream(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let codes = [SubackReturnCode::Granted(QOS[2]), SubackReturnCode::Failure];
    let answers = [
        puback(1),
        pubrec(2),
        suback(3, &codes),
        unsuback(4),
        puback(5),
    ];
    (
        vec(server_packet(), 0..len),
        vec(any::<Index>(), answers.len()),
    )
        .prop_map(move |(mut stream, places)| {
            for (answer, place) in answers.iter().zip(places) {
                stream.insert(place.index(stream.len() + 1), answer.clone());
            }
            [connack(false), stream.concat()].concat()
        })
}

/// Random places of a stream, in order.
fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..40)
}

/// Returns these places in a stream of `len` bytes, in order.
fn places(cuts: &[Index], len: usize) -> Vec<usize> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    places.sort_unstable();
    places
}

/// Returns the result, in a session with a receive buffer of `RX` bytes, of a stream and of the PUBCOMP that ends its
/// QoS 2 publish.
fn outcome<const RX: usize>(stream: &[u8], cuts: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    with_requests::<RX>(|session| {
        outcome = feed(session, stream, cuts);
        // PUBCOMP cannot be received before PUBREL was sent.
        let end = feed(session, &pubcomp(2), &[]);
        assert_eq!(end.events, [Seen::other(Event::Pubcomp(packet_id(2)))]);
        assert_eq!(session.in_flight(), 0);
    });
    assert_eq!(outcome.error, None);
    outcome
}

/// Checks that the events and the end are the same with and without the cuts.
fn assert_cuts_change_nothing(stream: &[u8], cuts: &[usize]) {
    let mut whole = Outcome::default();
    with_requests::<64>(|session| whole = feed(session, stream, &[]));
    with_requests::<64>(|session| {
        let cut = feed(session, stream, cuts);
        assert_eq!(cut.error, whole.error);
        assert_eq!(cut.events, whole.events);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A short stream is cut at each single place, and into single bytes.
    #[test]
    fn short_stream_any_single_cut_yields_same_events(stream in server_stream(5)) {
        let whole = outcome::<512>(&stream, &[]);
        prop_assert!(!whole.events.is_empty());
        for cut in 0..=stream.len() {
            prop_assert_eq!(&outcome::<512>(&stream, &[cut]), &whole);
        }
        let bytes: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(outcome::<512>(&stream, &bytes), whole);
    }

    /// A longer stream, in random pieces, through a buffer that holds any packet of it, or several.
    #[test]
    fn long_stream_random_cuts_yield_same_events(stream in server_stream(60), cuts in cuts()) {
        let cuts = places(&cuts, stream.len());
        let whole = outcome::<8192>(&stream, &[]);
        prop_assert_eq!(&outcome::<128>(&stream, &cuts), &whole);
        prop_assert_eq!(&outcome::<8192>(&stream, &cuts), &whole);
        prop_assert_eq!(&outcome::<128>(&stream, &[]), &whole);
    }

    /// The buffer has room for the topics, but not for the messages. The joined chunks are the same messages.
    #[test]
    fn messages_larger_than_buffer_any_cuts_yield_same_events(stream in server_stream(30), cuts in cuts()) {
        let cuts = places(&cuts, stream.len());
        let whole = outcome::<8192>(&stream, &[]);
        prop_assert_eq!(&outcome::<32>(&stream, &[]), &whole);
        prop_assert_eq!(&outcome::<32>(&stream, &cuts), &whole);
        let bytes: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&outcome::<32>(&stream, &bytes), &whole);
    }

    /// With the smallest buffer, into which some topics do not fit: all cuts have the same result, and the answers are
    /// those of a larger buffer.
    #[test]
    fn topics_larger_than_buffer_any_cuts_yield_same_events(stream in server_stream(30), cuts in cuts()) {
        let cuts = places(&cuts, stream.len());
        let small = outcome::<16>(&stream, &[]);
        prop_assert_eq!(&outcome::<16>(&stream, &cuts), &small);
        let bytes: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&outcome::<16>(&stream, &bytes), &small);
        let whole = outcome::<8192>(&stream, &[]);
        prop_assert_eq!(&small.answers, &whole.answers);
        prop_assert_eq!(small.events.len(), whole.events.len());
    }

    /// Arbitrary bytes, alone or after a valid stream, may close the connection, but never panic. The result does not
    /// depend on the cuts.
    #[test]
    fn arbitrary_bytes_never_panic(
        stream in server_stream(4),
        bytes in vec(any::<u8>(), 0..300),
        valid_until in any::<Option<Index>>(),
        cuts in cuts(),
    ) {
        let valid_len = valid_until.map_or(0, |place| place.index(stream.len() + 1));
        let stream = [&stream[..valid_len], &bytes].concat();
        let cuts = places(&cuts, stream.len());
        assert_cuts_change_nothing(&stream, &cuts);
        with_requests::<16>(|session| { feed(session, &stream, &cuts); });
    }

    /// Bytes that resemble packets: a valid type and flags, a small length, and arbitrary bytes after them.
    #[test]
    fn malformed_packets_never_panic(
        packets in vec((0..16_u8, any::<Option<u8>>(), vec(any::<u8>(), 0..12)), 0..30),
        cuts in cuts(),
    ) {
        let mut stream = connack(false);
        for (packet_type, flags, body) in packets {
            let required = if matches!(packet_type, 6 | 8 | 10) { 2 } else { 0 };
            stream.push(packet_type << 4 | flags.map_or(required, |flags| flags & 15));
            stream.push(body.len() as u8);
            stream.extend(body);
        }
        let cuts = places(&cuts, stream.len());
        assert_cuts_change_nothing(&stream, &cuts);
    }
}

// A client, on a transport with random behaviour.

/// A step of a transport that does not fail.
fn harmless() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_usize).prop_map(Step::Bytes),
        1 => Just(Step::NotReady),
        1 => Just(Step::Interrupted),
        1 => Just(Step::TimedOut),
    ]
}

/// A failure of a transport, after which the connection has ended.
fn fatal() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Zero),
        Just(Step::Broken),
        Just(Step::ReadinessFails)
    ]
}

/// Runs a connection in which everything happens once. Returns the events and the end.
fn life(network: &Network) -> (Vec<Seen>, common::Result<()>) {
    let mut storage = Storage::<64, 512, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut seen = Vec::new();
    let options = Connect {
        keep_alive: 60,
        ..Connect::new("id")
    };
    let connected = Client::connect(&mut session, network.transport(), network, &options);
    let mut client = match connected {
        Ok(client) => client,
        Err(error) => return (seen, Err(error)),
    };
    let mut live = || {
        let on_event = |event: Event<'_>, _: &mut Publisher<'_, '_>| record(&mut seen, event);
        let codes = client.subscribe_and_wait(&[("in/#", QOS[2]), ("b", QOS[0])], on_event)?;
        assert_eq!(codes.len(), 2);
        for qos in QOS {
            client.publish_and_wait(&message("out", b"some payload", qos), |event, _| {
                record(&mut seen, event)
            })?;
        }
        client.ping()?;
        while !seen
            .iter()
            .any(|event| matches!(event, Seen::Message { topic, .. } if topic == "in/last"))
        {
            record(&mut seen, client.recv()?);
        }
        client.unsubscribe_and_wait(&["in/#"], |event, _| record(&mut seen, event))?;
        client.disconnect().map(drop)
    };
    let mut end = live();
    // A request fails while a connection ends. Received data is reported first, then the reason.
    while end == Err(Error::Request(RequestError::NotConnected)) {
        match client.recv() {
            Ok(event) => record(&mut seen, event),
            Err(error) => end = Err(error),
        }
    }
    (seen, end)
}

/// A server that sends messages to each subscriber, one of them larger than the client's buffer.
fn busy_server(packet: &Packet<'_>) -> Vec<u8> {
    let mut answer = server(packet);
    if matches!(packet, Packet::Subscribe(_)) {
        let first = publish("in/first", b"retained", QOS[0], 0);
        answer = [
            first,
            answer,
            publish("in/1", b"one", QOS[1], 1),
            publish("in/2", &[b'x'; 200], QOS[2], 2),
        ]
        .concat();
    }
    if matches!(packet, Packet::Pingreq) {
        answer.extend(publish("in/last", b"", QOS[1], 3));
    }
    answer
}

fn network_of(reads: &[Step], writes: &[Step], flushes: &[Step], then: usize) -> Network {
    let network = Network::new();
    network.answer(busy_server);
    network.reads(reads, Step::Bytes(then));
    network.writes(writes, Step::Bytes(then));
    network.flushes(flushes);
    network
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Small pieces, pauses and interruptions do not change the sent bytes and the events.
    #[test]
    fn transport_short_and_interrupted_loses_nothing(
        reads in vec(harmless(), 0..200),
        writes in vec(harmless(), 0..200),
        flushes in vec(harmless(), 0..20),
        then in 1..100_usize,
    ) {
        let plain = network_of(&[], &[], &[], usize::MAX);
        let (expected, end) = life(&plain);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(expected.len(), 4);

        let network = network_of(&reads, &writes, &flushes, then);
        let (seen, end) = life(&network);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(by_type(&network.take_sent()), by_type(&plain.take_sent()));
    }

    /// The failure of a transport is reported. The bytes that it accepted before are the beginning of a valid stream.
    #[test]
    fn transport_failed_has_accepted_prefix_of_valid_stream(
        reads in vec(harmless(), 0..200),
        writes in vec(harmless(), 0..200),
        flushes in vec(harmless(), 0..20),
        fault in fatal(),
        place in 0..3,
    ) {
        let (mut reads, mut writes, mut flushes) = (reads, writes, flushes);
        match place {
            0 => reads.push(fault),
            1 => writes.push(fault),
            // A flush has no `Ok(0)`.
            _ => flushes.push(Step::Broken),
        }
        let network = network_of(&reads, &writes, &flushes, 100);
        let (_, end) = life(&network);
        let reported = matches!(end, Err(Error::Closed | Error::Transport(_)));
        let sent = network.take_sent();
        let disconnected = sent.ends_with(&DISCONNECT);
        if disconnected && place == 0 && (network.is_flushed() || fault == Step::Zero) {
            // After DISCONNECT, nothing has to be read, and the server may close the connection.
            prop_assert_eq!(&end, &Ok(()));
        } else {
            // The client may end before its transport fails.
            prop_assert_eq!(reported, network.is_broken(), "{:?}", end);
        }
        if reported {
            prop_assert!(network.is_dropped());
        }
        let (all, _) = packets(&sent);
        prop_assert!(all.is_empty() || Packet::decode(all[0]).unwrap().unwrap().0.packet_type() == PacketType::Connect);
    }
}

/// Returns the packets of a stream by type, in their order within each type. Acknowledgements may be sent before
/// packets that were queued earlier.
fn by_type(stream: &[u8]) -> Types {
    let (all, rest) = packets(stream);
    assert!(rest.is_empty());
    let mut types = Types::new();
    for packet in all {
        let packets = types.entry(packet[0] >> 4).or_default();
        packets.push(packet.to_vec());
    }
    types
}
