//! A session saved to an image and restored from it: what survives, what is refused, and what checkpoints promise.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use umqtt::{
    Event, ImageError, Instant, Message, Outgoing, ProtocolError, RequestError, Session, Storage,
    codec::{Connect, PacketId, QoS},
};

const T: Instant = Instant::from_millis(5);
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const CONNACK_PRESENT: [u8; 4] = [0x20, 2, 1, 0];

type Small = Storage<64, 128, 4, 4>;

fn options(client_id: &str) -> Connect<'_> {
    Connect {
        clean_session: false,
        ..Connect::new(client_id)
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn feed(session: &mut Session<'_>, bytes: &[u8]) {
    session.space()[..bytes.len()].copy_from_slice(bytes);
    session.commit(bytes.len());
}

fn drain(session: &mut Session<'_>) -> Vec<u8> {
    let mut sent = Vec::new();
    while session.has_pending() {
        let bytes = session.pending(T).to_vec();
        session.consume(bytes.len(), T);
        sent.extend(bytes);
    }
    sent
}

/// The next event, in words.
fn next(session: &mut Session<'_>) -> Option<String> {
    let ready = session.poll(T).unwrap()?;
    Some(format!("{:?}", session.event(ready).unwrap().unwrap()))
}

fn connect(session: &mut Session<'_>, client_id: &str, connack: &[u8]) {
    session.connect(&options(client_id), T).unwrap();
    let (connect, _) = (drain(session), ());
    assert_eq!(connect[0], 0x10);
    feed(session, connack);
    assert!(next(session).unwrap().starts_with("Connected"));
}

fn publish(session: &mut Session<'_>, payload: &[u8], qos: QoS) -> PacketId {
    let message = Message {
        qos,
        ..Message::new("t", payload)
    };
    session.publish(&message).unwrap().unwrap()
}

fn image(session: &Session<'_>) -> Vec<u8> {
    let mut out = [0; Small::IMAGE_LEN];
    let used = session.save(&mut out).unwrap();
    out[..used].to_vec()
}

/// A session with something in every state that is saved.
fn busy(storage: &mut Small) -> Session<'_> {
    let mut session = Session::new(storage);
    connect(&mut session, "device", &CONNACK);
    publish(&mut session, b"one", QoS::AtLeastOnce);
    publish(&mut session, b"two", QoS::ExactlyOnce);
    publish(&mut session, b"three", QoS::ExactlyOnce);
    session.subscribe(&[("s/#", QoS::AtMostOnce)]).unwrap();
    drain(&mut session);
    feed(&mut session, &[0x50, 2, 0, 3]); // PUBREC: the third is the server's
    feed(&mut session, &[0x34, 6, 0, 1, b'x', 0, 9, b'y']); // a message at QoS 2
    assert!(next(&mut session).unwrap().starts_with("Message"));
    drain(&mut session);
    session
}

/// [MQTT-4.1.0-1] The session state lives across reboots if it is saved.
#[test]
fn mqtt_4_1_0_1_a_restored_session_goes_on_where_it_stopped() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));

    let mut second = Small::new();
    let mut session = Session::new(&mut second);
    session.restore(&saved).unwrap();
    assert_eq!(session.in_flight(), 4);
    session.connect(&options("device"), T).unwrap();
    assert_eq!(drain(&mut session)[0], 0x10);
    feed(&mut session, &CONNACK_PRESENT);
    assert_eq!(
        next(&mut session).unwrap(),
        "Connected { session_present: true, unknown_session: false }"
    );
    // The PUBREL, then both PUBLISHes with their ids and DUP, in their order.
    assert_eq!(
        drain(&mut session),
        [
            &[0x62, 2, 0, 3][..],
            &[0x3A, 8, 0, 1, b't', 0, 1],
            b"one",
            &[0x3C, 8, 0, 1, b't', 0, 2],
            b"two"
        ]
        .concat()
    );
    assert_eq!(
        next(&mut session).unwrap(),
        "OutcomeUnknown(PacketId(4))",
        "the subscribe was not answered"
    );
    // The message at QoS 2 was delivered before the reboot.
    feed(&mut session, &[0x3C, 6, 0, 1, b'x', 0, 9, b'y']);
    assert_eq!(next(&mut session), None);
    assert_eq!(drain(&mut session), [0x50, 2, 0, 9]);
    assert_eq!(
        publish(&mut session, b"", QoS::AtLeastOnce),
        id(5),
        "ids go on behind those that were used"
    );
}

/// [MQTT-3.1.3-2] An image belongs to one client id.
#[test]
fn mqtt_3_1_3_2_a_restored_session_refuses_another_client_id() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut session = Session::new(&mut second);
    session.restore(&saved).unwrap();
    let other = session.connect(&options("other"), T);
    assert_eq!(other, Err(RequestError::OtherClientId));
    assert_eq!(session.in_flight(), 4, "nothing is given up");
    // With Clean Session 1 it may be given up.
    session.connect(&Connect::new("other"), T).unwrap();
}

#[test]
fn a_saved_and_restored_image_is_saved_again_byte_for_byte() {
    let mut first = Small::new();
    let mut session = busy(&mut first);
    session.connection_lost();
    session.poll(T).unwrap_or_default();
    let saved = image(&session);
    let mut second = Small::new();
    let mut restored = Session::new(&mut second);
    restored.restore(&saved).unwrap();
    let again = image(&restored);
    restored.restore(&again).unwrap();
    assert_eq!(image(&restored), again);
}

#[test]
fn a_session_that_never_connected_can_be_saved() {
    let mut first = Small::new();
    let saved = image(&Session::new(&mut first));
    let mut second = Small::new();
    let mut session = Session::new(&mut second);
    session.restore(&saved).unwrap();
    connect(&mut session, "device", &CONNACK);
}

#[test]
fn the_worst_case_fits_into_image_len_and_one_byte_less_is_refused() {
    let mut storage = Small::new();
    let mut session = Session::new(&mut storage);
    let long_id = "i".repeat(40);
    connect(&mut session, &long_id, &CONNACK);
    for number in 1..=4 {
        feed(&mut session, &[0x34, 5, 0, 1, b'x', 0, number]);
        next(&mut session).unwrap();
        drain(&mut session);
    }
    for _ in 0..3 {
        publish(&mut session, b"", QoS::ExactlyOnce);
    }
    // The arena of 128 bytes: CONNECT 54, three times 7, DISCONNECT 2; the last PUBLISH fills it to the brim.
    publish(&mut session, &[7; 44], QoS::AtLeastOnce);
    let mut out = [0; Small::IMAGE_LEN];
    let needed = session.save(&mut out).unwrap();
    assert!(needed <= Small::IMAGE_LEN);
    for len in 0..needed {
        assert_eq!(
            session.save(&mut out[..len]),
            Err(ImageError::BufferTooSmall { needed })
        );
    }
    let mut second = Small::new();
    let mut restored = Session::new(&mut second);
    restored.restore(&out[..needed]).unwrap();
    connect(&mut restored, &long_id, &CONNACK_PRESENT);
}

#[test]
fn bytes_behind_an_image_are_ignored() {
    let mut first = Small::new();
    let mut saved = image(&busy(&mut first));
    saved.extend([0xFF; 9]);
    let mut second = Small::new();
    Session::new(&mut second).restore(&saved).unwrap();
}

#[test]
fn an_image_with_any_byte_changed_or_missing_is_refused_and_changes_nothing() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut session = Session::new(&mut second);
    connect(&mut session, "device", &CONNACK);
    for len in 0..saved.len() {
        assert!(session.restore(&saved[..len]).is_err(), "{len} bytes");
    }
    for at in 0..saved.len() {
        for bit in 0..8 {
            let mut changed = saved.clone();
            changed[at] ^= 1 << bit;
            assert!(session.restore(&changed).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(session.is_connected());
    assert_eq!(session.in_flight(), 0);
}

/// An image with some bytes replaced and its checksum made right again.
fn forged(image: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut forged = image[..image.len() - 4].to_vec();
    forged[at..at + bytes.len()].copy_from_slice(bytes);
    let mut crc = u32::MAX;
    for byte in &forged {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    forged.extend((!crc).to_be_bytes());
    forged
}

#[test]
fn foreign_future_and_contradictory_images_are_refused_by_name() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut session = Session::new(&mut second);
    assert_eq!(
        forged(&saved, 0, b"uMQ"),
        saved,
        "the checksum here is the library's"
    );
    assert_eq!(session.restore(&[]), Err(ImageError::NotAnImage));
    assert_eq!(session.restore(b"PNG...."), Err(ImageError::NotAnImage));
    assert_eq!(
        session.restore(&forged(&saved, 3, &[2])),
        Err(ImageError::UnknownVersion { version: 2 })
    );
    let client_id = 17;
    let received = client_id + "device".len();
    let slots = received + 2 + 2;
    let packets = slots + 2 + 4 * 4;
    for (what, at, bytes) in [
        ("an unknown flag", 8, &[4][..]),
        ("room without space for the client id", 11, &[0, 0, 0, 3]),
        ("a client id that is not UTF-8", client_id, &[0xFF]),
        ("a client id with U+0000", client_id, &[0]),
        (
            "a client id that runs past the end",
            client_id - 2,
            &[0xFF, 0xFF],
        ),
        ("a received id of 0", received + 2, &[0, 0]),
        ("a request with id 0", slots + 2, &[0, 0]),
        ("an id that stands twice", slots + 2, &[0, 2]),
        ("an unknown state", slots + 4, &[10]),
        ("a state without its packet", packets - 2, &[0]),
        ("a flag that is neither 0 nor 1", slots + 5, &[2]),
        ("a packet that is no PUBLISH", packets, &[0x82]),
        ("a packet with another QoS", packets, &[0x3C]),
        ("a packet with a wildcard", packets + 4, b"#"),
        ("a packet that is too long", packets + 1, &[0x7F]),
    ] {
        assert_eq!(
            session.restore(&forged(&saved, at, bytes)),
            Err(ImageError::Inconsistent),
            "{what}"
        );
    }
}

/// A payload that is on its way is asked for again after the reboot, wherever the image was taken.
#[test]
fn a_session_can_be_saved_in_the_middle_of_a_payload() {
    let mut first = Small::new();
    let mut session = Session::new(&mut first);
    connect(&mut session, "device", &CONNACK);
    let message = Outgoing::New {
        topic: "t",
        qos: QoS::ExactlyOnce,
        retain: false,
    };
    session.begin_payload(message, 500).unwrap();
    let before = image(&session);
    assert_eq!(drain(&mut session).len(), 3 + 3 + 2);
    session.payload_sent(77, T);
    let saved = image(&session);
    assert_eq!(saved, before, "the whole of it is to be sent again");

    let mut second = Small::new();
    let mut session = Session::new(&mut second);
    session.restore(&saved).unwrap();
    connect(&mut session, "device", &CONNACK_PRESENT);
    assert_eq!(next(&mut session).unwrap(), "PayloadNeeded(PacketId(1))");
}

#[test]
fn an_image_that_needs_more_room_is_refused() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    fn refused<const TX: usize, const INFLIGHT: usize, const INBOUND: usize>(saved: &[u8]) {
        let mut storage = Storage::<64, TX, INFLIGHT, INBOUND>::new();
        let restored = Session::new(&mut storage).restore(saved);
        assert_eq!(restored, Err(ImageError::StorageTooSmall));
    }
    refused::<128, 3, 4>(&saved);
    refused::<128, 4, 0>(&saved);
    refused::<40, 4, 4>(&saved);
    let mut larger = Storage::<16, 256, 8, 8>::new();
    Session::new(&mut larger).restore(&saved).unwrap();
}

#[test]
fn restoring_ends_a_connection() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut session = Session::new(&mut second);
    connect(&mut session, "device", &CONNACK);
    session.restore(&saved).unwrap();
    assert!(!session.is_connected());
    assert!(session.pending(T).is_empty());
}

/// Saves when a checkpoint is due; anything else is returned.
fn checkpoint(session: &mut Session<'_>, saved: &mut Vec<u8>) -> Option<String> {
    let ready = session.poll(T).unwrap()?;
    match session.event(ready).unwrap().unwrap() {
        Event::Checkpoint(checkpoint) => {
            let mut out = [0; Small::IMAGE_LEN];
            let used = checkpoint.save(&mut out).unwrap();
            *saved = out[..used].to_vec();
            Some("Checkpoint".into())
        }
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn with_checkpoints_nothing_leaves_before_the_caller_could_save() {
    let mut storage = Small::new();
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    session.connect(&options("device"), T).unwrap();
    publish(&mut session, b"a", QoS::ExactlyOnce);
    let sent = drain(&mut session);
    assert_eq!(
        sent.len(),
        2 + usize::from(sent[1]),
        "the CONNECT alone leaves before CONNACK"
    );
    feed(&mut session, &CONNACK);
    let mut saved = Vec::new();
    assert!(
        checkpoint(&mut session, &mut saved)
            .unwrap()
            .starts_with("Connected")
    );

    // PUBLISH
    assert!(!session.has_pending() && session.pending(T).is_empty());
    assert_eq!(checkpoint(&mut session, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(drain(&mut session), [0x34, 6, 0, 1, b't', 0, 1, b'a']);
    // PUBREL
    feed(&mut session, &[0x50, 2, 0, 1]);
    assert!(session.pending(T).is_empty());
    assert_eq!(checkpoint(&mut session, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(drain(&mut session), [0x62, 2, 0, 1]);
    // PUBREC
    feed(&mut session, &[0x34, 5, 0, 1, b'x', 0, 9]);
    assert!(
        checkpoint(&mut session, &mut saved)
            .unwrap()
            .starts_with("Message")
    );
    assert!(session.pending(T).is_empty());
    assert_eq!(checkpoint(&mut session, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(drain(&mut session), [0x50, 2, 0, 9]);
    // PUBCOMP
    feed(&mut session, &[0x62, 2, 0, 9]);
    assert!(session.pending(T).is_empty());
    assert_eq!(checkpoint(&mut session, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(drain(&mut session), [0x70, 2, 0, 9]);
    // A PING, a message at QoS 0 and a repeated packet change nothing.
    session.ping().unwrap();
    session.publish(&Message::new("t", b"0")).unwrap();
    assert_eq!(drain(&mut session), [0xC0, 0, 0x30, 4, 0, 1, b't', b'0']);
    assert_eq!(checkpoint(&mut session, &mut saved), None);
}

/// What `poll` handles by itself may owe a checkpoint too. A caller to whom nothing is told would sleep on it.
#[test]
fn a_checkpoint_is_due_in_the_same_poll_as_the_change() {
    let mut storage = Small::new();
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    connect(&mut session, "device", &CONNACK);
    while next(&mut session).is_some() {}
    feed(&mut session, &[0x34, 5, 0, 1, b'x', 0, 9]);
    while next(&mut session).is_some() {}
    assert_eq!(drain(&mut session), [0x50, 2, 0, 9]);

    feed(&mut session, &[0x62, 2, 0, 9]);
    assert_eq!(next(&mut session).unwrap(), "Checkpoint(Checkpoint)");
    assert_eq!(drain(&mut session), [0x70, 2, 0, 9]);
}

/// There are no checkpoints between the chunks of a message, and nothing leaves while one is owed.
#[test]
fn a_checkpoint_is_due_before_a_long_message_begins() {
    let mut storage = Small::new();
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    connect(&mut session, "device", &CONNACK);
    while next(&mut session).is_some() {}
    feed(&mut session, &[0x34, 5, 0, 1, b'x', 0, 9]);
    while next(&mut session).is_some() {}
    drain(&mut session);

    feed(&mut session, &[0x62, 2, 0, 9]);
    feed(&mut session, &[0x30, 99, 0, 1, b'x', b'y']);
    assert_eq!(next(&mut session).unwrap(), "Checkpoint(Checkpoint)");
    assert_eq!(drain(&mut session), [0x70, 2, 0, 9]);
    assert!(next(&mut session).unwrap().starts_with("Chunk"));
}

#[test]
fn a_checkpoint_that_is_not_used_holds_nothing_up() {
    let mut storage = Small::new();
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    connect(&mut session, "device", &CONNACK);
    while next(&mut session).is_some() {}
    publish(&mut session, b"a", QoS::AtLeastOnce);
    assert_eq!(next(&mut session).unwrap(), "Checkpoint(Checkpoint)");
    assert_eq!(drain(&mut session)[0], 0x32);
    assert_eq!(session.poll(T), Ok(None));
    session.connection_lost();
    assert_eq!(session.poll(T), Err(ProtocolError::Closed));
}

/// A message published between the chunks of another must not hold everything up until that has ended.
#[test]
fn a_checkpoint_is_due_between_the_chunks_of_a_message() {
    let mut storage = Storage::<16, 64, 4>::new();
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    connect(&mut session, "device", &CONNACK);
    while next(&mut session).is_some() {}
    feed(&mut session, &[0x30, 30, 0, 1, b't', 1, 2, 3]);
    assert!(next(&mut session).unwrap().starts_with("Chunk"));
    publish(&mut session, b"a", QoS::AtLeastOnce);
    assert!(!session.has_pending());
    assert_eq!(next(&mut session).unwrap(), "Checkpoint(Checkpoint)");
    assert_eq!(drain(&mut session)[0], 0x32);
    feed(&mut session, &[4, 5, 6]);
    assert!(next(&mut session).unwrap().starts_with("Chunk"));
}
