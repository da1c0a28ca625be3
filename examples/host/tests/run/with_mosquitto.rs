//! Against mosquitto, where it is installed.

use crate::{
    certificates::{Authority, Pair},
    mosquitto::{Mosquitto, is_installed, skipped},
    process::{Running, count, host, host_command, start, with_both_clients},
};

#[test]
fn plain() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        for more in [
            "--qos 0",
            "--qos 1",
            "--qos 2",
            "--keep-alive 0",
            "--clean",
            "--client-id= --clean",
        ] {
            let arguments = format!(
                "{client} --broker {} --count 3 --interval 0.05 {more}",
                broker.address
            );
            let lines = host(&arguments).succeeds();
            assert_eq!(count(&lines, "Came back"), 3, "{lines:#?}");
        }
        let port = broker.address.port();
        host(&format!("{client} --broker localhost:{port} --count 1")).succeeds();
    });
}

#[test]
fn over_ipv6() {
    if !is_installed() {
        return;
    }
    let Some(broker) = Mosquitto::on_ipv6() else {
        skipped("there is no IPv6 here");
        return;
    };
    host(&format!("--broker {} --count 1", broker.address)).succeeds();
}

#[test]
fn a_login() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::with_user("ann", "s3cret");
        let arguments = format!("{client} --broker {} --count 1", broker.address);
        host(&format!("{arguments} --user ann --password s3cret")).succeeds();
        let mut command = host_command(&format!("{arguments} --user ann"));
        start(command.env("MQTT_PASSWORD", "s3cret")).succeeds();
        for login in [
            "",
            "--user ann",
            "--user ann --password wrong",
            "--user bob --password s3cret",
        ] {
            let refused = host(&format!("{arguments} {login}"));
            refused.gives_up(&["refused", "--user and --password"]);
        }
    });
}

#[test]
fn the_article() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        let topic = "living-1/living_room/light";
        let mut watcher = broker.subscribe(topic);
        let mut host = host(&format!(
            "{client} --broker {} --topic-prefix living-1",
            broker.address
        ));
        watcher.line("living-1/living_room/light on");
        watcher.line("living-1/living_room/light off");
        broker.publish(topic, "how do you do?");
        host.line("Received on living-1/living_room/light: how do you do?");
        host.interrupt();
        host.succeeds();
    });
}

#[test]
fn a_will() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        for (will, seen) in [
            ("gone", "w/living_room/light gone"),
            ("wills/w=gone", "wills/w gone"),
        ] {
            let mut watcher = broker.subscribe("#");
            let mut host = host(&format!(
                "{client} --broker {} --topic-prefix w --qos 1 --will {will}",
                broker.address
            ));
            watcher.line("w/living_room/light on");
            host.kill();
            watcher.line(seen);
        }
    });
}

#[test]
fn a_broker_that_restarts_and_forgets() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let mut broker = Mosquitto::open();
        let mut host = host(&format!(
            "{client} --broker {} --qos 2 --count 3",
            broker.address
        ));
        host.line("Came back");
        broker.restart();
        host.line("again in 5 s");
        let lines = host.succeeds();
        assert_eq!(count(&lines, "Subscribed"), 2, "{lines:#?}");
        assert_eq!(count(&lines, "Came back"), 3, "{lines:#?}");
    });
}

fn over_tls(broker: &Mosquitto, authority: &Authority, more: &str) -> Running {
    let (port, ca) = (broker.address.port(), authority.ca());
    host(&format!(
        "--broker localhost:{port} --count 2 --interval 0.05 --tls --ca {} {more}",
        ca.display()
    ))
}

fn with_pair(broker: &Mosquitto, authority: &Authority, pair: &Pair, more: &str) -> Running {
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    over_tls(
        broker,
        authority,
        &format!("{more} --client-cert {certificate} --client-key {key}"),
    )
}

fn tls_config(authority: &Authority, name: &str) -> String {
    let Pair { certificate, key } = authority.certify(name);
    format!(
        "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}",
        authority.ca().display(),
        certificate.display(),
        key.display()
    )
}

#[test]
fn a_private_authority() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let broker = Mosquitto::with(&tls_config(&authority, "localhost"));
        for qos in 0..3 {
            over_tls(&broker, &authority, &format!("{client} --qos {qos}")).succeeds();
        }
        over_tls(&broker, &Authority::new(), client)
            .gives_up(&["nobody trusted here", "--ca FILE"]);
        let address = broker.address;
        let mut plain = host(&format!("{client} --broker {address}"));
        let line = plain.line("Trying again");
        assert!(line.contains("--tls"), "{line}");
    });
}

#[test]
fn client_certificates() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let config = tls_config(&authority, "localhost") + "\nrequire_certificate true";
        let broker = Mosquitto::with(&config);
        with_pair(&broker, &authority, &authority.certify("lamp"), client).succeeds();
        over_tls(&broker, &authority, client).gives_up(&["client certificate", "--client-cert"]);
        let other = Authority::new();
        with_pair(&broker, &authority, &other.certify("lamp"), client)
            .gives_up(&["does not accept the client certificate"]);
    });
}

#[test]
fn tls_asked_of_a_plain_port() {
    if !is_installed() {
        return;
    }
    let broker = Mosquitto::open();
    let mut host = host(&format!("--broker {} --tls", broker.address));
    let line = host.line("TLS");
    assert!(line.contains("8883"), "{line}");
}
