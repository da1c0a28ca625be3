//! A UART as a transport.

use core::{convert::Infallible, hint::spin_loop};

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::Clock;

/// Silence after which nothing more is on its way from an earlier connection, in milliseconds.
const SILENCE_MS: u32 = 200;

/// What a UART can do, byte by byte and without waiting.
pub trait Registers {
    /// The next byte that came.
    fn receive(&self) -> Option<u8>;

    /// Whether a byte has come.
    fn has_received(&self) -> bool;

    /// Whether there is room for a byte to be sent.
    fn has_room(&self) -> bool;

    /// Hands over a byte to be sent; it is lost if there is no room.
    fn send(&self, byte: u8);

    /// Whether everything has been sent.
    fn is_drained(&self) -> bool;
}

/// A serial line. As with a `TcpStream`, a reference to it is a transport, so that the line outlives each connection.
///
/// Its FIFO is the only buffer: the emulator waits until there is room in it. A real line does not, so there a driver
/// with interrupts and a larger buffer, or RTS and CTS, belongs under the same four traits.
#[derive(Debug)]
pub struct Serial<R> {
    registers: R,
}

impl<R: Registers> Serial<R> {
    /// A line over a UART that is ready for use.
    pub const fn new(registers: R) -> Self {
        Self { registers }
    }

    /// Throws away what still comes from an earlier connection, of which the next must not see the rest.
    pub fn drain<C: Clock>(&self, clock: &C) {
        let mut end = clock.now().add_millis(SILENCE_MS);
        while !end.has_passed(clock.now()) {
            if self.registers.receive().is_some() {
                end = clock.now().add_millis(SILENCE_MS);
            }
        }
    }
}

impl<R: Registers> ErrorType for &Serial<R> {
    type Error = Infallible;
}

impl<R: Registers> Read for &Serial<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        while !buf.is_empty() && !self.registers.has_received() {
            spin_loop();
        }
        let mut n: usize = 0;
        for place in buf {
            let Some(byte) = self.registers.receive() else {
                break;
            };
            *place = byte;
            n = n.saturating_add(1);
        }
        Ok(n)
    }
}

impl<R: Registers> ReadReady for &Serial<R> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.registers.has_received())
    }
}

impl<R: Registers> Write for &Serial<R> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        while !buf.is_empty() && !self.registers.has_room() {
            spin_loop();
        }
        let mut n: usize = 0;
        for &byte in buf {
            if !self.registers.has_room() {
                break;
            }
            self.registers.send(byte);
            n = n.saturating_add(1);
        }
        Ok(n)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while !self.registers.is_drained() {
            spin_loop();
        }
        Ok(())
    }
}

impl<R: Registers> WriteReady for &Serial<R> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.registers.has_room())
    }
}
