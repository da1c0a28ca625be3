//! Saving a session as bytes and restoring it, for deep sleep and reboots.

mod format;

pub use self::format::ImageError;
pub(super) use self::format::max_len;
use self::format::{
    CLEAN_SESSION, CONNECT_UNANSWERED, FIXED_LEN, Image, ImageWriter, SERVER_HAS_SESSION,
    SUBSCRIBED,
};
use super::{
    in_flight::SlotState, link::Link, received_ids::ReceivedIds, send::Sender, state::Session,
};

/// The result of a save: the length of the image, and the number of the last change in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "the length says which bytes to keep"]
#[non_exhaustive]
pub struct Saved {
    /// Length of the image in bytes.
    pub len: usize,
    /// Number of the last change in the image, for [`Session::saved`].
    pub generation: u16,
}

/// The parts of a session that are saved.
#[derive(Clone, Copy)]
pub(super) struct Snapshot<'a> {
    pub(super) link: &'a Link,
    pub(super) received_ids: &'a ReceivedIds<'a>,
    pub(super) sender: &'a Sender<'a>,
}

impl Snapshot<'_> {
    /// As [`Session::save`].
    pub(super) fn save(&self, out: &mut [u8]) -> Result<Saved, ImageError> {
        let Self {
            link,
            received_ids,
            sender,
        } = self;
        let received_ids = received_ids.as_slice();
        let client_id = sender.buffer.client_id().unwrap_or_default();
        let packets = sender.buffer.kept_publishes().map(|(_, rest)| rest.len());
        let in_flight = &sender.in_flight;
        let requests = in_flight.len().saturating_add(in_flight.declined().count());
        let checksum: usize = if sender.subscriptions.granted_checksum() == 0 {
            0
        } else {
            4
        };
        let len = FIXED_LEN
            .saturating_add(checksum)
            .saturating_add(client_id.len())
            .saturating_add(received_ids.len().saturating_mul(2))
            .saturating_add(requests.saturating_mul(4))
            .saturating_add(packets.fold(0, |len: usize, rest| {
                len.saturating_add(1).saturating_add(rest)
            }));
        let mut image = ImageWriter::new(out, len)?;
        let clean = if link.clean_session { CLEAN_SESSION } else { 0 };
        let known = if link.server_has_session {
            SERVER_HAS_SESSION
        } else {
            0
        };
        let is_sent = sender.buffer.may_connect_be_sent();
        let unanswered = if link.is_connect_unanswered(is_sent) {
            CONNECT_UNANSWERED
        } else {
            0
        };
        let granted_checksum = sender.subscriptions.granted_checksum();
        let subscribed = if granted_checksum == 0 { 0 } else { SUBSCRIBED };
        image.put(&[clean | known | unanswered | subscribed]);
        if granted_checksum != 0 {
            image.put(&granted_checksum.to_be_bytes());
        }
        image.u16(usize::from(sender.in_flight.last_id()));
        image.u32(sender.buffer.connect_room());
        image.u16(client_id.len());
        image.put(client_id);
        image.u16(received_ids.len());
        for id in received_ids {
            image.put(&id.get().to_be_bytes());
        }
        image.u16(requests);
        for id in in_flight.declined() {
            let [high, low] = id.get().to_be_bytes();
            let ended = u8::from(in_flight.have_declined_ended());
            image.put(&[high, low, SlotState::Declined as u8, ended]);
        }
        for slot in sender.in_flight.iter() {
            let [high, low] = slot.id.get().to_be_bytes();
            let state = slot.state_to_save() as u8;
            image.put(&[high, low, state, u8::from(slot.is_forgotten())]);
        }
        // The packets have DUP, because they may have been sent before the image is read.
        for (first, rest) in sender.buffer.kept_publishes() {
            image.put(&[first]);
            image.put(rest);
        }
        image.finish();
        let generation = sender.changes.last();
        Ok(Saved { len, generation })
    }
}

impl Session<'_> {
    /// Writes everything that must survive a reboot to `out`, and returns the length of this image, at most
    /// [`Storage::IMAGE_LEN`](super::Storage::IMAGE_LEN).
    ///
    /// The end of a request whose event was not taken is saved. Other pending events are not saved: take them first.
    ///
    /// A restored PUBLISH counts as sent, because it may have been sent after it was saved. It is sent again with DUP.
    ///
    /// If an image is older than the last packet sent, a QoS 2 message may be repeated or lost after it is restored.
    /// Save when nothing more will be sent, such as before a deep sleep, or turn on
    /// [checkpoints](Session::set_checkpoints).
    ///
    /// # Errors
    ///
    /// [`ImageError::BufferTooSmall`].
    pub fn save(&self, out: &mut [u8]) -> Result<Saved, ImageError> {
        let snapshot = Snapshot {
            link: &self.link,
            received_ids: &self.received_ids,
            sender: &self.sender,
        };
        snapshot.save(out)
    }

    /// Reports that an image is in permanent memory. A checkpoint for the changes in it is not needed any more. A
    /// checkpoint for later changes stays due. `generation` is [`Saved::generation`] of that image.
    pub fn saved(&mut self, generation: u16) {
        self.sender.changes.mark_saved_up_to(generation);
        if !self.sender.changes.are_unsaved() {
            self.events.discard_checkpoint();
        }
    }

    /// Replaces the state of this session with an image that [`Self::save`] wrote. An open connection counts as lost.
    ///
    /// # Errors
    ///
    /// [`ImageError`]. The session is unchanged.
    pub fn restore(&mut self, image: &[u8]) -> Result<(), ImageError> {
        match &Image::parse(image) {
            Ok(image) => self.restore_parsed(image),
            Err(error) => Err(*error),
        }
    }

    fn restore_parsed(&mut self, image: &Image<'_>) -> Result<(), ImageError> {
        let connect_len = image
            .connect_len()
            .filter(|_| image.is_consistent())
            .ok_or(ImageError::Inconsistent)?;
        if !self.has_room_for(image) {
            return Err(ImageError::StorageTooSmall);
        }
        self.link.close(super::ProtocolError::Closed);
        self.clean_up_connection();
        self.restore_packets(image, connect_len);
        self.restore_state(image);
        Ok(())
    }

    #[inline(never)]
    fn has_room_for(&self, image: &Image<'_>) -> bool {
        let Self {
            received_ids,
            sender,
            ..
        } = self;
        image.received_ids().count() <= received_ids.capacity()
            && image.slots_needed() <= sender.in_flight.capacity()
            && sender
                .buffer
                .can_restore(image.connect_room, image.packets.len())
    }

    #[inline(never)]
    fn restore_packets(&mut self, image: &Image<'_>, connect_len: usize) {
        let buffer = &mut self.sender.buffer;
        buffer.restore(image.connect_room, image.packets, |room| {
            let place = room.len().saturating_sub(connect_len);
            let connect = image.connect();
            let connect = connect.encode(room.get_mut(place..).unwrap_or_default());
            connect.map_or(0, <[u8]>::len)
        });
    }

    /// Restores everything but the packets.
    #[inline(never)]
    fn restore_state(&mut self, image: &Image<'_>) {
        self.sender.restore(image.slots(), image.last_id);
        self.sender.subscriptions.restore(image.granted_checksum);
        self.received_ids.restore(image.received_ids());
        self.link.restore(
            image.clean_session,
            image.server_has_session,
            image.connect_unanswered,
        );
        self.events.clear();
    }
}
