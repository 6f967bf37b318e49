//! The firmware's event log against the PCRs and a boot policy.

mod failure;

pub use failure::MeasuredBootFailure;
