//! Statics of the size of each type, and every call as a function with a known name. From the symbol table and the call
//! graph, `.ci/size` computes their memory and stack.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use embedded_io::ErrorKind;
use size::{Line, Timer, show};
use umqtt::{
    Event, EventToken, ImageError, Instant, Message, ProtocolError, RequestError, Saved, Session,
    Storage, StreamedPublish, asynch, blocking,
    client::Error,
    codec::{Connect, PacketId, QoS},
};

macro_rules! sizes {
    ($($name:ident: $type:ty,)*) => {
        $(#[unsafe(no_mangle)] static mut $name: MaybeUninit<$type> = MaybeUninit::zeroed();)*
    };
}

sizes! {
    SIZE_OF_SESSION: Session<'static>,
    SIZE_OF_BLOCKING_CLIENT: blocking::Client<'static, 'static, Line, Timer>,
    SIZE_OF_ASYNC_CLIENT: asynch::Client<'static, 'static, Line, Timer>,
    SIZE_OF_STORAGE: Storage<16, 16, 2, 4>,
    SIZE_OF_STORAGE_AND_32_SLOTS: Storage<16, 16, 34, 4>,
    SIZE_OF_STORAGE_AND_32_IDS: Storage<16, 16, 2, 36>,
}

type Client<'a, 'b> = blocking::Client<'a, 'b, Line, Timer>;
type Done<T> = Result<T, Error<ErrorKind>>;
type Requested<T> = Result<T, RequestError>;

macro_rules! calls {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {
        $(#[unsafe(no_mangle)] fn $name($($argument: $type),*) $(-> $result)? $body)*
    };
}

calls! {
    fn session_connect(s: &mut Session<'_>, options: &Connect<'_>) -> Requested<()> {
        s.connect(options, Instant::default())
    }
    fn session_publish(s: &mut Session<'_>, message: &Message<'_>) -> Requested<Option<PacketId>> {
        s.publish(message)
    }
    fn session_subscribe(s: &mut Session<'_>, filters: &[(&str, QoS)]) -> Requested<PacketId> {
        s.subscribe(filters)
    }
    fn session_unsubscribe(s: &mut Session<'_>, filters: &[&str]) -> Requested<PacketId> {
        s.unsubscribe(filters)
    }
    fn session_ping(s: &mut Session<'_>) -> Requested<()> {
        s.ping()
    }
    fn session_disconnect(s: &mut Session<'_>) -> Requested<()> {
        s.disconnect()
    }
    fn session_pending(s: &mut Session<'_>, now: Instant) -> usize {
        s.pending(now).len()
    }
    fn session_consume(s: &mut Session<'_>, n: usize, now: Instant) {
        s.consume(n, now)
    }
    fn session_space(s: &mut Session<'_>) -> usize {
        s.space().len()
    }
    fn session_commit(s: &mut Session<'_>, n: usize) {
        s.commit(n)
    }
    fn session_poll(s: &mut Session<'_>, now: Instant) -> Result<Option<EventToken>, ProtocolError> {
        s.poll(now)
    }
    fn session_event(s: &mut Session<'_>, ready: EventToken) -> bool {
        s.event(ready).is_ok_and(|event| event == Some(Event::ChunksAborted))
    }
    fn session_deadline(s: &Session<'_>) -> Option<Instant> {
        s.deadline()
    }
    fn session_connection_lost(s: &mut Session<'_>) {
        s.connection_lost()
    }
    fn session_begin_payload(s: &mut Session<'_>, message: StreamedPublish<'_>, len: usize) -> Requested<Option<PacketId>> {
        s.begin_payload(message, len)
    }
    fn session_payload_sent(s: &mut Session<'_>, n: usize, now: Instant) {
        s.payload_sent(n, now)
    }
    fn session_payload_space(s: &mut Session<'_>) -> usize {
        s.payload_space().len()
    }
    fn session_payload_commit(s: &mut Session<'_>, n: usize) {
        s.payload_commit(n)
    }
    fn session_abandon_payload(s: &mut Session<'_>) {
        s.abandon_payload()
    }
    fn session_discard_publish(s: &mut Session<'_>, id: PacketId) -> Requested<()> {
        s.discard_publish(id)
    }
    fn session_read_payload(s: &mut Session<'_>, buf: &mut [u8]) -> usize {
        s.read_payload(buf)
    }
    fn session_skip_message(s: &mut Session<'_>) {
        s.skip_message()
    }
    fn session_save(s: &Session<'_>, out: &mut [u8]) -> Result<Saved, ImageError> {
        s.save(out)
    }
    fn session_restore(s: &mut Session<'_>, image: &[u8]) -> Result<(), ImageError> {
        s.restore(image)
    }
    fn blocking_connect(s: &mut Session<'_>, options: &Connect<'_>) -> bool {
        Client::connect(s, Line, Timer, options).is_ok()
    }
    fn blocking_publish(c: &mut Client<'_, '_>, message: &Message<'_>) -> Done<Option<PacketId>> {
        c.publish(message)
    }
    fn blocking_publish_and_wait(c: &mut Client<'_, '_>, message: &Message<'_>) -> Done<()> {
        c.publish_and_wait(message, |_, _| {})
    }
    fn blocking_publish_slices(c: &mut Client<'_, '_>, message: StreamedPublish<'_>, payload: &[&[u8]]) -> Done<Option<PacketId>> {
        c.publish_slices(message, payload, |_, _| {})
    }
    fn blocking_publish_from(c: &mut Client<'_, '_>, message: StreamedPublish<'_>, payload: &[u8]) -> Done<Option<PacketId>> {
        c.publish_from(message, payload.len(), payload, |_, _| {})
    }
    fn blocking_subscribe(c: &mut Client<'_, '_>, filters: &[(&str, QoS)]) -> Done<PacketId> {
        c.subscribe(filters)
    }
    fn blocking_subscribe_and_wait(c: &mut Client<'_, '_>, filters: &[(&str, QoS)]) -> bool {
        c.subscribe_and_wait(filters, |_, _| {}).is_ok()
    }
    fn blocking_unsubscribe(c: &mut Client<'_, '_>, filters: &[&str]) -> Done<PacketId> {
        c.unsubscribe(filters)
    }
    fn blocking_unsubscribe_and_wait(c: &mut Client<'_, '_>, filters: &[&str]) -> Done<()> {
        c.unsubscribe_and_wait(filters, |_, _| {})
    }
    fn blocking_ping(c: &mut Client<'_, '_>) -> Done<()> {
        c.ping()
    }
    fn blocking_recv(c: &mut Client<'_, '_>) {
        if let Ok(Event::Message(message)) = c.recv() {
            show(message.payload);
        }
    }
    fn blocking_poll(c: &mut Client<'_, '_>) {
        if let Ok(Some(Event::Message(message))) = c.poll() {
            show(message.payload);
        }
    }
    fn blocking_flush(c: &mut Client<'_, '_>) -> Done<()> {
        c.flush()
    }
    fn blocking_disconnect(c: &mut Client<'_, '_>) -> Done<bool> {
        c.disconnect()
    }
}

#[unsafe(no_mangle)]
fn run() {}
