//! What stands for flash: a file of the emulating machine.

use core::ffi::CStr;

use semihosting::{
    fs::{self, File},
    io::{Read as _, Result, Write as _},
};

const NAME: &CStr = c"session";
const NEW: &CStr = c"session.new";

/// Replaces what is stored. A reset leaves either the old or the new.
///
/// # Errors
///
/// The file was not written.
pub fn write(bytes: &[u8]) -> Result<()> {
    File::create(NEW)?.write_all(bytes)?;
    fs::rename(NEW, NAME)
}

/// Reads what is stored. It is empty if nothing is.
pub fn read(space: &mut [u8]) -> &[u8] {
    let mut len = 0;
    if let Ok(mut file) = File::open(NAME) {
        while let Some(rest) = space.get_mut(len..) {
            match file.read(rest) {
                Ok(n) if n > 0 => len = n.saturating_add(len),
                _ => break,
            }
        }
    }
    space.get(..len).unwrap_or_default()
}
