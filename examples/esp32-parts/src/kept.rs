//! The light and its session, as bytes for memory that keeps its power in a deep sleep.
//!
//! ```text
//! 0 (after power-on) | 1 (off) or 2 (on), then the image of the session, which has a checksum
//! ```

use umqtt::{DeviceError, ImageError, Session, asynch::Mqtt};

/// Number of bytes before the image.
pub const HEADER: usize = 1;

const OFF: u8 = 1;
const ON: u8 = 2;

/// Saves the light and the session to `memory`. It must have [`HEADER`] bytes and room for the image.
///
/// # Errors
///
/// There is no room. The memory then holds nothing.
pub fn save(mqtt: Mqtt<'_>, on: bool, memory: &mut [u8]) -> Result<(), DeviceError> {
    let needed = HEADER;
    let (state, image) = memory
        .split_first_mut()
        .ok_or(ImageError::BufferTooSmall { needed })?;
    *state = 0;
    let _ = mqtt.save(image)?;
    *state = if on { ON } else { OFF };
    Ok(())
}

/// Restores the session, and returns whether the light was on; `None` if nothing was saved.
///
/// # Errors
///
/// The memory contains something else. The session is unchanged.
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
