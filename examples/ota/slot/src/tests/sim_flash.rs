//! Flash in memory. It loses power after a number of erases and written words.

use std::{vec, vec::Vec};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Bytes that are written in one step.
const WORD: usize = 4;

#[derive(Clone)]
pub(crate) struct SimFlash<const SECTOR: usize> {
    pub(crate) cells: Vec<u8>,
    /// Number of erases and written words until power is lost.
    pub(crate) steps_left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlashError {
    PowerLost,
    NotErased,
    OutOfBounds,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const SECTOR: usize> SimFlash<SECTOR> {
    /// Creates flash of `sectors` sectors, filled with this byte.
    pub(crate) fn filled(byte: u8, sectors: usize) -> Self {
        Self {
            cells: vec![byte; sectors * SECTOR],
            steps_left: usize::MAX,
        }
    }

    fn range(&mut self, from: u32, len: usize) -> Result<&mut [u8], FlashError> {
        let from = from as usize;
        let cells = self.cells.get_mut(from..from + len);
        cells.ok_or(FlashError::OutOfBounds)
    }

    fn step(&mut self) -> Result<(), FlashError> {
        let left = self.steps_left.checked_sub(1);
        self.steps_left = left.ok_or(FlashError::PowerLost)?;
        Ok(())
    }
}

impl<const SECTOR: usize> ErrorType for SimFlash<SECTOR> {
    type Error = FlashError;
}

impl<const SECTOR: usize> ReadNorFlash for SimFlash<SECTOR> {
    const READ_SIZE: usize = WORD;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        bytes.copy_from_slice(self.range(offset, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }
}

impl<const SECTOR: usize> NorFlash for SimFlash<SECTOR> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.step()?;
        assert!((from as usize).is_multiple_of(SECTOR) && (to as usize).is_multiple_of(SECTOR));
        self.range(from, (to - from) as usize)?.fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        for (at, word) in (offset..).step_by(WORD).zip(bytes.chunks(WORD)) {
            self.step()?;
            let cells = self.range(at, word.len())?;
            if cells.iter().any(|&cell| cell != 0xFF) {
                return Err(FlashError::NotErased);
            }
            cells.copy_from_slice(word);
        }
        Ok(())
    }
}
