//! The flash for a second firmware image: a file of the emulating machine. As in flash, only erased bytes can be
//! written.

use core::ffi::CStr;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use semihosting::{
    fs::File,
    io::{Read as _, Result, Seek as _, SeekFrom, Write as _},
};

const NAME: &CStr = c"slot";
const SECTORS: u32 = 32;
const SECTOR: usize = 4_096;
const ERASED: u8 = 0xFF;

/// The slot for a second image.
pub struct Slot(File);

impl Slot {
    /// Opens the slot. A new one is erased.
    ///
    /// # Errors
    ///
    /// The file was not opened or not written.
    pub fn open() -> Result<Self> {
        let mut options = File::options();
        options.read(true).write(true);
        if let Ok(file) = options.open(NAME) {
            return Ok(Self(file));
        }
        let mut file = options.create(true).truncate(true).open(NAME)?;
        for _ in 0..SECTORS {
            file.write_all(&[ERASED; SECTOR])?;
        }
        Ok(Self(file))
    }

    fn seek(&mut self, offset: u32) -> core::result::Result<(), NorFlashErrorKind> {
        let sought = self.0.seek(SeekFrom::Start(offset.into()));
        sought.map(drop).map_err(failed)
    }
}

fn failed<E>(_: E) -> NorFlashErrorKind {
    NorFlashErrorKind::Other
}

impl ErrorType for Slot {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Slot {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, to: &mut [u8]) -> core::result::Result<(), NorFlashErrorKind> {
        self.seek(offset)?;
        self.0.read_exact(to).map_err(failed)
    }

    fn capacity(&self) -> usize {
        SECTOR.saturating_mul(SECTORS as usize)
    }
}

impl NorFlash for Slot {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> core::result::Result<(), NorFlashErrorKind> {
        self.seek(from)?;
        for _ in (from..to).step_by(SECTOR) {
            self.0.write_all(&[ERASED; SECTOR]).map_err(failed)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> core::result::Result<(), NorFlashErrorKind> {
        self.seek(offset)?;
        for _ in bytes {
            let mut found = [0];
            self.0.read_exact(&mut found).map_err(failed)?;
            if found != [ERASED] {
                return Err(NorFlashErrorKind::Other);
            }
        }
        self.seek(offset)?;
        self.0.write_all(bytes).map_err(failed)
    }
}
