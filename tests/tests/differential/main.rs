//! Random inputs to this engine and to Keylime 7.14.3: the answers must be the same, except where the difference is meant.
//!
//! Each test prints its seed; `KEYLIME_DIFFERENTIAL_SEED` repeats a run. The differences that are meant are the functions
//! named `is_deviation` or `excuse`, one in each file, with their reasons.

mod boot;
mod chance;
mod evidence;
mod formats;
mod ima;
mod patterns;
mod peer;
mod policies;
