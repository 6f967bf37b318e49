//! A verifier in virtual time: the real state machines of the engine, with a model of everything around them (agents, network,
//! verification pool, database, revocation outbox), driven by one seed.
//!
//! Each run has eight agents, half of them asked and half of them sending, two hundred inputs and one fault: a message is
//! dropped, delayed or delivered twice, the verifier crashes, the database goes away, or the wall clock jumps. Operators
//! change policies, stop, reactivate and delete agents, and enrol the deleted ones anew. After every step the invariants of
//! [`invariants`] hold, or the run ends with the one that does not. The same seed is the same run.
//!
//! A [`Mutation`] makes the model around the state machines do what a careless shell would do; each of them must be noticed.

#![forbid(unsafe_code)]

mod evidence;
mod invariants;
mod machine;
mod network;
mod pull_line;
mod push_line;
mod random;
mod store;
mod world;

pub use invariants::Violation;
pub use world::{Mutation, Summary, run};
