//! The pure verification core of Keylime in Rust.
//!
//! Every decision about trust is taken here, as a pure function: bytes, time, nonce and randomness come in as
//! arguments, a verdict or a new state with a list of effects goes out. This crate never opens a file or socket,
//! never reads a clock, knows no actor, no HTTP and no SQL.
//!
//! | module | question it answers |
//! |---|---|
//! | [`tpm`] | is this quote authentic, fresh, and what do its PCRs say? |
//! | [`identity`] | do EK, AK and certificates belong together? |
//! | [`ima`] | does the kernel's measurement list match PCR 10 and the runtime policy? |
//! | [`measured_boot`] | does the firmware's event log match the PCRs and the boot policy? |
//! | [`policy`] | what do the operator's policies mean, compiled once per content? |
//! | [`verdict`] | which failures were found, how severe are they, under which Keylime event ids? |
//! | [`appraise`] | the top function: evidence × policies × context → appraisal |
//! | [`evidence`] | what did an agent send, before anything is judged? |
//! | [`lifecycle`] | the attestation state machine of one agent |

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod appraise;
pub mod byte_cursor;
pub mod evidence;
pub mod identity;
pub mod ids;
pub mod ima;
pub mod lifecycle;
pub mod measured_boot;
pub mod nonce;
pub mod policy;
pub mod time;
pub mod tpm;
pub mod verdict;
