//! Writes a new firmware image to the unused slot. The image is a message that is larger than the memory.

use board::{flash::Slot, println};
use ota_slot::{Installer, Progress, installed};
use umqtt::{Chunk, Handled};

/// Receives images.
pub(crate) struct Firmware {
    installer: Installer<Slot>,
    /// After the first half of an image, nothing more is received until the chip is reset.
    stops_half_way: bool,
}

impl Firmware {
    /// Opens the slot, and prints whether it contains an image.
    pub(crate) fn new(stops_half_way: bool) -> Self {
        let mut slot = Slot::open().expect("no flash");
        match installed(&mut slot) {
            Ok(Some([first, ..])) => println!("the slot holds an image: SHA-256 {first:02x}..."),
            Ok(None) => println!("the slot holds no image"),
            Err(error) => println!("the slot cannot be read: {error:?}"),
        }
        Self {
            installer: Installer::new(slot, None),
            stops_half_way,
        }
    }

    /// Writes a part of an image. On hardware, the bootloader would start the image after the last part.
    pub(crate) fn take(&mut self, chunk: &Chunk<'_>) -> Handled {
        if chunk.offset == 0 {
            println!("an image of {} bytes begins", chunk.total);
        }
        if self.stops_half_way && chunk.offset > chunk.total / 2 {
            println!("half of the image is written");
            return Handled::NotNow;
        }
        match self.installer.take(chunk.offset, chunk.total, chunk.bytes) {
            Ok(Progress::Incomplete) => return Handled::Done,
            Ok(Progress::Installed) => println!("the image is installed"),
            Ok(Progress::IsRunning) => println!("the image runs already"),
            Err(error) => println!("{error}"),
        }
        Handled::SkipRest
    }
}
