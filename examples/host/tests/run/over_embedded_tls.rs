//! Over TLS 1.3, as embedded-tls speaks it on a chip, to mosquitto.

use crate::{
    certificates::{Authority, rsa_key},
    embedded::Device,
    mosquitto::{Mosquitto, is_installed, is_installed_with_openssl},
    relay::Relay,
};

/// A device without a certificate, which expects "broker.example".
fn device<'a>(broker: &Mosquitto, authority: &'a Authority) -> Device<'a> {
    Device {
        port: broker.address.port(),
        name: NAME,
        authority,
        pair: None,
    }
}

const NAME: &str = "broker.example";
/// embedded-tls keeps the broker's own words to itself.
const REFUSED: &str = "may ask for another client certificate";

#[track_caller]
fn fails(device: &Device<'_>, words: &str) {
    let error = device.exchange().unwrap_err();
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_private_authority() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let broker = Mosquitto::over_tls(&authority, &authority.certify(NAME), "");
    device(&broker, &authority).exchange().unwrap();
}

#[test]
fn a_stranger_is_not_trusted() {
    if !is_installed() {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = Mosquitto::over_tls(&authority, &authority.certify(NAME), "");
    fails(&device(&broker, &other), "not signed by our authority");
}

#[test]
fn another_host_and_an_old_certificate_are_not_trusted() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let elsewhere = authority.certify("elsewhere.example");
    let broker = Mosquitto::over_tls(&authority, &elsewhere, "");
    fails(&device(&broker, &authority), "is not for this name");

    let expired = authority.certify_expired(NAME);
    let broker = Mosquitto::over_tls(&authority, &expired, "");
    fails(&device(&broker, &authority), "certificate");
}

#[test]
fn client_certificates() {
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let certified = authority.certify(NAME);
    let broker = Mosquitto::over_tls(&authority, &certified, "require_certificate true");
    let nobody = device(&broker, &authority);
    fails(&nobody, REFUSED);
    let lamp = authority.certify("lamp");
    let known = Device {
        pair: Some(&lamp),
        ..nobody
    };
    known.exchange().unwrap();

    let other = Authority::new();
    for pair in [other.certify("lamp"), authority.certify_expired("lamp")] {
        let unwelcome = Device {
            pair: Some(&pair),
            ..device(&broker, &authority)
        };
        // It may be refused before all of it has been sent, and then embedded-tls does not read why.
        let error = unwelcome.exchange().unwrap_err();
        let reasons = [REFUSED, "the broker closed the connection"];
        assert!(
            reasons.iter().any(|reason| error.contains(reason)),
            "{error}"
        );
    }
}

/// It knows RSA only with an allocator, which a chip has not got: each party that has such a key is refused.
#[test]
fn rsa_is_refused() {
    if !is_installed_with_openssl() {
        return;
    }
    let authority = Authority::new();
    let broker = Mosquitto::over_tls(&authority, &authority.certify_key(NAME, &rsa_key()), "");
    fails(&device(&broker, &authority), "HandshakeFailure");

    let certified = authority.certify(NAME);
    let broker = Mosquitto::over_tls(&authority, &certified, "require_certificate true");
    let lamp = authority.certify_key("lamp", &rsa_key());
    let device_with_rsa = Device {
        pair: Some(&lamp),
        ..device(&broker, &authority)
    };
    fails(&device_with_rsa, "InvalidPrivateKey");

    let authority = Authority::with_key(rsa_key());
    let broker = Mosquitto::over_tls(&authority, &authority.certify(NAME), "");
    fails(&device(&broker, &authority), "has an unsupported type");
}

#[test]
fn a_plain_port_gets_nothing_in_the_clear() {
    if !is_installed() {
        return;
    }
    let broker = Mosquitto::open();
    let relay = Relay::new(broker.address);
    let authority = Authority::new();
    let device = Device {
        port: relay.address.port(),
        ..device(&broker, &authority)
    };
    fails(&device, "closed the connection");
    let sent = relay.sent_bytes();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][..2], [0x16, 3], "a handshake record");
    assert!(!sent[0].windows(4).any(|four| four == b"MQTT"));
}
