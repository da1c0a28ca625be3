//! Over TLS 1.3, as rustls speaks it, to mosquitto, which speaks it as OpenSSL does.

use rcgen::KeyPair;

use crate::{
    certificates::{Authority, Pair, rsa_key},
    mosquitto::{Mosquitto, is_installed, is_installed_with_openssl},
    process::{Running, count, host, with_both_clients},
    relay::Relay,
};

fn connect(broker: &Mosquitto, authority: &Authority, more: &str) -> Running {
    let (port, ca) = (broker.address.port(), authority.ca());
    host(&format!(
        "--broker localhost:{port} --count 2 --interval 0.05 --tls --ca {} {more}",
        ca.display()
    ))
}

fn connect_as(pair: &Pair, broker: &Mosquitto, authority: &Authority, more: &str) -> Running {
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    let more = format!("{more} --client-cert {certificate} --client-key {key}");
    connect(broker, authority, &more)
}

fn broker(authority: &Authority, more: &str) -> Mosquitto {
    Mosquitto::over_tls(authority, &authority.certify("localhost"), more)
}

#[test]
fn a_private_authority() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let broker = broker(&authority, "");
        for qos in 0..3 {
            let lines = connect(&broker, &authority, &format!("{client} --qos {qos}")).succeeds();
            assert_eq!(count(&lines, "Came back"), 2, "{lines:#?}");
        }
    });
}

/// Keys of either kind, of the authority, the broker and the client.
#[test]
fn keys_of_either_kind() {
    if !is_installed_with_openssl() {
        return;
    }
    let keys: [fn() -> KeyPair; 2] = [|| KeyPair::generate().unwrap(), rsa_key];
    with_both_clients(|client| {
        for (number, authority) in keys.iter().enumerate() {
            let authority = Authority::with_key(authority());
            let certified = authority.certify_key("localhost", &keys[1 - number]());
            let broker = Mosquitto::over_tls(&authority, &certified, "require_certificate true");
            for key in keys {
                let lamp = authority.certify_key("lamp", &key());
                connect_as(&lamp, &broker, &authority, client).succeeds();
            }
        }
    });
}

#[test]
fn a_stranger_is_not_trusted() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let (authority, other) = (Authority::new(), Authority::new());
        let broker = broker(&authority, "");
        connect(&broker, &other, client).gives_up(&["nobody trusted here", "--ca FILE"]);
    });
}

#[test]
fn another_host_and_an_old_certificate_are_not_trusted() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let elsewhere = authority.certify("elsewhere.example");
        let broker = Mosquitto::over_tls(&authority, &elsewhere, "");
        connect(&broker, &authority, client).gives_up(&["another host", "elsewhere.example"]);

        let expired = authority.certify_expired("localhost");
        let broker = Mosquitto::over_tls(&authority, &expired, "");
        connect(&broker, &authority, client).gives_up(&["not valid today", "clock"]);
    });
}

#[test]
fn client_certificates() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let broker = broker(&authority, "require_certificate true");
        let lamp = authority.certify("lamp");
        connect_as(&lamp, &broker, &authority, client).succeeds();
        connect(&broker, &authority, client).gives_up(&["client certificate", "--client-cert"]);
        for unwelcome in [
            Authority::new().certify("lamp"),
            authority.certify_expired("lamp"),
        ] {
            connect_as(&unwelcome, &broker, &authority, client)
                .gives_up(&["does not accept the client certificate"]);
        }
    });
}

/// Asked for TLS, the program sends nothing but TLS to a broker that speaks none.
#[test]
fn a_plain_port_gets_nothing_in_the_clear() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        let relay = Relay::new(broker.address);
        let mut host = host(&format!("{client} --broker {} --tls", relay.address));
        let line = host.line("TLS");
        assert!(line.contains("8883"), "{line}");
        let sent = relay.sent_bytes();
        assert!(!sent.is_empty());
        for bytes in sent {
            assert_eq!(bytes[..2], [0x16, 3], "a handshake record");
            assert!(!bytes.windows(4).any(|four| four == b"MQTT"));
        }
    });
}

#[test]
fn a_tls_port_spoken_to_in_plain_text() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let broker = broker(&authority, "");
        let mut host = host(&format!("{client} --broker {}", broker.address));
        let line = host.line("Trying again");
        assert!(line.contains("--tls"), "{line}");
    });
}
