//! One connection: the handshake, and bytes in both directions until it is closed.

use core::{cell::RefCell, convert::Infallible};

use embassy_futures::select::{Either, select};
use embedded_io_async::{BufRead, Read, Write};
use embedded_tls::{
    Aes128GcmSha256, CryptoProvider, FlushPolicy, TlsConfig, TlsConnection, TlsContext, TlsError,
    TlsReader, TlsWriter,
};

use crate::{Pump, shared::Shared};

/// Returns the reason why the connection was closed. Bytes that were received before are in the pipe.
pub(crate) async fn carry<S: Read + Write, P>(
    pump: &Pump<S>,
    socket: S,
    incoming: &mut [u8],
    outgoing: &mut [u8],
    (server_name, provider): (&str, P),
) -> TlsError
where
    P: CryptoProvider<CipherSuite = Aes128GcmSha256>,
{
    let socket = RefCell::new(socket);
    let mut tls = TlsConnection::new(Shared(&socket), incoming, outgoing);
    // Waiting for the TCP acknowledgement of each record would have no use.
    tls.set_flush_policy(FlushPolicy::Relaxed);
    let config = TlsConfig::new().with_server_name(server_name);
    if let Err(error) = tls.open(TlsContext::new(&config, provider)).await {
        return error;
    }
    pump.opened.signal(());
    let (reader, writer) = tls.split();
    match select(receive(pump, reader), send(pump, writer)).await {
        Either::First(Err(end)) | Either::Second(Err(end)) => end,
    }
}

type Reader<'a, 's, S> = TlsReader<'a, Shared<'s, S>, Aes128GcmSha256>;
type Writer<'a, 's, S> = TlsWriter<'a, Shared<'s, S>, Aes128GcmSha256>;

async fn receive<S: Read + Write>(
    pump: &Pump<S>,
    mut tls: Reader<'_, '_, S>,
) -> Result<Infallible, TlsError> {
    loop {
        let n = pump.incoming.write(tls.fill_buf().await?).await;
        tls.consume(n);
    }
}

async fn send<S: Read + Write>(
    pump: &Pump<S>,
    mut tls: Writer<'_, '_, S>,
) -> Result<Infallible, TlsError> {
    let mut buf = [0; 256];
    loop {
        let n = pump.outgoing.read(&mut buf).await;
        tls.write_all(buf.get(..n).unwrap_or_default()).await?;
        // Bytes that the client wrote at once are sent in one record.
        if pump.outgoing.is_empty() {
            tls.flush().await?;
        }
        if pump.outgoing.is_empty() {
            pump.unsent.set(false);
            pump.sent.signal(());
        }
    }
}
