//! The data of Espressif's bootloader: the slot that it starts, and the state of the image in it.
//!
//! ```text
//! 0        number: the slot is (number - 1) % 2, and the entry with the higher number is valid
//! 4..24    label, which the bootloader ignores
//! 24       state
//! 28..32   CRC-32 of the number
//! ```
//!
//! There are two entries, each in a sector of its own. A change is written to the sector of the older entry, so the
//! newer one is valid until the change is complete.

use embedded_storage::nor_flash::NorFlash;
use ota_slot::{ImageState, Slots};

const SLOTS: u32 = 2;
const LEN: usize = 32;

const NEW: u32 = 0;
const PENDING: u32 = 1;
const VALID: u32 = 2;
const INVALID: u32 = 3;
const ABORTED: u32 = 4;

/// The label of an entry if the image itself ends its trial. Without this label, the bootloader ends the trial.
const TRIAL: [u8; 20] = *b"trial without loader";
const NO_LABEL: [u8; 20] = [0xFF; 20];

/// The entries in a partition, which has two sectors.
#[derive(Debug)]
pub struct OtaData<F> {
    partition: F,
    running: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    sector: usize,
    number: u32,
    label: [u8; 20],
    state: u32,
}

impl Entry {
    const fn slot(&self) -> u32 {
        self.number.wrapping_sub(1) % SLOTS
    }
}

impl<F: NorFlash> OtaData<F> {
    /// Opens the partition with the entries. `running` is the slot that runs, 0 or 1.
    pub const fn new(partition: F, running: u32) -> Self {
        Self { partition, running }
    }

    /// Returns the partition.
    pub fn into_inner(self) -> F {
        self.partition
    }

    /// Returns the entry that the bootloader follows. A new chip has none.
    fn newest(&mut self) -> Result<Option<Entry>, F::Error> {
        let [first, second] = [self.entry(0)?, self.entry(1)?];
        let entries = first.into_iter().chain(second);
        Ok(entries.max_by_key(|entry| entry.number))
    }

    fn entry(&mut self, sector: usize) -> Result<Option<Entry>, F::Error> {
        let mut bytes = [0; LEN];
        self.partition.read(Self::start(sector), &mut bytes)?;
        let Some((number, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let (Some((label, [a, b, c, d, ..])), Some((_, crc))) =
            (rest.split_first_chunk(), rest.split_last_chunk())
        else {
            return Ok(None);
        };
        let entry = Entry {
            sector,
            number: u32::from_le_bytes(*number),
            label: *label,
            state: u32::from_le_bytes([*a, *b, *c, *d]),
        };
        let is_valid = entry.number != u32::MAX
            && u32::from_le_bytes(*crc) == crc_of(number)
            && !matches!(entry.state, INVALID | ABORTED);
        Ok(is_valid.then_some(entry))
    }

    /// Writes the entry that follows the newest one.
    fn write(&mut self, slot: u32, state: u32, label: [u8; 20]) -> Result<(), F::Error> {
        let newest = self.newest()?;
        let sector = newest.map_or(0, |entry| entry.sector ^ 1);
        let mut next = Entry {
            sector,
            number: newest.map_or(0, |entry| entry.number),
            label,
            state,
        };
        loop {
            next.number = next.number.wrapping_add(1);
            if next.slot() == slot {
                break;
            }
        }
        let number = next.number.to_le_bytes();
        let mut bytes = [0; LEN];
        let fields = [&number, &next.label[..], &next.state.to_le_bytes()];
        let crc = crc_of(&number).to_le_bytes();
        let contents = fields.into_iter().flatten().chain(&crc);
        bytes.iter_mut().zip(contents).for_each(|(to, &b)| *to = b);
        let start = Self::start(sector);
        let end = start.saturating_add(Self::start(1));
        self.partition.erase(start, end)?;
        self.partition.write(start, &bytes)
    }

    /// Returns the address of a sector.
    fn start(sector: usize) -> u32 {
        u32::try_from(F::ERASE_SIZE.saturating_mul(sector)).unwrap_or(u32::MAX)
    }
}

impl<F: NorFlash> Slots for OtaData<F> {
    type Error = F::Error;

    fn state(&mut self) -> Result<ImageState, F::Error> {
        let newest = self.newest()?;
        // If the newest entry is for the other slot, the bootloader could not start the image there.
        let entry = newest.filter(|entry| entry.slot() == self.running);
        Ok(match entry.map(|entry| (entry.state, entry.label)) {
            Some((PENDING, TRIAL)) => ImageState::Trial,
            Some((NEW | PENDING, _)) => ImageState::New,
            _ => ImageState::Confirmed,
        })
    }

    fn set_state(&mut self, state: ImageState) -> Result<(), F::Error> {
        match state {
            ImageState::New => self.write(self.running, NEW, NO_LABEL),
            ImageState::Confirmed => self.write(self.running, VALID, NO_LABEL),
            // A bootloader with rollback has set this state, and ends the trial itself.
            ImageState::Trial if self.newest()?.is_some_and(|entry| entry.state == PENDING) => {
                Ok(())
            }
            ImageState::Trial => self.write(self.running, PENDING, TRIAL),
        }
    }

    fn switch(&mut self, state: ImageState) -> Result<(), F::Error> {
        let other = self.running ^ 1;
        match state {
            ImageState::New => self.write(other, NEW, NO_LABEL),
            ImageState::Trial => self.write(other, PENDING, TRIAL),
            ImageState::Confirmed => self.write(other, VALID, NO_LABEL),
        }
    }
}

/// Returns the CRC-32 as the ROM of the chips computes it for the bootloader: without the inversion at the start.
fn crc_of(bytes: &[u8; 4]) -> u32 {
    let mut crc = 0;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}
