//! Refused connections, with their error texts. No plain text is sent.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
};

use embedded_io_async::{Read, Write};
use tls_mbedtls::{Connector, Error, X509};
use umqtt::tokio_io;

use crate::{
    fixture::{NAME, connector, connector_with, dial, exchange, run, tls},
    mosquitto::{Mosquitto, VERSIONS},
    pki::{KINDS, Kind, Pair, Pki},
    relay::Relay,
};

/// Connects through a relay, which checks that it receives only TLS records. Expects this error text.
#[track_caller]
fn fails(connector: impl FnOnce() -> Connector<'static>, server: SocketAddr, words: &str) {
    let relay = Relay::new(server);
    run(async {
        let error = exchange(&connector(), relay.address).await.unwrap_err();
        assert!(error.contains(words), "{error}");
    });
    let records = relay.records();
    assert_eq!(records.len(), 1);
    assert!(
        records[0].starts_with(&[22]),
        "a handshake is first: {records:?}"
    );
}

#[test]
fn certificate_for_other_name_is_refused() {
    for kind in KINDS {
        let pki = Pki::new(kind);
        let broker = Mosquitto::new(&pki, &pki.issue("elsewhere.example"), "");
        let words = "the server's certificate is refused: it is for another name (0x4)";
        fails(|| connector(&pki), broker.address, words);
    }
}

#[test]
fn unknown_authority_is_refused() {
    for kind in KINDS {
        let (pki, other) = (Pki::new(kind), Pki::new(kind));
        let broker = Mosquitto::new(&pki, &pki.issue(NAME), "");
        let words = "the server's certificate is refused: no trusted root signed it";
        fails(|| connector(&other), broker.address, words);
    }
}

#[test]
fn missing_intermediate_is_refused() {
    let pki = Pki::new(Kind::P256);
    let pair = pki.issue(NAME);
    let broker = Mosquitto::with_certificate(&pki, &pair.leaf, &pair.key, "");
    fails(
        || connector(&pki),
        broker.address,
        "or the server does not send an intermediate certificate",
    );
}

#[test]
fn other_authority_and_other_name_are_both_reported() {
    let (pki, other) = (Pki::new(Kind::P256), Pki::new(Kind::P256));
    let broker = Mosquitto::new(&pki, &pki.issue("elsewhere.example"), "");
    fails(
        || connector(&other),
        broker.address,
        "certificate; it is for another name (0xc)",
    );
}

#[test]
fn missing_client_certificate_is_reported() {
    let pki = Pki::new(Kind::Rsa);
    let pair = pki.issue(NAME);
    let words = [
        (
            Mosquitto::with_tls_1_2 as fn(&Pki, &Pair, &str) -> Mosquitto,
            "whether it wants a client certificate",
        ),
        (
            Mosquitto::new,
            "the TLS connection failed: the server closed it at once; check whether it wants a client certificate, or another one",
        ),
    ];
    for (start, words) in words {
        let broker = start(&pki, &pair, "require_certificate true");
        fails(|| connector(&pki), broker.address, words);
    }
}

#[test]
fn client_certificate_of_another_authority_is_reported() {
    let (pki, other) = (Pki::new(Kind::P256), Pki::new(Kind::P256));
    let broker = Mosquitto::new(&pki, &pki.issue(NAME), "require_certificate true");
    let lamp = other.issue("lamp");
    fails(
        || connector_with(&pki, &lamp),
        broker.address,
        "whether it wants a client certificate",
    );
}

#[test]
fn port_without_tls_is_reported() {
    let pki = Pki::new(Kind::P256);
    let broker = Mosquitto::plain(&pki);
    let words = "the server closed the connection; check the port (8883 is usual with TLS)";
    fails(|| connector(&pki), broker.address, words);
}

#[test]
fn server_without_tls_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let _ = socket.read(&mut [0; 4096]).unwrap();
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        let _ = socket.read(&mut [0; 4096]);
    });
    let pki = Pki::new(Kind::P256);
    let words = "the server does not speak TLS 1.2 or 1.3; check the port";
    fails(|| connector(&pki), address, words);
}

#[test]
fn corrupted_record_is_reported_by_each_call() {
    let pki = Pki::new(Kind::P256);
    let pair = pki.issue(NAME);
    for start in VERSIONS {
        let broker = start(&pki, &pair, "");
        let relay = Relay::new(broker.address);
        run(async {
            let connector = connector(&pki);
            let mut stream = dial(&connector, relay.address).await.unwrap();
            // When CONNACK was read, the session tickets of TLS 1.3 were received, too. They belong to the handshake,
            // in which a corrupted record would cause another error.
            stream
                .write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a")
                .await
                .unwrap();
            stream.flush().await.unwrap();
            let mut connack = [0; 4];
            stream.read_exact(&mut connack).await.unwrap();
            relay.corrupt();
            // PINGREQ
            stream.write_all(b"\xc0\0").await.unwrap();
            stream.flush().await.unwrap();
            for _ in 0..2 {
                let error = stream.read(&mut [0; 2]).await.unwrap_err();
                assert_eq!(
                    error.to_string(),
                    "the TLS connection failed: a record was corrupted on the way (0x7180)"
                );
                assert_eq!(stream.write(b"more").await.unwrap_err(), error);
                assert_eq!(stream.flush().await.unwrap_err(), error);
            }
        });
        relay.records();
    }
}

#[test]
fn broken_connection_is_reported() {
    let pki = Pki::new(Kind::P256);
    let broker = Mosquitto::new(&pki, &pki.issue(NAME), "");
    let relay = Relay::new(broker.address);
    run(async {
        let connector = connector(&pki);
        let mut stream = dial(&connector, relay.address).await.unwrap();
        relay.cut();
        let error = stream.read(&mut [0; 2]).await.unwrap_err();
        let words = "the TLS connection failed: the server closed it at once; check whether";
        assert!(error.to_string().starts_with(words), "{error}");
    });
}

#[test]
fn unusable_settings_are_reported() {
    let pki = Pki::new(Kind::P256);
    let broker = Mosquitto::new(&pki, &pki.issue(NAME), "");
    let lamp = pki.issue("lamp");
    run(async {
        let text = |result: Result<_, Error>| result.err().unwrap().to_string();
        let roots = Connector::new(tls(), X509::PEM(c"nothing"));
        assert_eq!(
            text(roots.map(drop)),
            "the trusted roots cannot be used: not a valid PEM or DER file (0x2180)"
        );
        let roots = Connector::new(tls(), X509::DER(b"nothing"));
        let words = "the trusted roots cannot be used: not a valid PEM or DER file (0x";
        assert!(text(roots.map(drop)).starts_with(words));

        let root = pki.root();
        let client = connector(&pki).with_client_certificate(X509::DER(b""), X509::PEM(c""));
        assert!(text(client.map(drop)).starts_with("the client certificate cannot be used: "));
        let client = connector(&pki).with_client_certificate(X509::PEM(&root), X509::PEM(&root));
        assert!(text(client.map(drop)).starts_with("the client key cannot be used: "));
        assert!(lamp.key.exists());

        for name in ["", "broker\0.example", &"a".repeat(254)] {
            let tcp = tokio_io::connect(broker.address).await.unwrap();
            let error = connector(&pki).connect(tcp, name).await.err();
            assert_eq!(error, Some(Error::ServerName), "{name:?}");
        }
        let tcp = tokio_io::connect(broker.address).await.unwrap();
        let error = connector(&pki)
            .connect(tcp, &"a".repeat(253))
            .await
            .err()
            .unwrap();
        assert!(
            matches!(error, Error::Refused(refusal) if refusal.is_for_another_name()),
            "{error}"
        );
    });
}
