//! A transport that is rarely ready, and then for few bytes.

use embedded_io_async::{ErrorType, Read, Write};
use tokio::task::yield_now;

pub(crate) struct Choppy<T> {
    inner: T,
    random: fastrand::Rng,
}

impl<T> Choppy<T> {
    pub(crate) fn new(inner: T, seed: u64) -> Self {
        Self {
            inner,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    async fn pause(&mut self) {
        if self.random.bool() {
            yield_now().await;
        }
    }

    fn part(&mut self, of: usize) -> usize {
        of.min(self.random.usize(1..=900))
    }
}

impl<T: ErrorType> ErrorType for Choppy<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Choppy<T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, T::Error> {
        self.pause().await;
        let n = self.part(buf.len());
        self.inner.read(&mut buf[..n]).await
    }
}

impl<T: Write> Write for Choppy<T> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, T::Error> {
        self.pause().await;
        let n = self.part(buf.len());
        self.inner.write(&buf[..n]).await
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        self.pause().await;
        self.inner.flush().await
    }
}
