#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod sim_flash;

use std::{string::ToString as _, vec, vec::Vec};

use self::sim_flash::FlashError;
use super::*;

const SECTOR: usize = 512;
const SECTORS: usize = 8;
const CAPACITY: usize = (SECTORS - 1) * SECTOR;

type SimFlash = sim_flash::SimFlash<SECTOR>;

fn flash() -> SimFlash {
    SimFlash::filled(0xA5, SECTORS)
}

fn image(len: usize) -> Vec<u8> {
    (1..=250).cycle().take(len).collect()
}

/// Returns the payload of a message with this image.
fn payload(image: &[u8]) -> Vec<u8> {
    let mut payload = Sha256::digest(image).to_vec();
    payload.extend_from_slice(image);
    payload
}

type Taken = Result<Progress, InstallError<FlashError>>;

/// Gives `len` bytes at this offset of the payload to the installer.
fn take(installer: &mut Installer<SimFlash>, payload: &[u8], offset: usize, len: usize) -> Taken {
    let end = payload.len().min(offset + len);
    installer.take(offset, payload.len(), &payload[offset..end])
}

/// Gives the payload to the installer in chunks of this length, up to the first result.
fn receive(installer: &mut Installer<SimFlash>, payload: &[u8], len: usize) -> Taken {
    for offset in (0..payload.len()).step_by(len) {
        let progress = take(installer, payload, offset, len)?;
        if progress != Progress::Incomplete {
            return Ok(progress);
        }
    }
    Ok(Progress::Incomplete)
}

#[test]
fn image_in_chunks_of_any_length_is_installed() {
    for len in [
        1,
        127,
        128,
        129,
        511,
        512,
        513,
        1_000,
        CAPACITY - 1,
        CAPACITY,
    ] {
        for chunk_len in [1, 7, 31, 32, 33, 100, 128, 4_096] {
            let image = image(len);
            let mut installer = Installer::new(flash(), None);
            let taken = receive(&mut installer, &payload(&image), chunk_len);
            assert_eq!(taken, Ok(Progress::Installed), "{len} in {chunk_len}");
            let mut slot = installer.slot;
            assert_eq!(&slot.cells[..len], image);
            let sum: Sum = Sha256::digest(&image).into();
            assert_eq!(installed(&mut slot), Ok(Some(sum)), "{len} in {chunk_len}");
        }
    }
}

#[test]
fn running_image_is_not_written_again() {
    let image = image(1_000);
    let running = Some(Sha256::digest(&image).into());
    for chunk_len in [1, 31, 32, 100] {
        let mut flash = flash();
        flash.steps_left = 0;
        let mut installer = Installer::new(flash, running);
        let taken = receive(&mut installer, &payload(&image), chunk_len);
        assert_eq!(taken, Ok(Progress::IsRunning));
    }
}

#[test]
fn changed_bit_is_detected() {
    let payload = payload(&image(300));
    for at in 0..payload.len() {
        let mut changed = payload.clone();
        changed[at] ^= 0x10;
        let mut installer = Installer::new(flash(), None);
        let taken = receive(&mut installer, &changed, 100);
        assert_eq!(taken, Err(InstallError::Damaged), "byte {at}");
        assert_eq!(installed(&mut installer.slot), Ok(None), "byte {at}");
    }
}

#[test]
fn flash_byte_written_wrong_is_detected() {
    let payload = payload(&image(1_000));
    let mut installer = Installer::new(flash(), None);
    let half = take(&mut installer, &payload, 0, 600);
    assert_eq!(half, Ok(Progress::Incomplete));
    installer.slot.cells[5] ^= 1;
    let rest = take(&mut installer, &payload, 600, 1_000);
    assert_eq!(rest, Err(InstallError::Damaged));
}

#[test]
fn message_restarted_is_installed() {
    let payload = payload(&image(2_000));
    let mut installer = Installer::new(flash(), None);
    for offset in [0, 700] {
        let taken = take(&mut installer, &payload, offset, 700);
        assert_eq!(taken, Ok(Progress::Incomplete));
    }
    let taken = receive(&mut installer, &payload, 99);
    assert_eq!(taken, Ok(Progress::Installed));
}

#[test]
fn message_without_its_beginning_is_rejected() {
    let payload = payload(&image(2_000));
    let mut installer = Installer::new(flash(), None);
    let taken = take(&mut installer, &payload, 700, 700);
    assert_eq!(taken, Err(InstallError::BeginningMissing));
}

#[test]
fn wrong_length_is_rejected_before_anything_is_written() {
    for (len, text) in [
        (0, "0 bytes"),
        (SUM_LEN, "32 bytes"),
        (SUM_LEN + CAPACITY + 1, "3585 bytes, room for 3584"),
        (100_000, "99968 bytes"),
    ] {
        let mut flash = flash();
        flash.steps_left = 0;
        let mut installer = Installer::new(flash, None);
        let payload = vec![0; len];
        let error = take(&mut installer, &payload, 0, 9).unwrap_err();
        assert!(error.to_string().contains(text), "{len}: {error}");
    }
}

/// The data of the bootloader: two slots, and the state of the one that it starts.
#[derive(Clone, Copy)]
struct OtaData {
    running: usize,
    state: ImageState,
    /// Power is lost before the write with this number.
    writes_left: usize,
}

impl OtaData {
    fn write(&mut self, running: usize, state: ImageState) -> Result<(), FlashError> {
        let left = self.writes_left.checked_sub(1);
        self.writes_left = left.ok_or(FlashError::PowerLost)?;
        (self.running, self.state) = (running, state);
        Ok(())
    }
}

impl Slots for OtaData {
    type Error = FlashError;

    fn state(&mut self) -> Result<ImageState, FlashError> {
        Ok(self.state)
    }

    fn set_state(&mut self, state: ImageState) -> Result<(), FlashError> {
        self.write(self.running, state)
    }

    fn switch(&mut self, state: ImageState) -> Result<(), FlashError> {
        self.write(1 - self.running, state)
    }
}

#[test]
fn power_loss_at_any_step_leaves_the_old_or_the_new_image() {
    let (old, new) = (image(900), image(1_700));
    let mut finished = false;
    for steps in 0.. {
        let mut slots = [flash(), flash()];
        slots[0].cells[..old.len()].copy_from_slice(&old);
        let [mut flash_0, mut flash_1] = slots;
        flash_1.steps_left = steps;
        let mut data = OtaData {
            running: 0,
            state: ImageState::Confirmed,
            writes_left: 1,
        };
        let mut installer = Installer::new(flash_1, None);
        let taken = receive(&mut installer, &payload(&new), 100);
        if taken == Ok(Progress::Installed) {
            data.switch(ImageState::New).unwrap();
            finished = true;
        }
        flash_1 = installer.slot;
        let (running, image) = match data.running {
            0 => (&mut flash_0, &old),
            _ => (&mut flash_1, &new),
        };
        assert_eq!(&running.cells[..image.len()], image, "after {steps} steps");
        if finished {
            assert!(steps > 14, "each block is a step: {steps}");
            break;
        }
        // With power again, the message is received again.
        flash_1.steps_left = usize::MAX;
        let mut installer = Installer::new(flash_1, None);
        let taken = receive(&mut installer, &payload(&new), 100);
        assert_eq!(taken, Ok(Progress::Installed), "after {steps} steps");
    }
    assert!(finished);
}

#[test]
fn unconfirmed_image_is_replaced_by_old_one() {
    let mut data = OtaData {
        running: 1,
        state: ImageState::New,
        writes_left: usize::MAX,
    };
    assert_eq!(start(&mut data), Ok(Start::Trial));
    // The chip is reset, and had no connection before.
    assert_eq!(start(&mut data), Ok(Start::Reset));
    assert_eq!(data.running, 0);
    assert_eq!(start(&mut data), Ok(Start::Normal));
}

#[test]
fn confirmed_image_is_kept() {
    let mut data = OtaData {
        running: 1,
        state: ImageState::New,
        writes_left: usize::MAX,
    };
    assert_eq!(start(&mut data), Ok(Start::Trial));
    confirm(&mut data).unwrap();
    for _ in 0..3 {
        assert_eq!(start(&mut data), Ok(Start::Normal));
        assert_eq!(data.running, 1);
    }
}

#[test]
fn power_loss_during_trial_keeps_bootable_image() {
    for writes_left in 0..3 {
        let mut data = OtaData {
            running: 1,
            state: ImageState::New,
            writes_left,
        };
        while start(&mut data).is_ok_and(|start| start != Start::Normal) {}
        data.writes_left = usize::MAX;
        let mut resets = 0;
        while start(&mut data) != Ok(Start::Normal) {
            resets += 1;
        }
        assert!(resets <= 2 && data.running == 0, "{writes_left} writes");
    }
}
