//! A running mosquitto.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::pki::{Pair, Pki};

/// The highest version of TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Any,
    OneTwo,
}

const OPENSSL_CONF: &str = "openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = default
[default]
MaxProtocol = TLSv1.2
";

/// A broker, which is killed at the end of the test.
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    child: Child,
}

/// Functions that start mosquitto with TLS 1.2 only, and with TLS 1.3.
pub(crate) const VERSIONS: [fn(&Pki, &Pair, &str) -> Mosquitto; 2] =
    [Mosquitto::with_tls_1_2, Mosquitto::new];

impl Mosquitto {
    /// Starts mosquitto without TLS.
    pub(crate) fn plain(pki: &Pki) -> Self {
        Self::start(pki, "", Tls::Any)
    }

    /// As [`Self::new`], but with only TLS 1.2.
    pub(crate) fn with_tls_1_2(pki: &Pki, pair: &Pair, more: &str) -> Self {
        Self::start(
            pki,
            &certified(pki, &pair.chain, &pair.key, more),
            Tls::OneTwo,
        )
    }

    /// Starts mosquitto with TLS 1.3, this certificate and its chain, and these lines of configuration.
    pub(crate) fn new(pki: &Pki, pair: &Pair, more: &str) -> Self {
        Self::with_certificate(pki, &pair.chain, &pair.key, more)
    }

    pub(crate) fn with_certificate(pki: &Pki, certificate: &Path, key: &Path, more: &str) -> Self {
        Self::start(pki, &certified(pki, certificate, key, more), Tls::Any)
    }

    fn start(pki: &Pki, config: &str, tls: Tls) -> Self {
        let address = free_port();
        let file = pki.dir.path().join(format!("{}.conf", address.port()));
        let listener = format!("listener {} {}", address.port(), address.ip());
        let common = "user root\nallow_anonymous true\nset_tcp_nodelay true";
        fs::write(&file, format!("{common}\n{listener}\n{config}")).unwrap();
        // Debian installs it in a folder that is not in every user's PATH.
        let debian = "/usr/sbin/mosquitto";
        let program = if Path::new(debian).exists() {
            debian
        } else {
            "mosquitto"
        };
        let mut command = Command::new(program);
        if tls == Tls::OneTwo {
            // The configuration of mosquitto can set only the lowest version.
            let file = pki.dir.path().join("openssl.conf");
            fs::write(&file, OPENSSL_CONF).unwrap();
            command.env("OPENSSL_CONF", file);
        }
        let mut child = command
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install mosquitto openssl");
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "mosquitto ended");
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "mosquitto does not accept"
            );
            thread::sleep(Duration::from_millis(5));
        }
        Self { address, child }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn certified(pki: &Pki, certificate: &Path, key: &Path, more: &str) -> String {
    let ca = pki.dir.path().join("root.pem");
    let (ca, certificate, key) = (ca.display(), certificate.display(), key.display());
    format!("cafile {ca}\ncertfile {certificate}\nkeyfile {key}\n{more}\n")
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
