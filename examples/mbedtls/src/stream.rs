//! The client side of a TLS connection.

use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use embedded_io_async::{ErrorType, Read, Write};
use mbedtls_rs::{Session, SessionError};

use crate::Error;

/// Maximum length of a piece, so that Mbed TLS always writes a piece as one record.
const PIECE: usize = 1024;
const _: () = assert!(mbedtls_rs::sys::MBEDTLS_SSL_OUT_CONTENT_LEN as usize >= PIECE);

/// The client side of a TLS connection. Dropping it drops the transport.
///
/// # Cancel safety
///
/// Dropping a future of `read`, `write` or `flush` loses and repeats nothing. A piece that Mbed TLS has encrypted is
/// reported as written, even if the transport has not accepted all of it. Flush after the last `write`, as umqtt does.
///
/// # Errors
///
/// After a failed read, every call returns the same error. After a failed write or flush, writes and flushes return its
/// error, but received bytes can still be read.
pub struct Stream<'a, T: Read + Write> {
    session: Session<'a, T>,
    /// Mbed TLS has a record of which only a part was written to the transport.
    unsent: bool,
    /// The server has sent application data.
    answered: bool,
    read_failed: Option<Error>,
    write_failed: Option<Error>,
}

impl<'a, T: Read + Write> Stream<'a, T> {
    pub(crate) const fn new(session: Session<'a, T>) -> Self {
        Self {
            session,
            unsent: false,
            answered: false,
            read_failed: None,
            write_failed: None,
        }
    }

    /// Sends a close notification to the server, and drops the transport.
    ///
    /// # Errors
    ///
    /// - [`Error::Connection`], [`Error::Unanswered`]: the notification was not sent.
    pub async fn close(mut self) -> Result<(), Error> {
        self.flush().await?;
        let closed = self.session.close().await;
        self.after_write(closed)
    }

    fn check_write(&self) -> Result<(), Error> {
        self.read_failed.or(self.write_failed).map_or(Ok(()), Err)
    }

    fn after_write<V>(&mut self, result: Result<V, SessionError>) -> Result<V, Error> {
        result.map_err(|error| *self.write_failed.insert(self.error(error)))
    }

    const fn error(&self, error: SessionError) -> Error {
        if self.answered {
            Error::Connection(error)
        } else {
            Error::Unanswered(error)
        }
    }
}

impl<T: Read + Write> ErrorType for Stream<'_, T> {
    type Error = Error;
}

impl<T: Read + Write> Read for Stream<'_, T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if let Some(error) = self.read_failed {
            return Err(error);
        }
        match self.session.read(buf).await {
            Ok(n) => {
                self.answered |= n > 0;
                Ok(n)
            }
            Err(error) => Err(*self.read_failed.insert(self.error(error))),
        }
    }
}

impl<T: Read + Write> Write for Stream<'_, T> {
    /// Writes at most 1 KiB, as one record.
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        self.check_write()?;
        if self.unsent {
            self.flush().await?;
        }
        let piece = buf.get(..PIECE).unwrap_or(buf);
        let attempt = {
            let mut write = pin!(self.session.write(piece));
            poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await
        };
        match attempt {
            Poll::Ready(written) => self.after_write(written),
            // The piece is already encrypted. If it was written again, it would be sent twice.
            Poll::Pending => {
                self.unsent = true;
                Ok(piece.len())
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.check_write()?;
        let flushed = self.session.flush().await;
        self.after_write(flushed)?;
        self.unsent = false;
        Ok(())
    }
}
