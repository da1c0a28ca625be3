//! The async client.

use core::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use embedded_io::ErrorKind;
use embedded_io_async::Read;
use umqtt::{
    Backoff, Event, Handled, Publisher, ReadFn, Session, Storage,
    asynch::{Client, Device, Mqtt, Runner},
};

use crate::{
    opaque::{any, bytes, config, handled, hide, id, message, options, outgoing, qos, text},
    session::{handle, see},
    transport::Anything,
};

type Any<'s, 'b> = Client<'s, 'b, Anything, Anything>;

/// Polls a future until it is ready. To the compiler, the loop may end earlier, so the program can also drop the
/// future.
fn run<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while black_box(true) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

pub(crate) fn every_call() {
    let mut storage = Storage::<64, 128, 4>::new();
    let mut session = Session::new(black_box(&mut storage));
    let options = options();
    if let Some(Ok(mut client)) = run(Client::connect(&mut session, Anything, Anything, &options)) {
        publish(&mut client);
        payloads(&mut client);
        subscribe(&mut client);
        receive(&mut client);
        hide(run(client.disconnect()));
        hide(client.into_transport());
    }
    hide(Client::open(&mut session, Anything, Anything, &options).is_ok());
    device();
}

#[inline(never)]
fn publish(client: &mut Any<'_, '_>) {
    hide(run(client.publish(&message())));
    hide(run(client.publish_and_wait(&message(), handle)));
}

#[inline(never)]
fn payloads(client: &mut Any<'_, '_>) {
    let slices = [bytes(), bytes()];
    hide(run(client.publish_slices(
        outgoing(),
        black_box(&slices),
        handle,
    )));
    hide(run(client.publish_from(
        outgoing(),
        any(),
        Anything,
        handle,
    )));
    let closure = ReadFn(|buf: &mut [u8]| {
        hide(buf);
        black_box(Ok::<_, ErrorKind>(0))
    });
    hide(run(client.publish_from(outgoing(), any(), closure, handle)));
    let mut buf = [0; 64];
    hide(run(client.payload().read(black_box(&mut buf))));
}

#[inline(never)]
fn subscribe(client: &mut Any<'_, '_>) {
    let filters = [(text(), qos()), (text(), qos())];
    hide(run(client.subscribe(black_box(&filters))));
    if let Some(Ok(codes)) = run(client.subscribe_and_wait(black_box(&filters), handle)) {
        hide(codes.len());
    }
    hide(run(client.unsubscribe(black_box(&[text()]))));
    hide(run(
        client.unsubscribe_and_wait(black_box(&[text()]), handle)
    ));
}

#[inline(never)]
fn receive(client: &mut Any<'_, '_>) {
    if let Some(Ok(event)) = run(client.recv()) {
        see(event);
    }
    if let Some(Ok(Some(event))) = run(client.poll()) {
        see(event);
    }
    hide(run(client.flush()));
    hide(run(client.ping()));
    hide((client.deadline(), client.session_present()));
    hide(client.session());
}

fn device() {
    let mut storage = Storage::<64, 128, 4>::new();
    if let Ok(mut device) = Device::<_>::new(black_box(&mut storage), Anything, &config()) {
        hide(device.session());
        let (mqtt, runner) = device.split();
        // Both share one task, so each is polled while the other waits.
        hide(run(async {
            let mut serve = pin!(serve(runner));
            let mut requests = pin!(requests(mqtt));
            core::future::poll_fn(|cx| {
                hide(serve.as_mut().poll(cx));
                requests.as_mut().poll(cx)
            })
            .await
        }));
        hand(mqtt);
    }
}

async fn serve(mut runner: Runner<'_, Anything>) {
    let mut handle = |event: Event<'_>, publisher: &mut Publisher<'_, '_>| -> Handled {
        handle(event, publisher);
        handled()
    };
    let ended = runner.run(Anything, &mut handle).await;
    hide(Backoff::new(any(), any()).after(&ended, any()));
    hide(runner.run_with(&options(), Anything, &mut handle).await);
}

async fn requests(mqtt: Mqtt<'_>) {
    hide(mqtt.connected().await);
    hide(mqtt.subscribed().await);
    hide(mqtt.publish(&message()).await);
    hide(mqtt.publish_and_wait(&message()).await);
    let slices = [bytes(), bytes()];
    hide(mqtt.publish_slices(outgoing(), black_box(&slices)).await);
    hide(mqtt.publish_from(outgoing(), any(), Anything).await);
    if let Ok(granted) = mqtt.subscribe(black_box(&[(text(), qos())])).await {
        granted.iter().for_each(hide);
        hide(granted.all_granted());
    }
    hide(mqtt.unsubscribe(black_box(&[text()])).await);
}

#[inline(never)]
fn hand(mqtt: Mqtt<'_>) {
    hide(mqtt.try_publish(&message()));
    hide(mqtt.state());
    let mut image = [0; 64];
    hide(mqtt.save(black_box(&mut image)));
    hide(mqtt.saved(any()));
    hide(mqtt.discard_publish(id()));
    mqtt.resume();
    mqtt.shut_down();
}
