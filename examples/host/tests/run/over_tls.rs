//! Tests over TLS, with a server in this process.

use std::{net::SocketAddr, path::Path};

use crate::{
    certificates::{Authority, Pair},
    process::{Running, count, host, with_both_clients},
    relay,
};

/// Starts a broker with TLS. If `asks`, it requires a client certificate.
fn server(authority: &Authority, pair: &Pair, asks: bool) -> SocketAddr {
    relay::tls(
        authority.server(pair, asks),
        embedded_broker::start().unwrap(),
    )
}

/// Starts the program with further options, until two messages have come back.
fn connect(server: SocketAddr, ca: &Path, more: &str) -> Running {
    let (port, ca) = (server.port(), ca.display());
    host(&format!(
        "--broker localhost:{port} --tls --ca {ca} --count 2 --interval 0.05 {more}"
    ))
}

#[test]
fn private_authority_is_trusted() {
    with_both_clients(|client| {
        let authority = Authority::new();
        let server = server(&authority, &authority.certify("localhost"), false);
        let lines = connect(server, &authority.ca(), &format!("{client} --qos 2")).succeeds();
        assert_eq!(count(&lines, "Came back"), 2, "{lines:#?}");
    });
}

#[test]
fn certificate_for_ip_address_is_accepted() {
    let authority = Authority::new();
    let server = server(&authority, &authority.certify("127.0.0.1"), false);
    let ca = authority.ca();
    host(&format!(
        "--broker {server} --tls --ca {} --count 1",
        ca.display()
    ))
    .succeeds();
}

#[test]
fn unknown_authority_is_not_trusted() {
    with_both_clients(|client| {
        let (authority, other) = (Authority::new(), Authority::new());
        let server = server(&authority, &authority.certify("localhost"), false);
        connect(server, &other.ca(), client).gives_up(&["No trusted authority", "--ca FILE"]);
        let port = server.port();
        host(&format!("{client} --broker localhost:{port} --tls"))
            .gives_up(&["No trusted authority", "--ca FILE"]);
    });
}

#[test]
fn certificate_of_other_host_is_not_trusted() {
    let authority = Authority::new();
    let server = server(&authority, &authority.certify("elsewhere.example"), false);
    connect(server, &authority.ca(), "").gives_up(&[
        "another host",
        "elsewhere.example",
        "--broker",
    ]);
}

#[test]
fn expired_certificate_is_not_trusted() {
    let authority = Authority::new();
    let server = server(&authority, &authority.certify_expired("localhost"), false);
    connect(server, &authority.ca(), "").gives_up(&["not valid today", "clock"]);
}

#[test]
fn client_certificate_of_known_authority_is_accepted() {
    with_both_clients(|client| {
        let authority = Authority::new();
        let server = server(&authority, &authority.certify("localhost"), true);
        let with = |pair: &Pair| {
            let (certificate, key) = (pair.certificate.display(), pair.key.display());
            let more = format!("{client} --client-cert {certificate} --client-key {key}");
            connect(server, &authority.ca(), &more)
        };
        with(&authority.certify("lamp")).succeeds();
        connect(server, &authority.ca(), client)
            .gives_up(&["asks for a client certificate", "--client-cert FILE"]);
        let other = Authority::new();
        with(&other.certify("lamp")).gives_up(&["does not accept the client certificate"]);
    });
}

#[test]
fn client_key_of_other_certificate_is_refused() {
    let authority = Authority::new();
    let (one, two) = (authority.certify("one"), authority.certify("two"));
    let (certificate, key) = (one.certificate.display(), two.key.display());
    let broker = relay::nobody();
    host(&format!(
        "--broker {broker} --tls --client-cert {certificate} --client-key {key}"
    ))
    .gives_up(&["--client-cert and --client-key belong together"]);
}

#[test]
fn tls_on_one_side_only_is_explained() {
    let relay = relay::Relay::new(embedded_broker::start().unwrap());
    let mut running = host(&format!("--broker {} --tls", relay.address));
    let line = running.line("TLS");
    assert!(line.contains("8883"), "{line}");

    let authority = Authority::new();
    let server = server(&authority, &authority.certify("localhost"), false);
    let mut running = host(&format!("--broker {server}"));
    let line = running.line("Trying again");
    assert!(line.contains("--tls"), "{line}");
}

#[test]
fn answer_without_tls_is_recognised() {
    let server = relay::answering(b"\x20\x02\0\0 and more than that");
    host(&format!("--broker {server} --tls")).gives_up(&["not TLS", "8883"]);
}
