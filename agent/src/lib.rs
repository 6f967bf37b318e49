//! Attester daemons and the IMA emulator.

pub mod tpm;
