//! Checks the features, and writes the settings in the environment into the program.

use std::{env, error::Error, fs, path::PathBuf};

use esp32_settings::{Settings, certificate, check};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let features = match check(has, &env::var("TARGET")?) {
        Ok(features) => features,
        Err(message) => {
            wrong(&message);
            return Ok(());
        }
    };
    let out = PathBuf::from(env::var("OUT_DIR")?);
    match Settings::read(features, &setting) {
        Ok(settings) => {
            for name in settings.missing() {
                println!(
                    "cargo::warning={name} is not set: the program will only print that; set it and build again"
                );
            }
            fs::write(out.join("settings.rs"), settings.to_rust())?;
        }
        Err(messages) => messages.iter().for_each(|message| wrong(message)),
    }
    if features.tls {
        fs::write(out.join("authority.der"), authority())?;
    }
    if has("defmt") {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
    println!("cargo::rustc-link-arg-bins=-Tlinkall.x");
    Ok(())
}

/// Prints an error, which ends the build after all messages were printed.
fn wrong(message: &str) {
    println!("cargo::error={message}");
}

fn has(feature: &str) -> bool {
    let name = feature.to_uppercase().replace('-', "_");
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

fn setting(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok()
}

/// Returns the certificate of the authority that signed the broker's certificate, in DER.
fn authority() -> Vec<u8> {
    let Some(file) = setting("CA_FILE").filter(|file| !file.is_empty()) else {
        wrong(
            "feature tls needs CA_FILE: the certificate, in PEM or DER, of the authority that signed the broker's",
        );
        return Vec::new();
    };
    println!("cargo::rerun-if-changed={file}");
    let read = fs::read(&file).map_err(|error| error.to_string());
    read.and_then(|bytes| certificate(&bytes))
        .unwrap_or_else(|error| {
            wrong(&format!("CA_FILE {file}: {error}"));
            Vec::new()
        })
}
