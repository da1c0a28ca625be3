//! Packet ids of QoS 2 messages that were received and not yet released.

use heapless::VecView;

use super::error::ProtocolError;
use crate::codec::PacketId;

/// The ids of QoS 2 messages that were delivered and whose PUBREL was not received.
///
/// A message with one of these ids is a repetition \[MQTT-4.3.3-2\].
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct ReceivedIds<'b> {
    ids: &'b mut VecView<PacketId>,
}

impl<'b> ReceivedIds<'b> {
    pub(super) const fn new(ids: &'b mut VecView<PacketId>) -> Self {
        Self { ids }
    }
}

impl ReceivedIds<'_> {
    pub(super) fn contains(&self, id: PacketId) -> bool {
        self.ids.contains(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.ids.is_full()
    }

    pub(super) fn capacity(&self) -> usize {
        self.ids.capacity()
    }

    /// Returns the reason to close a connection on which ids did not fit.
    pub(super) fn full_error(&self) -> ProtocolError {
        let capacity = self.ids.capacity();
        ProtocolError::TooManyQos2Messages { capacity }
    }

    pub(super) fn as_slice(&self) -> &[PacketId] {
        self.ids
    }

    /// Adds the id of a message that was delivered. The caller has checked that there is room.
    pub(super) fn insert(&mut self, id: PacketId) {
        let _ = self.ids.push(id);
    }

    /// Removes the id of a message that was released, and returns `true` if it was found. The order of the ids does not
    /// matter.
    pub(super) fn remove(&mut self, id: PacketId) -> bool {
        let last = self.ids.last().copied();
        let place = self.ids.iter_mut().find(|received| **received == id);
        let (Some(place), Some(last)) = (place, last) else {
            return false;
        };
        *place = last;
        self.ids.pop();
        true
    }

    /// Removes all ids, because the server has forgotten the session.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
    }

    /// Restores the ids of a saved session. The caller has checked that there is room.
    pub(super) fn restore(&mut self, ids: impl Iterator<Item = PacketId>) {
        self.ids.clear();
        for id in ids {
            let _ = self.ids.push(id);
        }
    }
}
