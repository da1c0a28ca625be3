//! Tokio's sockets as the async client takes them, with TLS or without.

use std::{
    future::poll_fn,
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll},
};

use embedded_io_async::ErrorType;
use rustls::{ClientConnection, StreamOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use umqtt::std_io::Error;

use crate::transport::Stream;

/// A [`Stream`] that wakes its task. Dropping the future of a read, a write or a flush loses nothing.
#[derive(Debug)]
pub(crate) struct AsyncStream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl AsyncStream {
    /// Has tokio watch the stream, which is in non-blocking mode.
    pub(crate) fn new(stream: Stream) -> io::Result<Self> {
        let (socket, tls) = match stream {
            Stream::Plain(socket) => (socket, None),
            Stream::Tls(stream) => {
                let (connection, socket) = stream.into_parts();
                (socket, Some(Box::new(connection)))
            }
        };
        let socket = TcpStream::from_std(socket)?;
        Ok(Self { socket, tls })
    }

    /// Takes the stream back from tokio.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        let socket = self.socket.into_std()?;
        Ok(match self.tls {
            None => Stream::Plain(socket),
            Some(connection) => Stream::Tls(Box::new(StreamOwned::new(*connection, socket))),
        })
    }

    /// Waits while `operation` would block.
    async fn wait<R>(
        &mut self,
        mut operation: impl FnMut(&mut dyn ReadWrite) -> io::Result<R>,
    ) -> Result<R, Error> {
        let Self { socket, tls } = self;
        let done = poll_fn(|cx| {
            let mut polled = Polled { socket, cx };
            let result = match tls {
                None => operation(&mut polled),
                Some(connection) => {
                    operation(&mut rustls::Stream::new(connection.as_mut(), &mut polled))
                }
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                result => Poll::Ready(result),
            }
        });
        done.await.map_err(Error)
    }
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

/// The socket while a task polls it: where it would block, it wakes that task later. TLS may read in order to write
/// and write in order to read, so each direction has to see to its own waking.
struct Polled<'s, 'c, 'w> {
    socket: &'s mut TcpStream,
    cx: &'c mut Context<'w>,
}

impl Read for Polled<'_, '_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        let read = Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf);
        would_block(read).map(|()| buf.filled().len())
    }
}

impl Write for Polled<'_, '_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        would_block(Pin::new(&mut *self.socket).poll_write(self.cx, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        would_block(Pin::new(&mut *self.socket).poll_flush(self.cx))
    }
}

fn would_block<R>(poll: Poll<io::Result<R>>) -> io::Result<R> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl ErrorType for AsyncStream {
    type Error = Error;
}

impl embedded_io_async::Read for AsyncStream {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        self.wait(|stream| stream.read(buf)).await
    }
}

impl embedded_io_async::Write for AsyncStream {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        self.wait(|stream| stream.write(buf)).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.wait(|stream| stream.flush()).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::Sender,
        thread,
        time::{Duration, Instant},
    };

    use embedded_io_async::{Read as _, Write as _};
    use tokio::{runtime::Builder, time::timeout};

    use super::*;
    use crate::transport::{
        hang_up,
        tests::{HELLO, connected},
    };

    const SOON: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(10);

    fn block_on<R>(future: impl Future<Output = R>) -> R {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    /// Waits for what becomes ready once the server, a little later, is told to go on.
    async fn woken<R>(server: &Sender<()>, ready: impl Future<Output = R>) -> R {
        let server = server.clone();
        thread::spawn(move || {
            thread::sleep(SOON);
            server.send(()).unwrap();
        });
        let start = Instant::now();
        let result = timeout(LONG, ready).await.unwrap();
        // The end of the time would wake it, too.
        assert!(start.elapsed() < LONG, "it was not woken");
        result
    }

    /// Writes until the stream takes no more, and returns what it took.
    async fn fill(stream: &mut AsyncStream) -> Vec<u8> {
        let block: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        let mut sent = Vec::new();
        while let Ok(written) = timeout(SOON, stream.write(&block)).await {
            sent.extend_from_slice(&block[..written.unwrap()]);
            assert!(
                sent.len() < 100_000_000,
                "the server reads nothing, and all is sent"
            );
        }
        sent
    }

    #[test]
    fn over_tls_each_side_is_woken_by_itself() {
        let (stream, tell, server) = connected();
        let (stream, sent) = block_on(async {
            let mut stream = AsyncStream::new(stream).unwrap();
            let mut buffer = [0; 64];
            let nothing = timeout(SOON, stream.read(&mut buffer)).await;
            assert!(nothing.is_err(), "{nothing:?}");
            let mut sent = fill(&mut stream).await;
            let full = timeout(SOON, stream.flush()).await;
            assert!(full.is_err(), "{full:?}");

            let n = woken(&tell, stream.read(&mut buffer)).await.unwrap();
            assert_eq!(&buffer[..n], HELLO, "although nothing can be written");

            woken(&tell, stream.flush()).await.unwrap();
            assert_eq!(stream.write(b"the end").await.unwrap(), 7);
            sent.extend_from_slice(b"the end");
            stream.flush().await.unwrap();
            (stream.into_stream().unwrap(), sent)
        });
        hang_up(stream).unwrap();
        assert!(server.join().unwrap() == sent, "not what was sent");
    }
}
