//! TLS 1.3 to the broker, whose certificate has to be signed by the authority in `CA_FILE`.

use embassy_executor::Spawner;
use embedded_tls::{
    Aes128GcmSha256, CryptoProvider, CryptoRngCore, NoClock, TlsError, TlsVerifier,
};
use esp_hal::rng::Trng;
use static_cell::{ConstStaticCell, StaticCell};
use tls_pump::{LONGEST_RECORD, Pump, Verifier};

use crate::{network::Connection, settings::TLS_NAME, spawn};

/// Does the records, in a task of its own.
pub(crate) type Tunnel = Pump<Connection>;

/// The client's end of a connection.
pub(crate) type Stream = tls_pump::Stream<'static, Connection>;

static AUTHORITY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/authority.der"));

/// Room for the certificates that the broker shows, in bytes.
const CERTIFICATES: usize = 4096;

/// Starts the task that does the records.
pub(crate) fn start(spawner: Spawner) -> &'static Tunnel {
    static TUNNEL: StaticCell<Tunnel> = StaticCell::new();
    let tunnel: &'static Tunnel = TUNNEL.init(Pump::new());
    spawn(spawner, do_records(tunnel));
    tunnel
}

#[embassy_executor::task]
async fn do_records(tunnel: &'static Tunnel) -> ! {
    static INCOMING: ConstStaticCell<[u8; LONGEST_RECORD]> = ConstStaticCell::new([0; _]);
    static OUTGOING: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; _]);
    let (incoming, outgoing) = (INCOMING.take(), OUTGOING.take());
    tunnel.run(incoming, outgoing, TLS_NAME, Checks::new).await
}

/// Randomness from the radio, and the check of the broker's certificate.
struct Checks {
    rng: Trng,
    verifier: Verifier<'static, NoClock, CERTIFICATES>,
}

impl Checks {
    fn new() -> Result<Self, TlsError> {
        Ok(Self {
            // There is entropy while the radio is on.
            rng: Trng::try_new().map_err(|_| TlsError::UnableToInitializeCryptoEngine)?,
            verifier: Verifier::new(AUTHORITY),
        })
    }
}

impl CryptoProvider for Checks {
    type CipherSuite = Aes128GcmSha256;
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.verifier)
    }
}
