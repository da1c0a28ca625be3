//! A session saved to an image and restored from it: the kept state, refused images, and the guarantees of checkpoints.

use crate::wire::{TestSession, connack, packets, pubcomp, pubrec, streamed};
use umqtt::{
    Event, ImageError, Message, ProtocolError, RequestError, Session, Storage,
    codec::{Connect, Credentials, QoS},
};

type Small = Storage<64, 128, 4, 4>;

fn options(client_id: &str) -> Connect<'_> {
    Connect {
        clean_session: false,
        ..Connect::new(client_id)
    }
}

/// Opens a connection of the client `device`.
fn open(driven: &mut TestSession<'_>, session_present: bool) {
    driven.open(&options("device"), session_present);
}

/// Returns a session restored from an image, without a connection.
#[track_caller]
fn restored<'b>(storage: &'b mut Small, saved: &[u8]) -> TestSession<'b> {
    let mut driven = TestSession::new(storage);
    driven.session.restore(saved).unwrap();
    driven
}

fn image(driven: &TestSession<'_>) -> Vec<u8> {
    let mut out = [0; Small::IMAGE_LEN];
    let used = driven.session.save(&mut out).unwrap().len;
    out[..used].to_vec()
}

/// Returns a session with something in every state that is saved.
fn busy(storage: &mut Small) -> TestSession<'_> {
    let mut driven = TestSession::new(storage);
    open(&mut driven, false);
    driven.publish(1, b"one");
    driven.publish(2, b"two");
    driven.publish(2, b"three");
    driven
        .session
        .subscribe(&[("s/#", QoS::AtMostOnce)])
        .unwrap();
    driven.sent();
    driven.feed(&[0x50, 2, 0, 3]); // PUBREC: the server has received the third message
    driven.feed(&[0x34, 6, 0, 1, b'x', 0, 9, b'y']); // a message at QoS 2
    assert!(driven.next().unwrap().unwrap().starts_with("Message"));
    driven.sent();
    driven
}

/// [MQTT-4.1.0-1] The session state lives across reboots if it is saved.
#[test]
fn mqtt_4_1_0_1_restored_session_continues() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));

    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    assert_eq!(driven.session.in_flight(), 4);
    driven.connect(&options("device"));
    assert_eq!(driven.sent()[0], 0x10);
    driven.feed(&connack(true));
    assert_eq!(
        driven.next().unwrap().unwrap(),
        "Connected { session_present: true, unknown_session: false, connect_unanswered: false }"
    );
    // The PUBREL, then both PUBLISHes with their ids and DUP, in their order.
    assert_eq!(
        driven.sent(),
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
        driven.next().unwrap().unwrap(),
        "OutcomeUnknown(PacketId(4))",
        "the subscribe was not answered"
    );
    // The message at QoS 2 was delivered before the reboot.
    driven.feed(&[0x3C, 6, 0, 1, b'x', 0, 9, b'y']);
    assert_eq!(driven.next().unwrap(), None);
    assert_eq!(driven.sent(), [0x50, 2, 0, 9]);
    assert_eq!(
        driven.publish(1, b""),
        5,
        "new ids follow those that were used"
    );
}

/// [MQTT-3.1.3-2] An image belongs to one client id.
#[test]
fn mqtt_3_1_3_2_restored_session_other_id_is_refused() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    let other = driven.session.connect(&options("other"), driven.at());
    assert_eq!(other, Err(RequestError::ClientIdMismatch));
    assert_eq!(driven.session.in_flight(), 4, "nothing is discarded");
    // With Clean Session 1, another client id is accepted, and the session is discarded.
    driven.connect(&Connect::new("other"));
}

#[test]
fn image_restored_and_saved_again_is_identical() {
    let mut first = Small::new();
    let mut driven = busy(&mut first);
    driven.session.connection_lost();
    driven.session.poll(driven.at()).unwrap_or_default();
    let saved = image(&driven);
    let mut second = Small::new();
    let mut restored = restored(&mut second, &saved);
    assert_eq!(image(&restored), saved);
    restored.session.restore(&saved).unwrap();
    assert_eq!(image(&restored), saved);
}

#[test]
fn session_never_connected_is_saved_and_restored() {
    let mut first = Small::new();
    let saved = image(&TestSession::new(&mut first));
    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    open(&mut driven, false);
}

#[test]
fn image_largest_fits_image_len_and_one_byte_less_fails() {
    let mut storage = Small::new();
    let mut driven = TestSession::new(&mut storage);
    let long_id = "i".repeat(40);
    driven.open(&options(&long_id), false);
    for number in 1..=4 {
        driven.feed(&[0x34, 5, 0, 1, b'x', 0, number]);
        driven.next().unwrap().unwrap();
        driven.sent();
    }
    for _ in 0..3 {
        driven.publish(2, b"");
    }
    // The send buffer has 128 bytes: CONNECT 54, three PUBLISHes of 7, DISCONNECT 2. The last PUBLISH fills the rest.
    driven.publish(1, &[7; 44]);
    let mut out = [0; Small::IMAGE_LEN];
    let needed = driven.session.save(&mut out).unwrap().len;
    assert!(needed <= Small::IMAGE_LEN);
    for len in 0..needed {
        assert_eq!(
            driven.session.save(&mut out[..len]),
            Err(ImageError::BufferTooSmall { needed })
        );
    }
    let mut second = Small::new();
    let mut restored = restored(&mut second, &out[..needed]);
    restored.open(&options(&long_id), true);
}

#[test]
fn bytes_after_image_are_ignored() {
    let mut first = Small::new();
    let mut saved = image(&busy(&mut first));
    saved.extend([0xFF; 9]);
    let mut second = Small::new();
    Session::new(&mut second).restore(&saved).unwrap();
}

#[test]
fn image_changed_or_truncated_is_refused_without_effect() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut driven = TestSession::new(&mut second);
    open(&mut driven, false);
    for len in 0..saved.len() {
        assert!(
            driven.session.restore(&saved[..len]).is_err(),
            "{len} bytes"
        );
    }
    for at in 0..saved.len() {
        for bit in 0..8 {
            let mut changed = saved.clone();
            changed[at] ^= 1 << bit;
            assert!(
                driven.session.restore(&changed).is_err(),
                "bit {bit} of byte {at}"
            );
        }
    }
    assert!(driven.session.is_connected());
    assert_eq!(driven.session.in_flight(), 0);
}

/// Returns an image with some bytes replaced, and with a correct checksum.
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
fn image_foreign_newer_or_invalid_returns_named_error() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut driven = TestSession::new(&mut second);
    assert_eq!(forged(&saved, 0, b"uMQ"), saved, "both checksums are equal");
    assert_eq!(driven.session.restore(&[]), Err(ImageError::NotAnImage));
    assert_eq!(
        driven.session.restore(b"PNG...."),
        Err(ImageError::NotAnImage)
    );
    assert_eq!(
        driven.session.restore(&forged(&saved, 3, &[3])),
        Err(ImageError::UnknownVersion { version: 3 })
    );
    let client_id = 17;
    let received = client_id + "device".len();
    let slots = received + 2 + 2;
    let packets = slots + 2 + 4 * 4;
    for (what, at, bytes) in [
        ("an unknown flag", 8, &[8][..]),
        ("room without space for the client id", 11, &[0, 0, 0, 3]),
        ("a client id without room", 11, &[0, 0, 0, 0]),
        ("a client id that is not UTF-8", client_id, &[0xFF]),
        ("a client id with U+0000", client_id, &[0]),
        (
            "a client id that runs past the end",
            client_id - 2,
            &[0xFF, 0xFF],
        ),
        ("a received id of 0", received + 2, &[0, 0]),
        ("a request with id 0", slots + 2, &[0, 0]),
        ("an id that occurs twice", slots + 2, &[0, 2]),
        ("an unknown state", slots + 4, &[10]),
        ("a state without its packet", packets - 2, &[4]),
        ("a flag that is neither 0 nor 1", slots + 5, &[2]),
        ("a packet that is no PUBLISH", packets, &[0x82]),
        ("a packet with another QoS", packets, &[0x3C]),
        ("a packet with another id", packets + 5, &[0, 9]),
        ("a packet with a wildcard", packets + 4, b"#"),
        ("a packet that is too long", packets + 1, &[0x7F]),
    ] {
        assert_eq!(
            driven.session.restore(&forged(&saved, at, bytes)),
            Err(ImageError::Inconsistent),
            "{what}"
        );
    }
}

/// A payload that is being sent is requested again after the reboot. The image may be saved at any byte.
#[test]
fn session_saved_inside_payload_requests_it_again() {
    let mut first = Small::new();
    let mut driven = TestSession::new(&mut first);
    open(&mut driven, false);
    driven.session.begin_payload(streamed(2), 500).unwrap();
    let before = image(&driven);
    assert_eq!(driven.sent().len(), 3 + 3 + 2);
    driven.session.payload_sent(77, driven.at());
    let saved = image(&driven);
    assert_eq!(saved, before, "the whole payload must be sent again");

    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    open(&mut driven, true);
    assert_eq!(
        driven.next().unwrap().unwrap(),
        "PayloadNeeded(PacketId(1))"
    );
}

#[test]
fn image_larger_than_storage_is_refused() {
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
fn restore_connected_closes_connection() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut second = Small::new();
    let mut driven = TestSession::new(&mut second);
    open(&mut driven, false);
    driven.session.restore(&saved).unwrap();
    assert!(!driven.session.is_connected());
    assert!(driven.session.pending(driven.at()).is_empty());
}

/// Returns the text of the next event. If it is a checkpoint, saves the session.
fn checkpoint(driven: &mut TestSession<'_>, saved: &mut Vec<u8>) -> Option<String> {
    let ready = driven.session.poll(driven.at()).unwrap()?;
    match driven.session.event(ready).unwrap().unwrap() {
        Event::CheckpointDue => {
            *saved = image(driven);
            Some("Checkpoint".into())
        }
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn checkpoints_on_nothing_is_sent_before_save_is_possible() {
    let mut storage = Small::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_checkpoints(true);
    driven.connect(&options("device"));
    driven.publish(2, b"a");
    let sent = driven.sent();
    assert_eq!(
        sent.len(),
        2 + usize::from(sent[1]),
        "only the CONNECT is sent before CONNACK"
    );
    driven.feed(&connack(false));
    let mut saved = Vec::new();
    assert!(
        checkpoint(&mut driven, &mut saved)
            .unwrap()
            .starts_with("Connected")
    );

    // PUBLISH
    assert!(!driven.session.has_pending() && driven.session.pending(driven.at()).is_empty());
    assert_eq!(checkpoint(&mut driven, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(driven.sent(), [0x34, 6, 0, 1, b't', 0, 1, b'a']);
    // PUBREL
    driven.feed(&[0x50, 2, 0, 1]);
    assert!(driven.session.pending(driven.at()).is_empty());
    assert_eq!(checkpoint(&mut driven, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(driven.sent(), [0x62, 2, 0, 1]);
    // PUBREC
    driven.feed(&[0x34, 5, 0, 1, b'x', 0, 9]);
    assert!(
        checkpoint(&mut driven, &mut saved)
            .unwrap()
            .starts_with("Message")
    );
    assert!(driven.session.pending(driven.at()).is_empty());
    assert_eq!(checkpoint(&mut driven, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(driven.sent(), [0x50, 2, 0, 9]);
    // PUBCOMP
    driven.feed(&[0x62, 2, 0, 9]);
    assert!(driven.session.pending(driven.at()).is_empty());
    assert_eq!(checkpoint(&mut driven, &mut saved).unwrap(), "Checkpoint");
    assert_eq!(driven.sent(), [0x70, 2, 0, 9]);
    // A PINGREQ and a message at QoS 0 change nothing.
    driven.session.ping().unwrap();
    driven.session.publish(&Message::new("t", b"0")).unwrap();
    assert_eq!(driven.sent(), [0xC0, 0, 0x30, 4, 0, 1, b't', b'0']);
    assert_eq!(checkpoint(&mut driven, &mut saved), None);
}

/// A packet that `poll` handles without another event may need a checkpoint. The same call must announce it, because
/// the caller would otherwise sleep first.
#[test]
fn checkpoint_is_due_in_poll_of_the_change() {
    let mut storage = Small::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &options("device"));
    driven.feed(&[0x34, 5, 0, 1, b'x', 0, 9]);
    while driven.next().unwrap().is_some() {}
    assert_eq!(driven.sent(), [0x50, 2, 0, 9]);

    driven.feed(&[0x62, 2, 0, 9]);
    assert_eq!(driven.next().unwrap().unwrap(), "CheckpointDue");
    assert_eq!(driven.sent(), [0x70, 2, 0, 9]);
}

/// If a checkpoint is due when a long message begins, it is announced before the first chunk.
#[test]
fn checkpoint_is_due_before_long_message() {
    let mut storage = Small::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &options("device"));
    driven.feed(&[0x34, 5, 0, 1, b'x', 0, 9]);
    while driven.next().unwrap().is_some() {}
    driven.sent();

    driven.feed(&[0x62, 2, 0, 9]);
    driven.feed(&[0x30, 99, 0, 1, b'x', b'y']);
    assert_eq!(driven.next().unwrap().unwrap(), "CheckpointDue");
    assert_eq!(driven.sent(), [0x70, 2, 0, 9]);
    assert!(driven.next().unwrap().unwrap().starts_with("Chunk"));
}

#[test]
fn checkpoint_ignored_delays_nothing() {
    let mut storage = Small::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &options("device"));
    driven.publish(1, b"a");
    assert_eq!(driven.next().unwrap().unwrap(), "CheckpointDue");
    assert_eq!(driven.sent()[0], 0x32);
    assert_eq!(driven.session.poll(driven.at()), Ok(None));
    driven.session.connection_lost();
    assert_eq!(driven.session.poll(driven.at()), Err(ProtocolError::Closed));
}

/// If a message is published between the chunks of another one, its checkpoint does not wait for the last chunk.
#[test]
fn checkpoint_is_due_between_chunks() {
    let mut storage = Storage::<16, 64, 4>::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &options("device"));
    driven.feed(&[0x30, 30, 0, 1, b't', 1, 2, 3]);
    assert!(driven.next().unwrap().unwrap().starts_with("Chunk"));
    driven.publish(1, b"a");
    assert!(!driven.session.has_pending());
    assert_eq!(driven.next().unwrap().unwrap(), "CheckpointDue");
    assert_eq!(driven.sent()[0], 0x32);
    driven.feed(&[4, 5, 6]);
    assert!(driven.next().unwrap().unwrap().starts_with("Chunk"));
}

/// If the server has lost the session, a PUBREL is sent once more. It is not sent again after a restart.
#[test]
fn pubrel_unknown_to_server_is_reported_after_reboot() {
    let mut first = Small::new();
    let mut driven = TestSession::new(&mut first);
    open(&mut driven, false);
    driven.publish_and_send(2, b"x");
    driven.feed(&[0x50, 2, 0, 1]);
    assert_eq!(driven.next().unwrap(), None);
    open(&mut driven, false);
    assert_eq!(driven.sent(), [0x62, 2, 0, 1]);
    let saved = image(&driven);

    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    open(&mut driven, true);
    assert_eq!(
        driven.next().unwrap().unwrap(),
        "DeliveryUnknown(PacketId(1))"
    );
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-3.1.2-6] The state of a session with Clean Session 1 is not used on a later connection, even after a reboot.
#[test]
fn mqtt_3_1_2_6_restored_clean_session_is_not_reused() {
    let mut first = Small::new();
    let mut driven = TestSession::connected_with(&mut first, &Connect::new("device"));
    driven.publish_and_send(1, b"x");
    let saved = image(&driven);

    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    open(&mut driven, false);
    assert_eq!(
        driven.next().unwrap().unwrap(),
        "PublishDiscarded(PacketId(1))"
    );
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-2.3.1-2] Ids wrap after 65,535, without 0 and without those in flight.
#[test]
fn mqtt_2_3_1_2_ids_wrapped_skip_ids_in_flight() {
    let mut first = Small::new();
    let saved = forged(&image(&busy(&mut first)), 9, &u16::MAX.to_be_bytes());
    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    open(&mut driven, true);
    assert_eq!(
        driven.next().unwrap().unwrap(),
        "OutcomeUnknown(PacketId(4))"
    );
    assert_eq!(driven.session.in_flight(), 3);
    assert_eq!(driven.publish(1, b""), 4);
}

/// A session that was never connected knows no session of the server, even after a restart.
#[test]
fn restored_session_never_connected_is_unknown() {
    let mut first = Small::new();
    let mut driven = TestSession::new(&mut first);
    driven.connect(&options("device"));
    driven.publish(1, b"x");
    let saved = image(&driven);
    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    driven.connect(&options("device"));
    driven.sent();
    driven.feed(&connack(true));
    assert_eq!(
        driven.next().unwrap().unwrap(),
        "Connected { session_present: true, unknown_session: true, connect_unanswered: false }"
    );
}

/// An image in which a received id, or the id of a request, occurs twice is refused.
#[test]
fn image_with_duplicate_id_is_refused() {
    let mut first = Small::new();
    let mut driven = busy(&mut first);
    driven.feed(&[0x34, 5, 0, 1, b'x', 0, 10]);
    assert!(driven.next().unwrap().unwrap().starts_with("Message"));
    let saved = image(&driven);
    let received = 17 + "device".len() + 2;
    let last_slot = received + 2 * 2 + 2 + 3 * 4;
    for (at, before, bytes) in [(received, [0, 9], [0, 10]), (last_slot, [0, 3], [0, 4])] {
        assert_eq!(saved[at..at + 2], before);
        assert_eq!(
            driven.session.restore(&forged(&saved, at, &bytes)),
            Err(ImageError::Inconsistent)
        );
    }
}

/// The acknowledgement of a long message needs a checkpoint, whether the message is delivered or skipped.
#[test]
fn checkpoint_is_due_after_long_message() {
    for skipped in [true, false] {
        for (level, answer) in [(0x32, 0x40), (0x34, 0x50)] {
            let mut storage = Storage::<16, 64, 4>::new();
            let mut driven = TestSession::with_checkpoints(&mut storage, &options("device"));
            driven.feed(&[level, 15, 0, 1, b't', 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
            assert!(driven.next().unwrap().unwrap().starts_with("Chunk"));
            if skipped {
                driven.session.skip_message();
            }
            driven.feed(&[9, 10]);
            if !skipped {
                assert!(driven.next().unwrap().unwrap().starts_with("Chunk"));
            }
            assert_eq!(driven.sent(), b"");
            assert_eq!(driven.next().unwrap().unwrap(), "CheckpointDue");
            assert_eq!(driven.sent(), [answer, 2, 0, 9]);
        }
    }
}

/// If a checkpoint and a report are pending, both are announced.
#[test]
fn checkpoint_and_report_pending_are_both_reported() {
    let mut storage = Small::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &options("device"));
    driven.session.subscribe(&[("a", QoS::AtMostOnce)]).unwrap();
    driven.sent();
    open(&mut driven, false);
    assert_eq!(
        driven.events(),
        ["OutcomeUnknown(PacketId(1))", "CheckpointDue"]
    );
}

/// [MQTT-3.1.3-7] An image of a kept session without a client id is refused.
#[test]
fn mqtt_3_1_3_7_kept_image_without_client_id_is_refused() {
    let mut first = Small::new();
    let driven = TestSession::connected_with(&mut first, &Connect::new(""));
    let saved = image(&driven);
    let mut second = Small::new();
    let mut driven = restored(&mut second, &saved);
    assert_eq!(
        driven.session.restore(&forged(&saved, 8, &[saved[8] & !1])),
        Err(ImageError::Inconsistent)
    );
}

/// After a payload was aborted, a checkpoint is due. A session that is restored from it does not ask for the payload.
#[test]
fn payload_aborted_makes_checkpoint_due() {
    let mut storage = Small::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &options("device"));
    driven.session.begin_payload(streamed(1), 5).unwrap();
    driven.expect(&[Event::CheckpointDue]);
    driven.session.abandon_payload();
    driven.expect(&[Event::CheckpointDue]);
    let saved = image(&driven);

    let mut storage = Small::new();
    let mut session = Session::new(&mut storage);
    session.restore(&saved).unwrap();
    assert_eq!(session.in_flight(), 0);
}

/// An image is saved after each step of a connection: CONNECT prepared, queued, sent, answered.
#[test]
fn image_contains_messages_and_no_credentials() {
    let connect = Connect {
        credentials: Some(Credentials {
            user_name: "user name",
            password: Some(b"password"),
        }),
        ..options("device")
    };
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
    let mut storage = Small::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&connect).unwrap();
    driven.publish(1, b"reading");
    let mut images = vec![image(&driven)];
    driven.connect(&connect);
    images.push(image(&driven));
    assert!(contains(&driven.sent(), b"password"));
    images.push(image(&driven));
    driven.accept(false);
    images.push(image(&driven));
    for image in images {
        assert!(contains(&image, b"reading"));
        assert!(!contains(&image, b"user name"));
        assert!(!contains(&image, b"password"));
    }
}

/// The checksum is no protection from an attacker. An image that is accepted leads to a session that connects, sends
/// valid packets, and receives.
#[test]
fn image_forged_in_any_byte_never_panics() {
    let mut first = Small::new();
    let saved = image(&busy(&mut first));
    let mut accepted = 0;
    for at in 0..saved.len() - 4 {
        // The byte with each single bit changed, the smallest byte and the largest.
        let bits = (0..8).map(|bit| saved[at] ^ (1 << bit));
        for byte in bits.chain([0, u8::MAX]) {
            let mut second = Small::new();
            let mut driven = TestSession::new(&mut second);
            let forgery = forged(&saved, at, &[byte]);
            if driven.session.restore(&forgery).is_err()
                || driven
                    .session
                    .connect(&options("device"), driven.at())
                    .is_err()
            {
                continue;
            }
            accepted += 1;
            let mut sent = driven.sent();
            driven.accept(true);
            sent.extend(driven.sent());
            driven.stream(&[0x34, 6, 0, 1, b'x', 0, 9, b'y', 0x62, 2, 0, 9]);
            sent.extend(driven.sent());
            let whole = packets(&sent).concat().len();
            assert_eq!(whole, sent.len(), "byte {at} is {byte}");
            assert!(driven.session.is_connected(), "byte {at} is {byte}");
        }
    }
    assert!(accepted > saved.len(), "{accepted}");
}

/// [MQTT-2.3.1-3] An id is used again only after the final acknowledgement of its message.
#[test]
fn mqtt_2_3_1_3_id_is_reused_after_final_acknowledgement_only() {
    for answers in [&[][..], &[pubrec(1)], &[pubrec(1), pubcomp(1)]] {
        let mut first = Small::new();
        let mut driven = TestSession::new(&mut first);
        open(&mut driven, false);
        assert_eq!(driven.publish(2, b"x"), 1);
        driven.sent();
        for answer in answers {
            driven.feed(answer);
            driven.events();
            driven.sent();
        }
        // The next id is 1, unless it is in use.
        let saved = forged(&image(&driven), 9, &u16::MAX.to_be_bytes());
        let mut second = Small::new();
        let mut driven = restored(&mut second, &saved);
        open(&mut driven, true);
        driven.sent();
        let next = if answers.len() == 2 { 1 } else { 2 };
        assert_eq!(driven.publish(1, b"y"), next, "{} answers", answers.len());
    }
}
