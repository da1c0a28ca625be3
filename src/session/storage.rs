//! The memory of a session, with its capacities.

use heapless::{Vec, VecView};

use super::{image, in_flight::Slot};
use crate::codec::PacketId;

/// The memory of a [`Session`](super::Session), which the caller provides.
///
/// - `RX`, in bytes: the largest packet that is received whole, at least 16. A larger PUBLISH is received in chunks.
/// - `TX`, in bytes: holds the CONNECT, everything queued, and each QoS 1 and 2 PUBLISH until it is acknowledged;
///   at least 16.
/// - `INFLIGHT`: maximum number of publishes at QoS 1 and 2, subscribes and unsubscribes that wait for their
///   acknowledgement at the same time (8 bytes each).
/// - `INBOUND`: maximum number of QoS 2 messages that are received at the same time (2 bytes each). Brokers send 20
///   (mosquitto) to 100 (rumqttd) before they wait.
#[derive(Debug)]
#[doc(alias = "max_inflight_messages_set")] // Paho
#[doc(alias = "set_inflight")] // rumqttc
pub struct Storage<
    const RX: usize,
    const TX: usize,
    const INFLIGHT: usize,
    const INBOUND: usize = 32,
> {
    rx: [u8; RX],
    tx: [u8; TX],
    slots: Vec<Slot, INFLIGHT>,
    received_ids: Vec<PacketId, INBOUND>,
}

impl<const RX: usize, const TX: usize, const INFLIGHT: usize, const INBOUND: usize>
    Storage<RX, TX, INFLIGHT, INBOUND>
{
    const LARGE_ENOUGH: () = {
        assert!(
            RX >= 16 && TX >= 16,
            "a session needs at least 16 bytes each way"
        );
        assert!(
            INFLIGHT < 65_531,
            "there are 65,535 packet ids, and 4 may be reserved"
        );
    };

    /// The largest [image](super::Session::save) of a session in such a storage, in bytes.
    pub const IMAGE_LEN: usize = image::max_len(TX, INFLIGHT, INBOUND);

    /// Creates empty storage. It can be a `static`.
    pub const fn new() -> Self {
        const { Self::LARGE_ENOUGH };
        Self {
            rx: [0; RX],
            tx: [0; TX],
            slots: Vec::new(),
            received_ids: Vec::new(),
        }
    }

    /// Empties the parts, and returns them without their capacities.
    pub(super) fn parts(&mut self) -> StorageParts<'_> {
        self.slots.clear();
        self.received_ids.clear();
        StorageParts {
            rx: &mut self.rx,
            tx: &mut self.tx,
            slots: self.slots.as_mut_view(),
            received_ids: self.received_ids.as_mut_view(),
        }
    }
}

impl<const RX: usize, const TX: usize, const INFLIGHT: usize, const INBOUND: usize> Default
    for Storage<RX, TX, INFLIGHT, INBOUND>
{
    fn default() -> Self {
        Self::new()
    }
}

/// The parts of a storage, without its capacities, so that the session is compiled only once.
pub(super) struct StorageParts<'b> {
    pub(super) rx: &'b mut [u8],
    pub(super) tx: &'b mut [u8],
    pub(super) slots: &'b mut VecView<Slot>,
    pub(super) received_ids: &'b mut VecView<PacketId>,
}
