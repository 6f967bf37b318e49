//! What each fuzz target does with its bytes: parse them, and assert what must hold for whatever was parsed.
//!
//! A target is a file of `src/bin` that names one function of this crate; `cargo accept` runs every file it finds there.

mod formats;
mod ima;
mod policies;
mod tpm;
mod wire;

pub use formats::*;
pub use ima::*;
pub use policies::*;
pub use tpm::*;
pub use wire::*;

/// The bytes as a text, when they are one; lossy conversion would make many inputs the same.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The bytes before and after the first zero byte.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}
