//! The attester's side of Keylime: the pull agent, the push agent, their TPM, and the IMA emulator.
//!
//! | module | what it does |
//! |---|---|
//! | [`tpm`] | keys, credential activation and quotes, behind one owner thread |
//! | [`configuration`] | TOML files and environment variables |
//! | [`identity`] | the agent's id |
//! | [`registration`] | the exchange with the registrar |
//! | [`pull`] | the HTTP API for verifier and tenant |
//! | [`push`] | the push model: the agent calls the verifier |
//! | [`key_derivation`], [`keys`], [`payload`] | delivery of the bootstrap key and the payload |
//! | [`revocation`] | revocation notices and their actions |
//! | [`secure_mount`], [`privilege`] | where secrets live, and as whom the agent runs |
//! | [`measurement_list`], [`measurement_logs`] | the kernel's IMA list, the firmware's log |
//! | [`ima_emulator`] | extends a software TPM from an IMA list |
//!
//! The agent proves what its TPM says and decides nothing about trust; that is the verifier's part.

#![forbid(unsafe_code)]

pub mod agent_data;
pub mod api_version;
pub mod boot_log;
pub mod certificate;
pub mod configuration;
pub mod device_identity;
pub mod device_keys;
pub mod identity;
pub mod ima_emulator;
pub mod key_derivation;
pub mod keys;
pub mod measurement_list;
pub mod measurement_logs;
pub mod payload;
pub mod pem;
pub mod private_file;
pub mod privilege;
pub mod pull;
pub mod push;
pub mod registration;
pub mod revocation;
pub mod secure_mount;
pub mod tpm;
