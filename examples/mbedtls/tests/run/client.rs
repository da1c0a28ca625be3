//! Connections that succeed.

use tls_mbedtls::{Connector, X509};
use tokio::{select, time::sleep};
use umqtt::{
    Config, Event, Message, Storage,
    asynch::Device,
    codec::{Connect, QoS},
    tokio_io::TokioClock,
};

use crate::{
    fixture::NAME,
    fixture::{connector, connector_with, dial, exchange, run, tls},
    mosquitto::{Mosquitto, VERSIONS},
    pki::{KINDS, Kind, Pki},
    relay::Relay,
};

#[test]
fn chain_with_intermediate_is_trusted() {
    for kind in KINDS {
        let pki = Pki::new(kind);
        let pair = pki.issue(NAME);
        for start in VERSIONS {
            let broker = start(&pki, &pair, "");
            let relay = Relay::new(broker.address);
            run(async {
                let done = exchange(&connector(&pki), relay.address).await;
                done.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            });
            relay.records(); // panics if something was sent in the clear
        }
    }
}

#[test]
fn root_in_der_form_is_trusted() {
    let pki = Pki::new(Kind::P256);
    let broker = Mosquitto::new(&pki, &pki.issue(NAME), "");
    run(async {
        let connector = Connector::new(tls(), X509::DER(pki.root_der())).unwrap();
        exchange(&connector, broker.address).await.unwrap();
    });
}

#[test]
fn one_of_several_roots_is_enough() {
    let (pki, other) = (Pki::new(Kind::P256), Pki::new(Kind::P256));
    let broker = Mosquitto::new(&pki, &pki.issue(NAME), "");
    let mut roots = other.root().into_bytes();
    roots.extend_from_slice(pki.root().as_bytes_with_nul());
    let roots = std::ffi::CString::from_vec_with_nul(roots).unwrap();
    run(async {
        let connector = Connector::new(tls(), X509::PEM(&roots)).unwrap();
        exchange(&connector, broker.address).await.unwrap();
    });
}

#[test]
fn client_certificate_is_accepted() {
    for kind in KINDS {
        let pki = Pki::new(kind);
        let broker = Mosquitto::new(&pki, &pki.issue(NAME), "require_certificate true");
        let lamp = pki.issue("lamp");
        run(async {
            let done = exchange(&connector_with(&pki, &lamp), broker.address).await;
            done.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        });
    }
}

/// If a connection breaks, no message is lost, and none is delivered to the application twice.
#[test]
fn device_reconnects_and_publishes_each_message() {
    let pki = Pki::new(Kind::P256);
    let broker = Mosquitto::new(&pki, &pki.issue(NAME), "");
    let relay = Relay::new(broker.address);
    let mut storage = Storage::<512, 2048, 8>::new();
    let connect = Connect {
        clean_session: false,
        ..Connect::new("lamp")
    };
    let mut config = Config::new(connect);
    config.subscriptions = &[("lamp/state", QoS::ExactlyOnce)];
    run(async {
        let connector = connector(&pki);
        let mut device: Device<'_, TokioClock> =
            Device::new(&mut storage, TokioClock::new(), &config).unwrap();
        let (mqtt, mut runner) = device.split();
        let mut received = Vec::new();
        let network = async {
            for _ in 0..3 {
                let stream = dial(&connector, relay.address).await.unwrap();
                let ended = runner.run(stream, |event, _| {
                    if let Event::Message(message) = event {
                        received.push(message.payload.to_vec());
                    }
                });
                println!("{}", ended.await);
            }
        };
        let application = async {
            for number in 0..20_u8 {
                if number % 10 == 5 {
                    relay.cut();
                }
                let payload = [number];
                let mut message = Message::new("lamp/state", &payload);
                message.qos = QoS::ExactlyOnce;
                mqtt.publish_and_wait(&message).await.unwrap();
            }
            // The broker sends the last message back, which takes some time.
            sleep(std::time::Duration::from_millis(300)).await;
        };
        select! {
            () = network => panic!("it connects more often than it has to"),
            () = application => {}
        }
        assert_eq!(
            received,
            (0..20).map(|number| vec![number]).collect::<Vec<_>>()
        );
    });
    assert_eq!(relay.records().len(), 3);
}

#[test]
fn close_sends_close_notify() {
    const ALERT: u8 = 21;
    let pki = Pki::new(Kind::P256);
    // TLS 1.3 hides the type of an alert.
    let broker = Mosquitto::with_tls_1_2(&pki, &pki.issue(NAME), "");
    let relay = Relay::new(broker.address);
    run(async {
        let connector = connector(&pki);
        let stream = dial(&connector, relay.address).await.unwrap();
        stream.close().await.unwrap();
        // The relay needs time to read it.
        sleep(std::time::Duration::from_millis(200)).await;
    });
    let records = relay.records();
    assert_eq!(records[0].last(), Some(&ALERT), "{records:?}");
}
