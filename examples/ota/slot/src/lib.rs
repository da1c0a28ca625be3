//! Installs a firmware image that is received in chunks of one message.
//!
//! The payload of the message is the SHA-256 of the image, 32 bytes, followed by the image. The image is written to the
//! slot that does not run, read back, and compared with its SHA-256. Until then the old image starts after a reset.
//!
//! ```text
//! slot:  0                  len                                size
//!        | image            | erased            | SHA-256, len |
//! ```
#![no_std]

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod tests;
mod trial;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest, Sha256};

pub use self::trial::{ImageState, Slots, Start, confirm, start};

/// Length of the SHA-256 before the image in bytes.
pub const SUM_LEN: usize = 32;

/// Bytes that are written at a time. The flash must write in units of which this is a multiple.
const BLOCK: usize = 128;

/// Bytes at the end of a slot that describe its image.
const TRAILER: usize = BLOCK;

/// The SHA-256 of an image.
pub type Sum = [u8; SUM_LEN];

/// Writes an image to a slot while it is received.
#[derive(Debug)]
pub struct Installer<F> {
    slot: F,
    /// The image that runs now.
    running: Option<Sum>,
    sum: Sum,
    block: [u8; BLOCK],
    /// Bytes of the payload that were taken.
    taken: usize,
}

/// The result of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// More chunks must be received.
    Incomplete,
    /// The image is in the slot, and its SHA-256 is right. It can be started.
    Installed,
    /// This image runs already. Nothing was written: skip the rest of the message.
    IsRunning,
}

/// An image was not installed. Skip the rest of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InstallError<E> {
    /// The flash failed.
    Flash(E),
    /// The image does not fit.
    TooLarge {
        /// Length of the image in bytes.
        len: usize,
        /// Room for an image in bytes.
        capacity: usize,
    },
    /// The message is too short for a SHA-256 and an image.
    TooShort {
        /// Length of the payload in bytes.
        len: usize,
    },
    /// The beginning of the message was not received.
    BeginningMissing,
    /// The image in the slot has another SHA-256.
    Damaged,
}

impl<F: NorFlash> Installer<F> {
    const FITS: () = assert!(
        BLOCK.is_multiple_of(F::WRITE_SIZE)
            && BLOCK.is_multiple_of(F::READ_SIZE)
            && F::ERASE_SIZE.is_multiple_of(BLOCK),
        "the flash has other units"
    );

    /// Creates an installer for the slot that does not run. `running` is the image that runs, if it is
    /// [known](installed).
    pub const fn new(slot: F, running: Option<Sum>) -> Self {
        let () = Self::FITS;
        Self {
            slot,
            running,
            sum: [0; SUM_LEN],
            block: [0xFF; BLOCK],
            taken: 0,
        }
    }

    /// Takes the bytes at this offset of a payload of `total` bytes: a chunk, or a whole message at offset 0. Offset 0
    /// begins a new image.
    ///
    /// # Errors
    ///
    /// - [`InstallError`]: the image is not installed. The old content of the slot may be erased.
    pub fn take(
        &mut self,
        offset: usize,
        total: usize,
        bytes: &[u8],
    ) -> Result<Progress, InstallError<F::Error>> {
        if offset == 0 {
            self.taken = 0;
        }
        if offset != self.taken {
            return Err(InstallError::BeginningMissing);
        }
        let Some(len @ 1..) = total.checked_sub(SUM_LEN) else {
            return Err(InstallError::TooShort { len: total });
        };
        let capacity = self
            .slot
            .capacity()
            .saturating_sub(TRAILER.max(F::ERASE_SIZE));
        if len > capacity {
            return Err(InstallError::TooLarge { len, capacity });
        }
        for &byte in bytes {
            self.byte(byte, len).map_err(InstallError::Flash)?;
            if self.taken == SUM_LEN && self.running == Some(self.sum) {
                return Ok(Progress::IsRunning);
            }
        }
        if self.taken < total {
            return Ok(Progress::Incomplete);
        }
        self.finish(len)
    }

    /// Takes a byte of the message, whose image has this length.
    fn byte(&mut self, byte: u8, len: usize) -> Result<(), F::Error> {
        let at = self.taken;
        self.taken = self.taken.saturating_add(1);
        if let Some(place) = self.sum.get_mut(at) {
            *place = byte;
            return Ok(());
        }
        let at = at.saturating_sub(SUM_LEN);
        let in_block = at % BLOCK;
        if let Some(place) = self.block.get_mut(in_block) {
            *place = byte;
        }
        let written = at.saturating_add(1);
        if written.is_multiple_of(BLOCK) || written == len {
            self.write_block(at.saturating_sub(in_block))?;
        }
        Ok(())
    }

    /// Writes the block that belongs at this offset. The first block of a sector erases it.
    fn write_block(&mut self, offset: usize) -> Result<(), F::Error> {
        let block = core::mem::replace(&mut self.block, [0xFF; BLOCK]);
        let start = address(offset);
        if offset.is_multiple_of(F::ERASE_SIZE) {
            let end = offset.saturating_add(F::ERASE_SIZE);
            self.slot.erase(start, address(end))?;
        }
        self.slot.write(start, &block)
    }

    /// Compares the image in the slot with its SHA-256, and describes it at the end of the slot.
    fn finish(&mut self, len: usize) -> Result<Progress, InstallError<F::Error>> {
        let sum = sum_of(&mut self.slot, len).map_err(InstallError::Flash)?;
        if sum != self.sum {
            return Err(InstallError::Damaged);
        }
        let size = self.slot.capacity();
        let mut trailer = [0xFF; TRAILER];
        let described = sum.into_iter().chain(address(len).to_le_bytes());
        trailer
            .iter_mut()
            .zip(described)
            .for_each(|(to, byte)| *to = byte);
        let erase = size.saturating_sub(F::ERASE_SIZE);
        let erased = self.slot.erase(address(erase), address(size));
        let written = erased.and_then(|()| {
            self.slot
                .write(address(size.saturating_sub(TRAILER)), &trailer)
        });
        written.map_err(InstallError::Flash)?;
        Ok(Progress::Installed)
    }
}

/// Returns the SHA-256 of the image in this slot, or `None` if it was not written by an [`Installer`] or is damaged.
///
/// # Errors
///
/// The error of the flash.
pub fn installed<F: NorFlash>(slot: &mut F) -> Result<Option<Sum>, F::Error> {
    let mut trailer = [0; TRAILER];
    let size = slot.capacity();
    slot.read(address(size.saturating_sub(TRAILER)), &mut trailer)?;
    let Some((sum, [a, b, c, d, ..])) = trailer.split_first_chunk() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    if len > size.saturating_sub(TRAILER) {
        return Ok(None);
    }
    let found = sum_of(slot, len)?;
    Ok((found == *sum).then_some(found))
}

/// Returns the SHA-256 of the first `len` bytes.
fn sum_of<F: NorFlash>(slot: &mut F, len: usize) -> Result<Sum, F::Error> {
    let mut sum = Sha256::new();
    let mut block = [0; BLOCK];
    for offset in (0..len).step_by(BLOCK) {
        slot.read(address(offset), &mut block)?;
        let used = len.saturating_sub(offset);
        sum.update(block.get(..used).unwrap_or(&block));
    }
    Ok(sum.finalize().into())
}

/// Converts an offset to an address of the flash. A slot is smaller than 4 GiB.
fn address(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

impl<E: fmt::Debug> fmt::Display for InstallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "flash failed: {error:?}"),
            Self::TooLarge { len, capacity } => {
                write!(f, "image too large: {len} bytes, room for {capacity}")
            }
            Self::TooShort { len } => write!(
                f,
                "message too short: {len} bytes, and the SHA-256 before the image has {SUM_LEN}"
            ),
            Self::BeginningMissing => {
                f.write_str("beginning of the image missing: publish it again")
            }
            Self::Damaged => {
                f.write_str("image damaged: its SHA-256 is not the one before it; publish it again")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for InstallError<E> {}
