//! The valid sets of features, and the target of each.

use std::ops::RangeInclusive;

const CHIPS: [&str; 5] = ["esp32", "esp32c3", "esp32c6", "esp32s2", "esp32s3"];

/// The chip, and the features that settings depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// The chip.
    pub chip: &'static str,
    /// The program speaks TLS.
    pub tls: bool,
}

impl Features {
    /// Returns why no LED can be at this pin of the chip, or `None` if one can.
    pub(crate) fn wrong_pin(&self, pin: u32) -> Option<&'static str> {
        let (pins, flash, input): (&[_], _, _) = match self.chip {
            "esp32" => (&[0..=19, 21..=23, 25..=27, 32..=39], 6..=11, 34..=39),
            "esp32c3" => (&[0..=21], 11..=17, NONE),
            "esp32c6" => (&[0..=30], 24..=30, NONE),
            "esp32s2" => (&[0..=21, 26..=46], 26..=32, 46..=46),
            _ => (&[0..=21, 26..=48], 26..=32, NONE),
        };
        if !pins.iter().any(|range| range.contains(&pin)) {
            Some("has no such pin")
        } else if flash.contains(&pin) {
            Some("has its flash at this pin")
        } else if input.contains(&pin) {
            Some("can only read this pin")
        } else {
            None
        }
    }
}

/// A number that no pin has.
const NONE: RangeInclusive<u32> = u32::MAX..=u32::MAX;

/// Checks that there is one chip, the one that the target is for, and one way to write the console.
///
/// # Errors
///
/// A text that names the problem and the options to use instead.
pub fn check(has: impl Fn(&str) -> bool, target: &str) -> Result<Features, String> {
    let chips: Vec<_> = CHIPS.into_iter().filter(|chip| has(chip)).collect();
    let [chip] = chips[..] else {
        let found = if chips.is_empty() {
            "none".to_owned()
        } else {
            chips.join(" and ")
        };
        return Err(format!(
            "choose one chip of {}, not {found}: --no-default-features --features CHIP,defmt",
            CHIPS.join(", "),
        ));
    };
    match (has("defmt"), has("log")) {
        (true, true) => {
            return Err(format!(
                "choose one of the features defmt and log, not both: --no-default-features --features {chip},log"
            ));
        }
        (false, false) => {
            return Err(format!(
                "choose how the console is written, defmt or log: --features {chip},defmt"
            ));
        }
        _ => {}
    }
    let wanted = match chip {
        "esp32c3" => "riscv32imc-unknown-none-elf".to_owned(),
        "esp32c6" => "riscv32imac-unknown-none-elf".to_owned(),
        xtensa => format!("xtensa-{xtensa}-none-elf"),
    };
    if target != wanted {
        return Err(format!(
            "feature {chip} needs --target {wanted}; this build is for {target}"
        ));
    }
    let tls = has("tls");
    Ok(Features { chip, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(features: &[&str], target: &str) -> Result<Features, String> {
        check(|feature| features.contains(&feature), target)
    }

    #[test]
    fn one_chip_and_one_console_are_accepted() {
        for (chip, target) in [
            ("esp32", "xtensa-esp32-none-elf"),
            ("esp32c3", "riscv32imc-unknown-none-elf"),
            ("esp32c6", "riscv32imac-unknown-none-elf"),
            ("esp32s2", "xtensa-esp32s2-none-elf"),
            ("esp32s3", "xtensa-esp32s3-none-elf"),
        ] {
            for console in ["defmt", "log"] {
                let tls = false;
                assert_eq!(with(&[chip, console], target), Ok(Features { chip, tls }));
            }
            let elsewhere = with(&[chip, "log"], "thumbv7m-none-eabi").unwrap_err();
            assert!(elsewhere.contains(target), "{elsewhere}");
        }
    }

    #[test]
    fn invalid_features_report_remedy() {
        const C3: &str = "riscv32imc-unknown-none-elf";
        for (features, message) in [
            (&["defmt"][..], "choose one chip of esp32, esp32c3"),
            (&["esp32c3", "esp32c6", "defmt"], "not esp32c3 and esp32c6"),
            (&["esp32c3", "defmt", "log"], "not both"),
            (&["esp32c3"], "choose how the console is written"),
            (
                &["esp32c6", "log"],
                "esp32c6 needs --target riscv32imac-unknown-none-elf",
            ),
        ] {
            let error = with(features, C3).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn led_pin_unusable_is_named() {
        for (chip, right, wrong) in [
            ("esp32", &[2, 33][..], &[6, 20, 24, 34, 40][..]),
            ("esp32c3", &[0, 8, 10, 18, 21], &[11, 12, 17, 22, 25]),
            ("esp32c6", &[8, 15, 23], &[24, 30, 31]),
            ("esp32s2", &[18, 21, 33, 45], &[22, 26, 32, 46, 47]),
            ("esp32s3", &[21, 38, 48], &[22, 26, 32, 49]),
        ] {
            let features = Features { chip, tls: false };
            for pin in right {
                assert_eq!(features.wrong_pin(*pin), None, "{chip}: {pin}");
            }
            for pin in wrong {
                assert!(features.wrong_pin(*pin).is_some(), "{chip}: {pin}");
            }
        }
    }
}
