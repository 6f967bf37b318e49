//! The TPM part of the verification core against recorded exchanges of real agents, TPMs and services.

mod certification;
mod clock;
mod keys;
mod mutation;
mod policy;
mod pull;
mod quotes;
mod signatures;
mod vectors;
