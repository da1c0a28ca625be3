//! The partitions of the flash for firmware images.

use core::cell::RefCell;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use esp_bootloader_esp_idf::partitions::{
    AppPartitionSubType::{Ota0, Ota1},
    DataPartitionSubType::Ota,
    Error, FlashStorage, PARTITION_TABLE_MAX_LEN, PartitionEntry,
    PartitionType::{App, Data},
    read_partition_table,
};
use esp_hal::peripherals::FLASH;
use esp32_parts::OtaData;

/// The flash, which its partitions share.
pub struct Flash(RefCell<FlashStorage<'static>>);

/// A partition.
pub struct Partition<'a> {
    flash: &'a Flash,
    entry: PartitionEntry,
}

/// The partitions of `partitions.csv`.
pub struct Partitions<'a> {
    /// The image that runs.
    pub running: Partition<'a>,
    /// Room for the next image.
    pub other: Partition<'a>,
    /// The data of the bootloader.
    pub ota_data: OtaData<Partition<'a>>,
}

impl Flash {
    /// Takes the flash. While it is written, the other core of an ESP32 or S3 must not run.
    pub fn new(flash: FLASH<'static>) -> Self {
        Self(RefCell::new(FlashStorage::new(flash)))
    }

    /// Finds the partitions.
    ///
    /// # Errors
    ///
    /// The chip has another partition table, or the image that runs is in neither slot.
    pub fn partitions(&self) -> Result<Partitions<'_>, Error> {
        let mut table = [0; PARTITION_TABLE_MAX_LEN];
        let table = read_partition_table(&mut self.0.borrow_mut(), &mut table)?;
        let find = |kind| table.find_partition(kind)?.ok_or(Error::Invalid);
        let partition = |entry| Partition { flash: self, entry };
        let (mut running, mut other) = (find(App(Ota0))?, find(App(Ota1))?);
        let booted = table.booted_partition()?.ok_or(Error::Invalid)?;
        let slot = if booted.offset() == running.offset() {
            0
        } else if booted.offset() == other.offset() {
            (running, other) = (other, running);
            1
        } else {
            return Err(Error::Invalid); // a third image, as `factory`
        };
        Ok(Partitions {
            running: partition(running),
            other: partition(other),
            ota_data: OtaData::new(partition(find(Data(Ota))?), slot),
        })
    }
}

impl ErrorType for Partition<'_> {
    type Error = Error;
}

impl ReadNorFlash for Partition<'_> {
    const READ_SIZE: usize = FlashStorage::WORD_SIZE as usize;

    fn read(&mut self, offset: u32, to: &mut [u8]) -> Result<(), Error> {
        let mut flash = self.flash.0.borrow_mut();
        let mut region = self.entry.as_flash_region(&mut flash);
        region.as_nor_flash()?.read(offset, to)
    }

    fn capacity(&self) -> usize {
        self.entry.len() as usize
    }
}

impl NorFlash for Partition<'_> {
    const WRITE_SIZE: usize = FlashStorage::WORD_SIZE as usize;
    const ERASE_SIZE: usize = FlashStorage::SECTOR_SIZE as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let mut flash = self.flash.0.borrow_mut();
        let mut region = self.entry.as_flash_region(&mut flash);
        region.as_nor_flash()?.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let mut flash = self.flash.0.borrow_mut();
        let mut region = self.entry.as_flash_region(&mut flash);
        region.as_nor_flash()?.write(offset, bytes)
    }
}
