//! A root, an intermediate authority, and certificates, for one test.

use std::{ffi::CString, fs, path::PathBuf, process::Command};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// The type of all keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// RSA, 2048 bits.
    Rsa,
    /// Elliptic curve P-256.
    P256,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Rsa, Kind::P256];

impl Kind {
    fn key(self) -> KeyPair {
        match self {
            // With *ring*, rcgen creates no RSA keys.
            Self::Rsa => {
                let made = Command::new("openssl")
                    .args(["genpkey", "-quiet", "-algorithm", "RSA"])
                    .args(["-pkeyopt", "rsa_keygen_bits:2048"])
                    .output()
                    .unwrap();
                KeyPair::from_pem(&String::from_utf8(made.stdout).unwrap()).unwrap()
            }
            Self::P256 => KeyPair::generate().unwrap(),
        }
    }
}

pub(crate) struct Pki {
    pub(crate) dir: TempDir,
    kind: Kind,
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// Paths of the PEM files of a certificate and its key. `chain` also contains the authorities below the root.
pub(crate) struct Pair {
    pub(crate) chain: PathBuf,
    /// The certificate without the authorities.
    pub(crate) leaf: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    pub(crate) fn new(kind: Kind) -> Self {
        let root = CertifiedIssuer::self_signed(authority("Root"), kind.key()).unwrap();
        let intermediate =
            CertifiedIssuer::signed_by(authority("Intermediate"), kind.key(), &root).unwrap();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("root.pem"), root.pem()).unwrap();
        Self {
            dir,
            kind,
            root,
            intermediate,
        }
    }

    /// Returns the root's certificate, in PEM form.
    pub(crate) fn root(&self) -> CString {
        CString::new(self.root.pem()).unwrap()
    }

    /// Returns the root's certificate, in DER form.
    pub(crate) fn root_der(&self) -> &[u8] {
        self.root.der()
    }

    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.sign(name, CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// Issues a certificate that is valid only in the year 2000.
    pub(crate) fn issue_expired(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(name, params)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Pair {
        params.distinguished_name.push(DnType::CommonName, name);
        let key = self.kind.key();
        let leaf = params.signed_by(&key, &self.intermediate).unwrap().pem();
        let write = |extension: &str, content: String| {
            let path = self.dir.path().join(format!("{name}.{extension}"));
            fs::write(&path, content).unwrap();
            path
        };
        Pair {
            chain: write("chain", leaf.clone() + &self.intermediate.pem()),
            leaf: write("leaf", leaf),
            key: write("key", key.serialize_pem()),
        }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    // Authorities are old, so that a test can set its clock back.
    params.not_before = date_time_ymd(1990, 1, 1);
    params
}
