//! Calls every public function of the library with inputs that the compiler cannot know. `.ci/panic-free` links this
//! for chips and searches for the panic handler: if the image contains it, a function can reach it.
#![no_std]
#![no_main]

#[cfg(feature = "async")]
mod asynch;
mod blocking;
mod codec;
mod opaque;
mod session;
mod transport;

use core::panic::PanicInfo;

use umqtt::{Backoff, Instant};

use opaque::{any, hide};

/// The start of the image.
#[allow(unsafe_code, reason = "the linker looks for this name")]
#[unsafe(no_mangle)]
extern "C" fn _start() {
    small();
    codec::every_call();
    session::every_call();
    blocking::every_call();
    #[cfg(feature = "async")]
    asynch::every_call();
    #[cfg(feature = "seeded")]
    seed();
}

/// Functions outside of the layers.
#[inline(never)]
fn small() {
    let (now, later) = (Instant::from_millis(any()), Instant::from_millis(any()));
    hide(now.add_millis(any()).has_passed(later));
    hide(now.min(later).millis_after(now));
    hide(later.as_millis());
    hide(now == later);
    let mut backoff = Backoff::new(any(), any());
    hide(backoff.next(any()));
    backoff.reset();
    hide(backoff);
}

/// Contains a planted index that may be out of bounds. `.ci/panic-free` must find it.
#[cfg(feature = "seeded")]
#[inline(never)]
#[allow(clippy::indexing_slicing, reason = "it is to be found")]
fn seed() {
    hide(opaque::bytes()[opaque::any::<usize>()]);
}

/// The panic handler, which no path must reach.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
