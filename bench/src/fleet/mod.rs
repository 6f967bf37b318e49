//! A fleet of simulated agents that drives a verifier or registrar, ours or the reference's, and measures it.
//!
//! Every agent has an address of its own out of 127.0.0.0/8, its own connections, clock, PCRs and measurement list; its
//! quotes are real ones of the software TPM, over the verifier's nonces and through mutual TLS. What agents share is what
//! costs time to make: a few attestation keys, one payload key, one certificate, and the measured files.
//!
//! | module | part |
//! |---|---|
//! | [`options`] | the command line |
//! | [`agent_number`] | number, address and id of an agent |
//! | [`measured_files`] | the files agents measure, and the policy that allows them |
//! | [`fleet_keys`] | keys and certificate |
//! | [`simulated_agent`], [`population`] | the agents and their answers |
//! | [`listener`], [`http_request`] | the port at which all agents listen |
//! | [`servers`] | the programs that are measured |
//! | [`rest_client`], [`enrolment`], [`registration`] | what operators and agents send to them |
//! | [`push_client`], [`push_fleet`] | agents that call the verifier |
//! | [`observations`], [`process_usage`], [`spread`] | what is measured |
//! | [`scenario`], [`report`] | the runs and their result |

pub mod agent_number;
pub mod enrolment;
pub mod error;
pub mod fleet_keys;
pub mod http_request;
pub mod listener;
pub mod measured_files;
pub mod observations;
pub mod options;
pub mod population;
pub mod process_usage;
pub mod push_client;
pub mod push_fleet;
pub mod registration;
pub mod report;
pub mod rest_client;
pub mod scenario;
pub mod servers;
pub mod simulated_agent;
pub mod spread;

pub use error::FleetError;
