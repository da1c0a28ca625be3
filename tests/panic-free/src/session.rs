//! The session.

use core::hint::black_box;

use umqtt::{Event, Instant, Publisher, Session, Storage, codec::QoS};

use crate::opaque::{any, bytes, hide, id, message, options, outgoing, qos, text};

pub(crate) fn every_call() {
    let mut storage = Storage::<64, 128, 4>::new();
    hide(Storage::<64, 128, 4>::default());
    let mut session = Session::new(black_box(&mut storage));
    configure(&mut session);
    connection(&mut session);
    requests(&mut session);
    payloads(&mut session);
    image(&mut session);
    ask(&session);
}

fn now() -> Instant {
    Instant::from_millis(any())
}

#[inline(never)]
fn configure(session: &mut Session<'_>) {
    session.set_response_timeout(any());
    session.set_disconnect_timeout(any());
    session.set_checkpoints(any());
    hide(session.set_subscriptions(black_box(&[("filter", QoS::AtMostOnce)])));
    hide(session.subscriptions());
}

#[inline(never)]
fn connection(session: &mut Session<'_>) {
    hide(session.prepare(&options()));
    hide(session.connect(&options(), now()));
    hide(session.pending(now()));
    session.consume(any(), now());
    hide(session.space());
    session.commit(any());
    if let Ok(Some(ready)) = session.poll(now()) {
        hide(ready.completed_request());
        if let Ok(Some(event)) = session.event(ready) {
            see(event);
        }
    }
    if let Ok(Some(token)) = session.poll(now())
        && let Ok(Some((event, mut publisher))) = session.event_and_publisher(token)
    {
        handle(event, &mut publisher);
    }
    session.connection_lost();
}

/// The calls that a handler can make.
pub(crate) fn handle(event: Event<'_>, publisher: &mut Publisher<'_, '_>) {
    see(event);
    hide(publisher.publish(&message()));
    hide(publisher.subscribe(black_box(&[(text(), qos())])));
    hide(publisher.unsubscribe(black_box(&[text()])));
    hide(publisher.ping());
    hide(publisher.discard_publish(id()));
    let mut image = [0; 64];
    hide(publisher.save(black_box(&mut image)));
    publisher.saved(any());
    hide(publisher);
}

/// Uses an event.
pub(crate) fn see(event: Event<'_>) {
    hide(event == event);
    match event {
        Event::Chunk(chunk) => hide(chunk.is_last()),
        Event::Suback(_, codes) => codes.iter().for_each(hide),
        Event::Subscribed { filters, codes } => hide((filters, codes.all_granted())),
        other => hide(other),
    }
}

#[inline(never)]
fn requests(session: &mut Session<'_>) {
    hide(session.publish(&message()));
    hide(session.subscribe(black_box(&[(text(), qos())])));
    hide(session.unsubscribe(black_box(&[text()])));
    hide(session.ping());
    hide(session.disconnect());
}

#[inline(never)]
fn payloads(session: &mut Session<'_>) {
    hide(session.begin_payload(outgoing(), any()));
    hide((session.payload_left(), session.is_payload_open()));
    session.payload_sent(any(), now());
    hide(session.payload_space());
    session.payload_commit(any());
    session.abandon_payload();
    hide(session.payload_needed());
    hide(session.input_blocked_by());
    hide(session.discard_publish(id()));
    let mut buf = [0; 64];
    hide(session.read_payload(black_box(&mut buf)));
    hide(session.is_message_open());
    session.skip_message();
}

#[inline(never)]
fn image(session: &mut Session<'_>) {
    let mut image = [0; 64];
    hide(session.save(black_box(&mut image)));
    session.saved(any());
    hide(session.restore(bytes()));
}

#[inline(never)]
fn ask(session: &Session<'_>) {
    hide((session.has_pending(), session.deadline()));
    hide((session.is_connected(), session.is_connecting()));
    hide((session.session_present(), session.unknown_session()));
    hide((session.response_timeout(), session.in_flight()));
    hide(session.last_packet_id());
}
