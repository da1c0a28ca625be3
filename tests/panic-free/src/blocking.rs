//! The blocking client.

use core::hint::black_box;

use embedded_io::{ErrorKind, Read};
use umqtt::{
    Backoff, Event, Handled, Publisher, ReadFn, Session, Storage,
    blocking::{Client, Device},
};

use crate::{
    opaque::{any, bytes, config, handled, hide, id, message, options, outgoing, qos, text},
    session::{handle, see},
    transport::Anything,
};

type Any<'s, 'b> = Client<'s, 'b, Anything, Anything>;

pub(crate) fn every_call() {
    let mut storage = Storage::<64, 128, 4>::new();
    let mut session = Session::new(black_box(&mut storage));
    if let Ok(mut client) = Client::connect(&mut session, Anything, Anything, &options()) {
        publish(&mut client);
        payloads(&mut client);
        subscribe(&mut client);
        receive(&mut client);
        hide(client.disconnect());
        hide(client.into_transport());
    }
    if let Err(error) = Client::open(&mut session, Anything, Anything, &options()).map(drop) {
        hide((error.is_fatal(), error.is_permanent()));
        hide(embedded_io::Error::kind(&error));
    }
    device();
}

#[inline(never)]
fn publish(client: &mut Any<'_, '_>) {
    hide(client.publish(&message()));
    hide(client.publish_and_wait(&message(), handle));
}

#[inline(never)]
fn payloads(client: &mut Any<'_, '_>) {
    let slices = [bytes(), bytes()];
    hide(client.publish_slices(outgoing(), black_box(&slices), handle));
    hide(client.publish_from(outgoing(), any(), Anything, handle));
    let closure = ReadFn(|buf: &mut [u8]| {
        hide(buf);
        black_box(Ok::<_, ErrorKind>(0))
    });
    hide(client.publish_from(outgoing(), any(), closure, handle));
    let mut buf = [0; 64];
    hide(client.payload().read(black_box(&mut buf)));
}

#[inline(never)]
fn subscribe(client: &mut Any<'_, '_>) {
    let filters = [(text(), qos()), (text(), qos())];
    hide(client.subscribe(black_box(&filters)));
    hide(
        client
            .subscribe_and_wait(black_box(&filters), handle)
            .map(|codes| codes.len()),
    );
    hide(client.unsubscribe(black_box(&[text()])));
    hide(client.unsubscribe_and_wait(black_box(&[text()]), handle));
}

#[inline(never)]
fn receive(client: &mut Any<'_, '_>) {
    if let Ok(event) = client.recv() {
        see(event);
    }
    if let Ok(Some(event)) = client.poll() {
        see(event);
    }
    hide(client.flush());
    hide(client.ping());
    hide((client.deadline(), client.session_present()));
    hide(client.session());
}

type AnyDevice<'d> = Device<'d, Anything, Anything>;

fn device() {
    let mut storage = Storage::<64, 128, 4>::new();
    if let Ok(mut device) = Device::new(black_box(&mut storage), Anything, &config()) {
        dial(&mut device);
        let mut handle = |event: Event<'_>, publisher: &mut Publisher<'_, '_>| -> Handled {
            handle(event, publisher);
            handled()
        };
        hide(device.poll(&mut handle));
        hide(device.serve(any(), &mut handle));
        hide(device.recv(any(), &mut handle));
        let slices = [bytes(), bytes()];
        hide(device.publish_slices(outgoing(), black_box(&slices), &mut handle));
        hide(device.publish_from(outgoing(), any(), Anything, &mut handle));
        request(&mut device);
        hide(device.shut_down(&mut handle));
    }
}

#[inline(never)]
fn dial(device: &mut AnyDevice<'_>) {
    device.set_backoff(Backoff::new(any(), any()));
    hide(device.session());
    hide(device.is_dial_due());
    device.dial_failed();
    hide(device.dial(|| black_box(Ok::<_, ErrorKind>(Anything))));
    hide(device.connect(Anything));
    hide(device.connect_with(&options(), Anything));
    hide(device.take_transport());
}

#[inline(never)]
fn request(device: &mut AnyDevice<'_>) {
    hide(device.publish(&message()));
    hide(device.subscribe(black_box(&[(text(), qos())])));
    hide(device.unsubscribe(black_box(&[text()])));
    hide(device.discard_publish(id()));
    let mut image = [0; 64];
    hide(device.save(black_box(&mut image)));
    device.saved(any());
    device.resume();
    hide((device.is_connected(), device.subscriptions()));
    hide(device.deadline());
}
