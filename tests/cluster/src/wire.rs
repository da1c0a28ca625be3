//! A transport that notes each message of the broker, before the device handles it.

use std::{cell::RefCell, rc::Rc};

use embedded_io_async::{ErrorType, Read, Write};
use umqtt::codec::Packet;

use crate::ledger::Ledger;

pub(crate) struct Noted<T> {
    transport: T,
    ledger: Rc<RefCell<Ledger>>,
    /// Bytes of an incomplete packet.
    rest: Vec<u8>,
}

impl<T> Noted<T> {
    pub(crate) const fn new(transport: T, ledger: Rc<RefCell<Ledger>>) -> Self {
        let rest = Vec::new();
        Self {
            transport,
            ledger,
            rest,
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Ok(Some((packet, len))) = Packet::decode(&self.rest) {
            if let Packet::Publish(message) = packet {
                let is_new = !message.delivery.dup();
                self.ledger.borrow_mut().sent(message.payload, is_new);
            }
            self.rest.drain(..len);
        }
    }
}

impl<T: ErrorType> ErrorType for Noted<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Noted<T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, T::Error> {
        let len = self.transport.read(buf).await?;
        self.note(buf.get(..len).unwrap_or_default());
        Ok(len)
    }
}

impl<T: Write> Write for Noted<T> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, T::Error> {
        self.transport.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        self.transport.flush().await
    }
}
