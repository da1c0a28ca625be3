//! A transport in memory. It delivers prepared packets, and accepts all bytes.

use core::{cell::RefCell, convert::Infallible};

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::Vec;

use crate::Failure;

/// Length of the longest received packet, in bytes.
pub(crate) const LONGEST: usize = 128;

/// A reference to it is a transport, so packets can be added while a client uses it.
#[derive(Default)]
pub(crate) struct Wire {
    incoming: RefCell<Incoming>,
}

#[derive(Default)]
struct Incoming {
    packets: Vec<Vec<u8, LONGEST>, 2>,
    next: usize,
}

impl Wire {
    /// Replaces the packets of the peer. Each read returns one.
    pub(crate) fn feed(&self, packets: &[&[u8]]) -> Result<(), Failure> {
        let mut incoming = self.incoming.borrow_mut();
        incoming.packets.clear();
        incoming.next = 0;
        for packet in packets {
            let packet =
                Vec::from_slice(packet).map_err(|_| Failure::Script("a packet is too long"))?;
            let fed = incoming.packets.push(packet);
            fed.map_err(|_| Failure::Script("too many packets"))?;
        }
        Ok(())
    }
}

impl ErrorType for &Wire {
    type Error = Infallible;
}

impl Read for &Wire {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let mut incoming = self.incoming.borrow_mut();
        let packet = incoming.packets.get(incoming.next);
        let Some((packet, to)) =
            packet.and_then(|packet| Some((packet, buf.get_mut(..packet.len())?)))
        else {
            return Ok(0);
        };
        to.copy_from_slice(packet);
        let n = packet.len();
        incoming.next = incoming.next.saturating_add(1);
        Ok(n)
    }
}

impl ReadReady for &Wire {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        let incoming = self.incoming.borrow();
        Ok(incoming.next < incoming.packets.len())
    }
}

impl Write for &Wire {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for &Wire {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }
}
