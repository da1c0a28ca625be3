//! The client side of a connection.

use embassy_futures::select::{Either, select};
use embedded_io_async::{ErrorType, Read, Write};
use embedded_tls::TlsError;

use crate::{Error, Line};

/// The client side of a connection. Dropping it closes the connection at once.
///
/// Dropping a future of `read`, `write` or `flush` loses nothing.
pub struct Stream<'p, S> {
    line: Line<'p, S>,
    end: Option<TlsError>,
}

impl<'p, S> Stream<'p, S> {
    pub(crate) const fn new(line: Line<'p, S>) -> Self {
        Self { line, end: None }
    }
}

/// The reason why the connection was closed.
async fn end<S>(line: &Line<'_, S>, end: &mut Option<TlsError>) -> TlsError {
    match *end {
        Some(known) => known,
        None => *end.insert(line.0.ended.wait().await),
    }
}

impl<S> ErrorType for Stream<'_, S> {
    type Error = Error;
}

impl<S> Read for Stream<'_, S> {
    /// Bytes that were received before the end are read first. Then the end is reported.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let read = self.line.0.incoming.read(buf);
        match select(read, end(&self.line, &mut self.end)).await {
            Either::First(n) => Ok(n),
            Either::Second(why) if Error(why).is_closed() => Ok(0),
            Either::Second(why) => Err(Error(why)),
        }
    }
}

impl<S> Write for Stream<'_, S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        let pump = self.line.0;
        match select(end(&self.line, &mut self.end), pump.outgoing.write(buf)).await {
            Either::First(why) => Err(Error(why)),
            Either::Second(n) => {
                pump.unsent.set(true);
                Ok(n)
            }
        }
    }

    /// Waits until the socket has accepted the records.
    async fn flush(&mut self) -> Result<(), Error> {
        let pump = self.line.0;
        while pump.unsent.get() {
            let sent = select(end(&self.line, &mut self.end), pump.sent.wait());
            if let Either::First(why) = sent.await {
                return Err(Error(why));
            }
        }
        Ok(())
    }
}
