//! The first start of a new image: it is confirmed, or the old image starts again.
//!
//! ```text
//! installed -> New -- start --> Trial -- confirm --> Confirmed
//!                                 |
//!                                 + start (reset before it was confirmed) --> the old image starts
//! ```

/// The state of the image that the bootloader starts. It is kept in flash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageState {
    /// It was installed and has not started yet.
    New,
    /// It has started and is not confirmed.
    Trial,
    /// It works. An image that was flashed by cable is in this state.
    Confirmed,
}

/// The slots of a chip, as its bootloader sees them.
pub trait Slots {
    /// The error of the flash.
    type Error;

    /// Returns the state of the image that runs.
    ///
    /// # Errors
    ///
    /// The flash failed.
    fn state(&mut self) -> Result<ImageState, Self::Error>;

    /// Sets the state of the image that runs.
    ///
    /// # Errors
    ///
    /// The flash failed, and the state is the old or the new one.
    fn set_state(&mut self, state: ImageState) -> Result<(), Self::Error>;

    /// Makes the bootloader start the image in the other slot, with this state, in one write.
    ///
    /// # Errors
    ///
    /// The flash failed, and the bootloader starts the old or the new one.
    fn switch(&mut self, state: ImageState) -> Result<(), Self::Error>;
}

/// The task of an image when it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Start {
    /// Work as usual.
    Normal,
    /// Work, and [`confirm`] after the first connection.
    Trial,
    /// Reset the chip: this image failed its trial, and the other one starts.
    Reset,
}

/// Returns the task of the image that runs. Call this first after each reset.
///
/// # Errors
///
/// The flash failed. Continue as after [`Start::Normal`].
pub fn start<S: Slots>(slots: &mut S) -> Result<Start, S::Error> {
    match slots.state()? {
        ImageState::Confirmed => Ok(Start::Normal),
        ImageState::New => {
            slots.set_state(ImageState::Trial)?;
            Ok(Start::Trial)
        }
        ImageState::Trial => {
            slots.switch(ImageState::Confirmed)?;
            Ok(Start::Reset)
        }
    }
}

/// Confirms that the image works. It is then kept.
///
/// # Errors
///
/// The flash failed. Try again.
pub fn confirm<S: Slots>(slots: &mut S) -> Result<(), S::Error> {
    slots.set_state(ImageState::Confirmed)
}
