//! Which sets of features make sense, and for which target.

const CHIPS: [&str; 5] = ["esp32", "esp32c3", "esp32c6", "esp32s2", "esp32s3"];

/// The features that settings depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// TLS.
    pub tls: bool,
    /// Report once, and sleep.
    pub deep_sleep: bool,
}

/// Checks that there is one chip, the one that the target is for, and one way to write the console.
///
/// # Errors
///
/// What to do instead.
pub fn check(has: impl Fn(&str) -> bool, target: &str) -> Result<(), String> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(features: &[&str], target: &str) -> Result<(), String> {
        check(|feature| features.contains(&feature), target)
    }

    #[test]
    fn one_chip_and_one_console() {
        for (chip, target) in [
            ("esp32", "xtensa-esp32-none-elf"),
            ("esp32c3", "riscv32imc-unknown-none-elf"),
            ("esp32c6", "riscv32imac-unknown-none-elf"),
            ("esp32s2", "xtensa-esp32s2-none-elf"),
            ("esp32s3", "xtensa-esp32s3-none-elf"),
        ] {
            for console in ["defmt", "log"] {
                assert_eq!(with(&[chip, console], target), Ok(()));
            }
            let elsewhere = with(&[chip, "log"], "thumbv7m-none-eabi").unwrap_err();
            assert!(elsewhere.contains(target), "{elsewhere}");
        }
    }

    #[test]
    fn what_cannot_work_says_what_would() {
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
            let said = with(features, C3).unwrap_err();
            assert!(said.contains(message), "{said}");
        }
    }
}
