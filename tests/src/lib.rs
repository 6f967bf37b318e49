//! Cross-crate tests of Keylime in Rust; the tests themselves are the files beside this crate's manifest under `tests/`.

pub mod agreement;
