//! Updates of a chip: the bootloader has rollback or not, and power is lost at any write.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of a test"
)]

#[path = "../../ota/slot/src/tests/sim_flash.rs"]
mod sim_flash;

use esp32_parts::OtaData;
use ota_slot::{ImageState, Slots, Start, confirm, start};
use sim_flash::FlashError;

const SECTOR: usize = 4_096;

/// Numbers of two states of an entry.
const PENDING: u8 = 1;
const ABORTED: u8 = 4;

type SimFlash = sim_flash::SimFlash<SECTOR>;

fn flash() -> SimFlash {
    SimFlash::filled(0xFF, 2)
}

/// The two entries, each in a sector, as the bootloader sees them.
impl SimFlash {
    fn number(&self, sector: usize) -> u32 {
        let entry = &self.cells[sector * SECTOR..];
        u32::from_le_bytes(entry[..4].try_into().unwrap())
    }

    fn state(&mut self, sector: usize) -> &mut u8 {
        &mut self.cells[sector * SECTOR + 24]
    }

    /// Returns the slot that the bootloader starts, as ESP-IDF does it.
    fn boot(&mut self, has_rollback: bool) -> u32 {
        if has_rollback {
            for sector in [0, 1] {
                if *self.state(sector) == PENDING {
                    *self.state(sector) = ABORTED;
                }
            }
        }
        let known = [
            (1, [154, 152, 67, 71]),
            (2, [116, 55, 246, 85]),
            (3, [17, 80, 74, 237]),
        ];
        let mut started = None;
        for sector in [0, 1] {
            let number = self.number(sector);
            let crc = &self.cells[sector * SECTOR + 28..][..4];
            let is_complete = match known.iter().find(|(of, _)| *of == number) {
                Some((_, known)) => crc == known,
                None => crc != [0xFF; 4],
            };
            let is_newer = started.is_none_or(|newest| number > self.number(newest));
            let state = *self.state(sector);
            if is_complete && !matches!(state, 3 | ABORTED) && is_newer {
                started = Some(sector);
            }
        }
        let Some(sector) = started else { return 0 };
        if has_rollback && *self.state(sector) == 0 {
            *self.state(sector) = PENDING;
        }
        (self.number(sector) - 1) % 2
    }
}

/// Resets the chip. Returns the slot that runs, and the task of its image.
fn reset(flash: &mut SimFlash, has_rollback: bool) -> (u32, Result<Start, FlashError>) {
    let slot = flash.boot(has_rollback);
    let mut data = OtaData::new(flash.clone(), slot);
    let started = start(&mut data);
    *flash = data.into_inner();
    (slot, started)
}

/// Calls a function of the image that runs in this slot.
fn run(
    flash: &mut SimFlash,
    slot: u32,
    act: impl FnOnce(&mut OtaData<SimFlash>) -> Result<(), FlashError>,
) -> Result<(), FlashError> {
    let mut data = OtaData::new(flash.clone(), slot);
    let done = act(&mut data);
    *flash = data.into_inner();
    done
}

#[test]
fn entry_written_is_that_of_esp_idf() {
    let mut flash = flash();
    run(&mut flash, 0, |data| data.switch(ImageState::New)).unwrap();
    let mut expected = [0xFF; 32];
    expected[..4].copy_from_slice(&[2, 0, 0, 0]);
    expected[24..].copy_from_slice(&[0, 0, 0, 0, 116, 55, 246, 85]);
    assert_eq!(flash.cells[..32], expected);
    assert!(flash.cells[32..].iter().all(|&cell| cell == 0xFF));
}

#[test]
fn image_confirmed_stays() {
    for has_rollback in [false, true] {
        let mut flash = flash();
        assert_eq!(reset(&mut flash, has_rollback), (0, Ok(Start::Normal)));
        for old in [0, 1, 0, 1, 0] {
            let new = 1 - old;
            run(&mut flash, old, |data| data.switch(ImageState::New)).unwrap();
            assert_eq!(reset(&mut flash, has_rollback), (new, Ok(Start::Trial)));
            run(&mut flash, new, confirm).unwrap();
            for _ in 0..3 {
                assert_eq!(reset(&mut flash, has_rollback), (new, Ok(Start::Normal)));
            }
        }
    }
}

#[test]
fn image_not_confirmed_is_replaced_by_old_one() {
    for has_rollback in [false, true] {
        let mut flash = flash();
        for _ in 0..3 {
            run(&mut flash, 0, |data| data.switch(ImageState::New)).unwrap();
            assert_eq!(reset(&mut flash, has_rollback), (1, Ok(Start::Trial)));
            if !has_rollback {
                assert_eq!(reset(&mut flash, has_rollback), (1, Ok(Start::Reset)));
            }
            for _ in 0..2 {
                assert_eq!(reset(&mut flash, has_rollback), (0, Ok(Start::Normal)));
            }
        }
    }
}

#[test]
fn image_that_bootloader_replaced_is_not_tried_again() {
    let mut flash = flash();
    run(&mut flash, 0, |data| data.switch(ImageState::New)).unwrap();
    // The image is damaged, so the bootloader starts the other slot.
    let mut data = OtaData::new(flash, 0);
    assert_eq!(start(&mut data), Ok(Start::Normal));
}

/// Updates from the old slot to the other one, and confirms the new image.
fn update(flash: &mut SimFlash, old: u32, has_rollback: bool) -> Result<(), FlashError> {
    run(flash, old, |data| data.switch(ImageState::New))?;
    let (slot, started) = reset(flash, has_rollback);
    assert_eq!((slot, started?), (1 - old, Start::Trial));
    run(flash, slot, confirm)
}

#[test]
fn power_loss_at_any_write_leaves_the_old_or_the_new_image() {
    for (has_rollback, old) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let new = 1 - old;
        let mut ends = Vec::new();
        for steps in 0..30 {
            let mut flash = flash();
            if old == 1 {
                update(&mut flash, 0, has_rollback).unwrap();
            }
            flash.steps_left = steps;
            let updated = update(&mut flash, old, has_rollback);
            flash.steps_left = usize::MAX;
            let end = reset(&mut flash, has_rollback);
            ends.push(end);
            if updated.is_ok() {
                assert_eq!(end, (new, Ok(Start::Normal)), "{steps} steps");
                break;
            }
            // An image on trial is confirmed after all, or the old one starts.
            let last = match end {
                (slot, Ok(Start::Trial)) => {
                    run(&mut flash, slot, confirm).unwrap();
                    slot
                }
                (slot, Ok(Start::Reset)) => 1 - slot,
                (slot, _) => slot,
            };
            assert_eq!(
                reset(&mut flash, has_rollback),
                (last, Ok(Start::Normal)),
                "{steps} steps"
            );
        }
        // The old image starts until the new one is complete. After that, it starts only if the trial fails.
        let switched = ends.iter().position(|end| end.0 == new).unwrap();
        assert!(switched > 0 && ends.len() > switched, "{ends:?}");
        for end in &ends[..switched] {
            assert_eq!(*end, (old, Ok(Start::Normal)), "{ends:?}");
        }
        for end in &ends[switched..] {
            let is_rolled_back = has_rollback && *end == (old, Ok(Start::Normal));
            assert!(end.0 == new || is_rolled_back, "{ends:?}");
        }
    }
}
