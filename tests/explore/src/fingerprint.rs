//! The fingerprint of a state: a hash in which instants are relative to the present time.

use std::hash::{Hash, Hasher};

/// Maximum distance of an instant in ms. Instants beyond it count as equal. It is longer than any wait.
const FAR: i32 = 100_000;

struct Fingerprint {
    now: u32,
    state: u64,
}

impl Fingerprint {
    fn fold(&mut self, value: u64) {
        const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
        let product =
            u128::from(self.state ^ value ^ 0xA076_1D64_78BD_642F).wrapping_mul(FACTOR | 1);
        self.state = (product >> 64) as u64 ^ (product as u64).rotate_left(23);
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(value));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.fold(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.fold(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.fold(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.fold(value as u64);
    }

    /// Hashes an instant. Only instants are hashed as `i32`.
    fn write_i32(&mut self, instant: i32) {
        let distance = instant.wrapping_sub(self.now.cast_signed());
        self.fold(u64::from(distance.clamp(-FAR, FAR).cast_unsigned()));
    }
}

/// Returns the fingerprint of this state at the time `now`.
pub(crate) fn of(state: &impl Hash, now: u32) -> u64 {
    let mut fingerprint = Fingerprint { now, state: 0 };
    state.hash(&mut fingerprint);
    fingerprint.fold(1);
    fingerprint.finish()
}

/// An instant of a model, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(pub(crate) u32);

impl Hash for Moment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_i32(self.0.cast_signed());
    }
}
