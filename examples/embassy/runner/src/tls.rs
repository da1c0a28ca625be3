//! Runs the light over TLS, and measures it. The chain of the broker has an intermediate authority, and keys of
//! RSA-2048.

use std::{fs, net::TcpListener, path::Path, process::Command};

use tempfile::TempDir;
use umqtt::codec::QoS;

use crate::{
    Result,
    broker::Broker,
    chip::Chip,
    host::Host,
    light::{expect_state, size},
    table::{Table, Tls},
};

/// Makes root, intermediate authority and broker, in this order. Each signs the next one.
const CERTIFICATES: &str = r#"
set -e
new() { openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" "${@:2}"; }
sign() { openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.pem"; }
new root -x509 -days 2 -out root.pem
openssl x509 -in root.pem -outform DER -out root.der
echo "basicConstraints=critical,CA:TRUE" >authority.ext
new authority -out authority.csr
sign authority root
echo "subjectAltName=DNS:broker.test" >broker.ext
new broker -out broker.csr
sign broker authority
cat broker.pem authority.pem >chain.pem
"#;

const ADDRESS: &str = "127.0.0.1:8883";
const LISTENER: &str = "listener 8883 127.0.0.1\ncertfile chain.pem\nkeyfile broker.key\n";

pub(crate) fn run(image: &Path, table: &mut Table) -> Result<()> {
    println!("{}", image.display());
    let certificates = TempDir::new()?;
    let made = Command::new("bash")
        .args(["-c", CERTIFICATES])
        .current_dir(certificates.path())
        .output()?;
    if !made.status.success() {
        return Err(format!("openssl: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let files = TempDir::new()?;
    fs::copy(
        certificates.path().join("root.der"),
        files.path().join("root.der"),
    )?;
    // A server that never answers.
    let silent = TcpListener::bind(ADDRESS)?;
    let mut chip = Chip::start_in(files, image, &[])?;
    chip.wait_for_line("no TLS: the server did not finish the handshake in time")?;
    // The chip is stopped until the host has subscribed. Otherwise, the host could miss its first message.
    chip.order("stop")?;
    drop(silent);
    let _broker = Broker::start_with(certificates, LISTENER)?;
    let mut host = Host::connect("light-7/#")?;
    chip.order("cont")?;
    chip.wait_for_line("handshake: ")?;
    chip.wait_for_line("subscribed")?;
    expect_state(&mut host, "off", &mut chip)?;
    for state in ["on", "off"] {
        host.send("light-7/set", state.as_bytes(), QoS::AtLeastOnce)?;
        expect_state(&mut host, state, &mut chip)?;
    }
    let line = chip
        .line("handshake: ")
        .ok_or("no handshake was reported")?;
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    let mut next = || numbers.next().ok_or("a number is missing");
    let (handshake_ms, heap, heap_peak) = (next()?, next()?, next()?);
    let (flash, ram) = size(image)?;
    table.tls = Tls {
        flash,
        ram,
        heap,
        heap_peak,
        handshake_ms,
    };
    Ok(())
}
