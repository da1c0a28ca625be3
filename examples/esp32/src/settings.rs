//! What the environment said when this was built; `build.rs` writes it and the README explains it.

include!(concat!(env!("OUT_DIR"), "/settings.rs"));
