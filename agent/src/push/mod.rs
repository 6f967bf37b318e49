//! The push agent: it calls the verifier, proves that it holds its attestation key, and delivers evidence
//! (`verifier-v3-push.md` §7, seed 2.4, 3.2 and 12).
//!
//! | module | what it does |
//! |---|---|
//! | [`state_machine`] | what to do next, and after which wait: pure |
//! | [`daemon`] | start order, the loop around the state machine, the end |
//! | [`connection`] | one HTTPS exchange with the verifier, bounded in time and size |
//! | [`session`] | proof of possession, and the token it earns |
//! | [`attestation`] | negotiation and delivery |
//! | [`messages`] | the JSON of both |
//! | [`refused_reply`] | what an unexpected status means |
//! | [`capabilities`] | what this machine can prove |
//! | [`evidence`] | what the verifier asked for, and collecting it |
//! | [`boot_time`] | when this machine booted, the same answer as long as it runs |
//!
//! The agent opens no port. Its token never leaves memory and never goes to another host than the verifier's.

pub mod attestation;
pub mod boot_time;
pub mod capabilities;
pub mod connection;
pub mod daemon;
pub mod evidence;
pub mod messages;
pub mod refused_reply;
pub mod session;
pub mod state_machine;

pub use daemon::{PushError, PushOptions, TpmChoice, run};
