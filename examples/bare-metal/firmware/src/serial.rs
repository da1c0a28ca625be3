//! The UART of the [machine](crate::machine) as a transport.

use core::{convert::Infallible, hint::spin_loop};

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::Clock;

use crate::machine::uart;

/// Silence in ms after which no more bytes of an earlier connection are expected.
const SILENCE_MS: u32 = 200;

/// A serial line.
///
/// Its FIFO is the only buffer: the emulator waits until there is room in it. A real line does not wait. For that,
/// implement the same four traits on a driver with interrupts and a larger buffer, or use RTS and CTS.
#[derive(Debug)]
pub struct Serial;

impl Serial {
    /// Opens the line: discards bytes of an earlier connection until the line was silent for 200 ms.
    ///
    /// # Errors
    ///
    /// None. With a modem, dialling can fail here.
    pub fn open(clock: &impl Clock) -> Result<Self, Infallible> {
        let mut end = clock.now().add_millis(SILENCE_MS);
        while !end.has_passed(clock.now()) {
            if uart::has_received() {
                let _ = uart::receive();
                end = clock.now().add_millis(SILENCE_MS);
            }
        }
        Ok(Self)
    }
}

impl ErrorType for Serial {
    type Error = Infallible;
}

impl Read for Serial {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        while !buf.is_empty() && !uart::has_received() {
            spin_loop();
        }
        let places = buf.iter_mut().take_while(|_| uart::has_received());
        Ok(places.map(|place| *place = uart::receive()).count())
    }
}

impl ReadReady for Serial {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(uart::has_received())
    }
}

impl Write for Serial {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        while !buf.is_empty() && !uart::has_room() {
            spin_loop();
        }
        let bytes = buf.iter().take_while(|_| uart::has_room());
        Ok(bytes.map(|&byte| uart::send(byte)).count())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while !uart::is_drained() {
            spin_loop();
        }
        Ok(())
    }
}

impl WriteReady for Serial {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(uart::has_room())
    }
}
