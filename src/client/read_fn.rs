//! A closure as a reader.

use embedded_io::{Error, ErrorType, Read};

/// A reader that gets its bytes from a closure, for payloads that are generated while they are sent.
///
/// The closure writes bytes to the given slice and returns their number. 0 means that there are no more bytes. If the
/// payload is then shorter than announced, the publish fails.
///
/// ```
/// use embedded_io::{ErrorKind, Read};
/// use umqtt::ReadFn;
///
/// let mut measured = [20u8, 21, 22].into_iter();
/// let mut reader = ReadFn(|buf: &mut [u8]| {
///     let Some(value) = measured.next() else { return Ok(0) };
///     buf[0] = value;
///     Ok::<_, ErrorKind>(1)
/// });
/// let mut buf = [0; 8];
/// assert_eq!(reader.read(&mut buf), Ok(1));
/// assert_eq!(buf[0], 20);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReadFn<F>(
    /// Writes bytes to a slice and returns their number.
    pub F,
);

impl<F, E> ErrorType for ReadFn<F>
where
    F: FnMut(&mut [u8]) -> Result<usize, E>,
    E: Error,
{
    type Error = E;
}

impl<F, E> Read for ReadFn<F>
where
    F: FnMut(&mut [u8]) -> Result<usize, E>,
    E: Error,
{
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, E> {
        (self.0)(buf)
    }
}

#[cfg(feature = "async")]
impl<F, E> embedded_io_async::Read for ReadFn<F>
where
    F: FnMut(&mut [u8]) -> Result<usize, E>,
    E: Error,
{
    /// Calls the closure once. The future is ready when it is first polled. If it is dropped before, the closure is not
    /// called.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, E> {
        (self.0)(buf)
    }
}
