//! Plays the kernel's part for a software TPM: extends PCR 10 with what an IMA list gains.
//!
//! Only for tests. A kernel extends the real TPM itself; doing it twice would make every attestation fail, so the emulator
//! refuses TPMs that are no emulators.

pub mod position;
pub mod watch;

pub use watch::{EmulatorError, ImaEmulator};
