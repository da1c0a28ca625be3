//! A replacement for flash: a file of the emulating machine.

use core::ffi::CStr;

use semihosting::{
    fs::{self, File},
    io::{Read as _, Result, Write as _},
};

const NAME: &CStr = c"session";
const NEW: &CStr = c"session.new";

/// Replaces the stored bytes. After a reset, the storage has either the old or the new ones.
///
/// # Errors
///
/// The file was not written.
pub fn write(bytes: &[u8]) -> Result<()> {
    File::create(NEW)?.write_all(bytes)?;
    fs::rename(NEW, NAME)
}

/// Reads the stored bytes. The result is empty if nothing was stored.
pub fn read(space: &mut [u8]) -> &[u8] {
    read_file(NAME, space)
}

/// Reads a file of the emulating machine. The result is empty if there is none.
pub fn read_file<'a>(name: &CStr, space: &'a mut [u8]) -> &'a [u8] {
    let mut len = 0;
    if let Ok(mut file) = File::open(name) {
        while let Some(rest) = space.get_mut(len..) {
            match file.read(rest) {
                Ok(n) if n > 0 => len = n.saturating_add(len),
                _ => break,
            }
        }
    }
    space.get(..len).unwrap_or_default()
}
