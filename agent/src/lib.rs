//! Attester daemons and the IMA emulator.
