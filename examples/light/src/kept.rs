//! What outlives a deep sleep: the state of the light and the session, as bytes for memory that stays powered.
//!
//! ```text
//! 0 (nothing: power has just come on) | 1 (off) or 2 (on), then the image of the session, which has a checksum
//! ```

use umqtt::{ImageError, Session};

/// Bytes before the image.
pub const HEADER: usize = 1;

const OFF: u8 = 1;
const ON: u8 = 2;

/// Writes both to `memory`, of [`HEADER`] bytes and those that the image needs.
///
/// # Errors
///
/// There is no room. The memory then holds nothing.
pub fn save(session: &Session<'_>, on: bool, memory: &mut [u8]) -> Result<(), ImageError> {
    let needed = HEADER;
    let (state, image) = memory
        .split_first_mut()
        .ok_or(ImageError::BufferTooSmall { needed })?;
    *state = 0;
    let _ = session.save(image)?;
    *state = if on { ON } else { OFF };
    Ok(())
}

/// Takes both up again; `None` if nothing was saved.
///
/// # Errors
///
/// The memory holds something else. The session is as it was.
pub fn restore(session: &mut Session<'_>, memory: &[u8]) -> Result<Option<bool>, ImageError> {
    let (on, image) = match memory {
        [0, ..] => return Ok(None),
        [OFF, image @ ..] => (false, image),
        [ON, image @ ..] => (true, image),
        _ => return Err(ImageError::NotAnImage),
    };
    session.restore(image)?;
    Ok(Some(on))
}

#[cfg(test)]
mod tests {
    use umqtt::Storage;

    use super::*;

    type Memory = Storage<64, 64, 2>;
    const LEN: usize = HEADER + Memory::IMAGE_LEN;

    #[test]
    fn what_was_saved_comes_back() {
        let mut storage = Memory::new();
        let mut session = Session::new(&mut storage);
        for on in [true, false] {
            let mut memory = [0; LEN];
            save(&session, on, &mut memory).unwrap();
            assert_eq!(restore(&mut session, &memory), Ok(Some(on)));
        }
    }

    #[test]
    fn what_is_nothing_or_garbled_is_told() {
        let mut storage = Memory::new();
        let mut session = Session::new(&mut storage);
        assert_eq!(restore(&mut session, &[0; LEN]), Ok(None));
        assert_eq!(
            restore(&mut session, &[0xFF; LEN]),
            Err(ImageError::NotAnImage)
        );

        let mut memory = [0; LEN];
        save(&session, true, &mut memory).unwrap();
        let used = (0..LEN).filter(|at| memory[*at] != 0).max().unwrap() + 1;
        for at in 0..used {
            for bit in 0..8 {
                let mut garbled = memory;
                garbled[at] ^= 1 << bit;
                let restored = restore(&mut session, &garbled);
                // Which of two states a light was in is no great loss.
                assert!(restored != Ok(Some(true)), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn without_room_there_is_nothing_rather_than_half() {
        let mut storage = Memory::new();
        let session = Session::new(&mut storage);
        let mut memory = [ON; 8];
        assert!(save(&session, true, &mut memory).is_err());
        let mut storage = Memory::new();
        let mut session = Session::new(&mut storage);
        assert_eq!(restore(&mut session, &memory), Ok(None));
    }
}
