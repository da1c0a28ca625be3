//! A transport that records each message of the broker before the device handles it.

use std::{cell::RefCell, collections::HashSet, rc::Rc};

use embedded_io_async::{ErrorType, Read, Write};
use umqtt::codec::{Connack, Packet, PacketId, QoS};

use crate::ledger::Ledger;

/// Ids of QoS 2 messages that the broker has sent and not released. They are kept when a connection ends.
pub(crate) type OpenIds = Rc<RefCell<HashSet<PacketId>>>;

pub(crate) struct Recording<T> {
    transport: T,
    ledger: Rc<RefCell<Ledger>>,
    open: OpenIds,
    /// Bytes of an incomplete packet.
    rest: Vec<u8>,
}

impl<T> Recording<T> {
    pub(crate) const fn new(transport: T, ledger: Rc<RefCell<Ledger>>, open: OpenIds) -> Self {
        let rest = Vec::new();
        Self {
            transport,
            ledger,
            open,
            rest,
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Ok(Some((packet, len))) = Packet::decode(&self.rest) {
            let open = &mut *self.open.borrow_mut();
            match packet {
                Packet::Connack(Connack::Accepted {
                    session_present: false,
                }) => open.clear(),
                Packet::Pubrel(ack) => {
                    open.remove(&ack.packet_id);
                }
                Packet::Publish(message) => {
                    // [MQTT-4.3.3-2] Until PUBREL, a message with the same id is the same message.
                    let id = message.delivery.packet_id();
                    let is_open = id.is_some_and(|id| {
                        message.delivery.qos() == QoS::ExactlyOnce && !open.insert(id)
                    });
                    self.ledger.borrow_mut().sent(message.payload, !is_open);
                }
                _ => {}
            }
            self.rest.drain(..len);
        }
    }
}

impl<T: ErrorType> ErrorType for Recording<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Recording<T> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, T::Error> {
        let len = self.transport.read(buf).await?;
        self.note(buf.get(..len).unwrap_or_default());
        Ok(len)
    }
}

impl<T: Write> Write for Recording<T> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, T::Error> {
        self.transport.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        self.transport.flush().await
    }
}
