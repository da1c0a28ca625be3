//! Checks what is asked for, and writes what the environment says into the program.

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
                    "cargo::warning={name} is not set: the program will say so, and do nothing else"
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

/// Ends the build with this message, after all others.
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

/// The certificate of the authority that has to have signed the broker's, in DER.
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
