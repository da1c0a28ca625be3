//! Images: a restored session continues like the saved one, and invalid bytes have no effect. If constructed bytes are
//! a valid image, the restored session follows the specification.

use arbitrary::Arbitrary;
use umqtt::{
    Event, ImageError, Instant, Message, Session, Storage, StreamedPublish,
    codec::{Connect, Delivery, Packet, PacketId, QoS},
};

use super::wire::Wire;

const T: Instant = Instant::from_millis(7);
const CLIENT_ID: &str = "dev";
/// Length of every payload that is not in the send buffer.
const LONG: usize = 40;

type Memory = Storage<48, 160, 4, 3>;
type Smaller = Storage<48, 96, 2, 1>;

/// The source of an image, and its changes.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    image: Image<'a>,
    /// Positions of bytes, and the bits that are flipped there.
    edits: Vec<(u16, u8)>,
    cut: Option<u16>,
    /// Length and checksum are corrected afterwards.
    seal: bool,
    /// The image is restored into a storage with less room.
    smaller: bool,
    session_present: bool,
}

#[derive(Arbitrary, Debug)]
enum Image<'a> {
    Bytes(&'a [u8]),
    /// The content between length and checksum.
    Content(&'a [u8]),
    /// The image of a session after these steps.
    Saved(Vec<Call>),
}

#[derive(Arbitrary, Debug)]
enum Call {
    Connect {
        clean: bool,
    },
    Lose,
    Publish {
        qos: u8,
        len: u8,
    },
    Long {
        qos: u8,
    },
    Subscribe,
    Unsubscribe,
    /// Some pending bytes are sent.
    Write(u8),
    WriteAll,
    /// An acknowledgement: its first byte and its id.
    Acknowledge(u8, u8),
    /// A message at QoS 2.
    Deliver(u8),
    Release(u8),
    Connack(bool),
}

/// Restores an image, and checks the result.
pub fn run(input: &Input<'_>) {
    let mut storage = Memory::new();
    let mut saved = Session::new(&mut storage);
    let mut image = match &input.image {
        Image::Bytes(bytes) => bytes.to_vec(),
        Image::Content(content) => sealed(content),
        Image::Saved(calls) => {
            calls.iter().for_each(|call| live(&mut saved, call));
            image_of(&saved)
        }
    };
    let original = image.clone();
    change(&mut image, input);
    let is_as_saved = matches!(input.image, Image::Saved(_)) && image == original;
    let (mut storage, mut smaller) = (Memory::new(), Smaller::new());
    let mut session = match input.smaller {
        true => Session::new(&mut smaller),
        false => Session::new(&mut storage),
    };
    // The session has a state, which is replaced if the image is valid and kept otherwise.
    live(&mut session, &Call::Connect { clean: false });
    live(&mut session, &Call::Connack(false));
    live(&mut session, &Call::Publish { qos: 2, len: 3 });
    let before = image_of(&session);
    match session.restore(&image) {
        Ok(()) => restored(&mut session, &image),
        Err(error) => {
            assert_eq!(image_of(&session), before, "{error}");
            let excused = error == ImageError::StorageTooSmall && input.smaller;
            assert!(!is_as_saved || excused, "{error}");
            return;
        }
    }
    let resumed = resume(&mut session, input.session_present);
    // With less room, the results may differ, because fewer messages can be received at once.
    if is_as_saved && !input.smaller {
        // After connections without an acknowledgement, the saved session sends messages one by one. An image does not
        // contain that.
        let expected = resume(&mut saved, input.session_present);
        assert_eq!(sorted(resumed), sorted(expected));
    }
}

/// Sorts packets and events, to compare them without their order.
fn sorted((mut packets, mut events): (Vec<Vec<u8>>, Vec<String>)) -> (Vec<Vec<u8>>, Vec<String>) {
    packets.sort();
    events.sort();
    (packets, events)
}

/// Checks that saving a restored session gives the same image.
fn restored(session: &mut Session<'_>, image: &[u8]) {
    let again = image_of(session);
    session.restore(&again).expect("its own image");
    assert_eq!(image_of(session), again);
    assert_eq!(again.len(), image_len(image), "{image:?}\n{again:?}");
}

fn change(image: &mut Vec<u8>, input: &Input<'_>) {
    if let Some(len) = input.cut {
        image.truncate(len.into());
    }
    for (at, change) in &input.edits {
        let len = image.len().max(1);
        if let Some(byte) = image.get_mut(usize::from(*at) % len) {
            *byte ^= change;
        }
    }
    if input.seal && image.len() > 12 {
        *image = sealed(&image[8..image.len() - 4]);
    }
}

/// Creates an image with this content, a correct header and a correct checksum.
fn sealed(content: &[u8]) -> Vec<u8> {
    let mut image = b"uMQ\x02".to_vec();
    let len = u32::try_from(content.len() + 12).expect("an input is short");
    image.extend(len.to_be_bytes());
    image.extend(content);
    let crc = crc32fast::hash(&image);
    image.extend(crc.to_be_bytes());
    image
}

fn image_len(image: &[u8]) -> usize {
    let len = image[4..8].try_into().expect("four bytes");
    u32::from_be_bytes(len) as usize
}

fn image_of(session: &Session<'_>) -> Vec<u8> {
    let mut out = [0; Memory::IMAGE_LEN];
    let len = session.save(&mut out).expect("IMAGE_LEN is enough").len;
    assert_eq!(len, image_len(&out));
    out[..len].to_vec()
}

/// Does one step of a session, and takes all events.
fn live(session: &mut Session<'_>, call: &Call) {
    match call {
        Call::Connect { clean } => {
            let options = Connect {
                clean_session: *clean,
                ..Connect::new(CLIENT_ID)
            };
            let _ = session.connect(&options, T);
        }
        Call::Lose => session.connection_lost(),
        Call::Publish { qos, len } => {
            let payload = vec![b'p'; usize::from(*len)];
            let qos = QoS::try_from(qos % 3).expect("0, 1 and 2 are levels");
            let _ = session.publish(&Message {
                qos,
                ..Message::new("t", &payload)
            });
        }
        Call::Long { qos } => {
            let qos = QoS::try_from(qos % 3).expect("0, 1 and 2 are levels");
            let message = StreamedPublish::New {
                topic: "long",
                qos,
                retain: true,
            };
            if session.begin_payload(message, LONG).is_ok() {
                write(session, usize::MAX);
                if !session.has_pending() {
                    session.payload_sent(session.payload_left(), T);
                }
            }
        }
        Call::Subscribe => drop(session.subscribe(&[("s", QoS::AtMostOnce)])),
        Call::Unsubscribe => drop(session.unsubscribe(&["s"])),
        Call::Write(n) => write(session, usize::from(*n)),
        Call::WriteAll => write(session, usize::MAX),
        Call::Acknowledge(kind, id) => {
            let bytes: &[u8] = match kind % 5 {
                0 => &[0x40, 2, 0, *id],
                1 => &[0x50, 2, 0, *id],
                2 => &[0x70, 2, 0, *id],
                3 => &[0x90, 3, 0, *id, 0],
                _ => &[0xB0, 2, 0, *id],
            };
            read(session, bytes);
        }
        Call::Deliver(id) => read(session, &[0x34, 5, 0, 1, b'm', 0, *id]),
        Call::Release(id) => read(session, &[0x62, 2, 0, *id]),
        Call::Connack(present) => read(session, &[0x20, 2, u8::from(*present), 0]),
    }
    take_events(session, &mut Vec::new());
}

/// Runs a new connection with a correct server. Returns the sent packets and the events. If the connection was closed,
/// the reason follows the events.
fn resume(session: &mut Session<'_>, session_present: bool) -> (Vec<Vec<u8>>, Vec<String>) {
    let options = Connect {
        clean_session: false,
        ..Connect::new(CLIENT_ID)
    };
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    if let Err(reason) = session.connect(&options, T) {
        events.push(format!("{reason:?}"));
        return (sent, events);
    }
    let mut wire = Wire::default();
    let mut answers = vec![vec![0x20, 2, u8::from(session_present), 0]];
    // The server resends messages, some of which the session has received, and releases them.
    for id in 0..4 {
        answers.push(vec![0x3C, 5, 0, 1, b'm', 0, id + 1]);
        answers.push(vec![0x62, 2, 0, id + 1]);
    }
    for round in 0.. {
        assert!(round < 100, "requests are still pending");
        let mut answer = |packet: &Packet<'_>| {
            sent.push(as_bytes(packet));
            answers.extend(answer_to(packet));
        };
        flush(session, &mut wire, &mut answer);
        if session.payload_left() > 0 {
            send_payload(session, &mut wire, &mut answer);
        }
        take_events(session, &mut events);
        if session.has_pending() {
            continue;
        }
        if answers.is_empty() || !session.is_connected() && round > 0 {
            break;
        }
        read(session, &answers.remove(0));
        take_events(session, &mut events);
    }
    (sent, events)
}

/// Returns the answer of a server.
fn answer_to(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let (kind, id) = match packet {
        Packet::Publish(publish) => match publish.delivery {
            Delivery::AtMostOnce => return None,
            Delivery::AtLeastOnce { packet_id, .. } => (0x40, packet_id),
            Delivery::ExactlyOnce { packet_id, .. } => (0x50, packet_id),
        },
        Packet::Pubrel(pubrel) => (0x70, pubrel.packet_id),
        _ => return None,
    };
    let [high, low] = id.get().to_be_bytes();
    Some(vec![kind, 2, high, low])
}

/// Returns the bytes of a packet. A PUBLISH at QoS 1 or 2 gets DUP, because restored messages count as sent.
fn as_bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = vec![0; packet.encoded_len().expect("it was received")];
    packet.encode(&mut bytes).expect("it was received");
    if bytes[0] & 0xF6 > 0x30 && bytes[0] & 0xF0 == 0x30 {
        bytes[0] |= 8;
    }
    bytes
}

/// Takes all events, and provides the requested payloads. Omits reports about unsent QoS 0 messages and incomplete
/// messages, because an image contains neither.
fn take_events(session: &mut Session<'_>, resumed: &mut Vec<String>) {
    for events in 0.. {
        assert!(events < 100, "the events never end");
        let needed = match session.poll(T) {
            Ok(None) => return,
            Ok(Some(ready)) => match session.event(ready) {
                Ok(Some(Event::Qos0Dropped(_) | Event::ChunksAborted)) => None,
                Ok(Some(event)) => {
                    resumed.push(format!("{event:?}"));
                    match event {
                        Event::PayloadNeeded(id) => Some(id),
                        _ => None,
                    }
                }
                Ok(None) => unreachable!("an event was announced"),
                Err(reason) => return resumed.push(format!("{reason:?}")),
            },
            Err(reason) => return resumed.push(format!("{reason:?}")),
        };
        if let Some(id) = needed {
            hand_over(session, id);
        }
    }
}

/// Provides the payload again. In a constructed image, it may have another length. The message is then discarded.
fn hand_over(session: &mut Session<'_>, id: PacketId) {
    if session
        .begin_payload(StreamedPublish::Resend(id), LONG)
        .is_err()
    {
        session.discard_publish(id).expect("it was asked for");
    }
}

fn send_payload(session: &mut Session<'_>, wire: &mut Wire, on_packet: impl FnMut(&Packet<'_>)) {
    if !session.has_pending() {
        let left = session.payload_left();
        wire.take(&vec![b'x'; left], on_packet);
        session.payload_sent(left, T);
    }
}

fn write(session: &mut Session<'_>, limit: usize) {
    let n = session.pending(T).len().min(limit);
    session.consume(n, T);
}

fn flush(session: &mut Session<'_>, wire: &mut Wire, mut on_packet: impl FnMut(&Packet<'_>)) {
    while session.has_pending() {
        let bytes = session.pending(T).to_vec();
        session.consume(bytes.len(), T);
        wire.take(&bytes, &mut on_packet);
    }
}

fn read(session: &mut Session<'_>, bytes: &[u8]) {
    let space = session.space();
    if let Some(place) = space.get_mut(..bytes.len()) {
        place.copy_from_slice(bytes);
        session.commit(bytes.len());
    }
}
