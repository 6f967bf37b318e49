//! Operator tools: `keylime_tenant`, which enrols agents and asks about them, `keylime_ca` and
//! `keylime_userdata_encrypt`.
//!
//! An enrolment is a pure step machine ([`enrollment`]) driven by an actor ([`enrollment_actor`], the only file here that
//! knows the actor library) through effects ([`enrollment_effects`]). Everything that decides about trust is in the
//! engine: the identity quote, the endorsement, the proof of the payload key. The other commands are a request or two
//! each ([`command`]).
//!
//! What is printed, and where, is part of Keylime's interface: scripts read it (`tenant-cli.md` §1, §6).

#![forbid(unsafe_code)]

pub mod address;
pub mod agent_client;
pub mod answer;
pub mod ca_cli;
pub mod ca_settings;
pub mod certificate_package;
pub mod cli;
pub mod client_tls;
pub mod command;
pub mod completion;
pub mod download;
pub mod ek_trust;
pub mod enrollment;
pub mod enrollment_actor;
pub mod enrollment_effects;
pub mod enrollment_step;
pub mod error;
pub mod http;
pub mod legacy_allowlist;
pub mod output;
pub mod payload;
pub mod policies;
pub mod policy_patch;
pub mod progress;
pub mod python_repr;
pub mod registrar_client;
pub mod retry_delay;
pub mod revocation_list_server;
pub mod session;
pub mod settings;
pub mod verification_keys;
pub mod verifier_client;
pub mod version_negotiation;

pub use keylime_arguments as argument_parser;
