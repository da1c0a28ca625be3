//! One socket for a reader and a writer.

use core::{cell::RefCell, future::poll_fn, pin::pin};

use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

/// Each poll creates a new future, so that neither side borrows the socket while it waits.
pub(crate) struct Shared<'s, S>(pub(crate) &'s RefCell<S>);

impl<S> Clone for Shared<'_, S> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<S> ErrorType for Shared<'_, S> {
    type Error = ErrorKind;
}

impl<S: Read> Read for Shared<'_, S> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let read = poll_fn(|cx| pin!(self.0.borrow_mut().read(buf)).poll(cx)).await;
        read.map_err(|error| error.kind())
    }
}

impl<S: Write> Write for Shared<'_, S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let written = poll_fn(|cx| pin!(self.0.borrow_mut().write(buf)).poll(cx)).await;
        match written {
            // embedded-tls uses `write_all`, which panics if a write accepts no byte.
            Ok(0) if !buf.is_empty() => Err(ErrorKind::WriteZero),
            written => written.map_err(|error| error.kind()),
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        let flushed = poll_fn(|cx| pin!(self.0.borrow_mut().flush()).poll(cx)).await;
        flushed.map_err(|error| error.kind())
    }
}
