//! The console: `defmt`, decoded by espflash, or `log`, plain text. Both show sentences.

/// Says what happened.
macro_rules! info {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        defmt::info!($text $(, defmt::Display2Format(&($value)))*);
        #[cfg(feature = "log")]
        log::info!($text $(, $value)*);
    }};
}

/// Says what went wrong.
macro_rules! complain {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        defmt::warn!($text $(, defmt::Display2Format(&($value)))*);
        #[cfg(feature = "log")]
        log::warn!($text $(, $value)*);
    }};
}

pub(crate) use {complain, info};

/// Has to come before the first line.
pub(crate) fn start() {
    // Linked for the transport of defmt's frames, and for nothing else.
    #[cfg(feature = "defmt")]
    use esp_println as _;
    #[cfg(feature = "log")]
    esp_println::logger::init_logger(log::LevelFilter::Info);
}
