//! Starts the real parts that tests and the demonstration need, on private ports and directories, and stops them by pid.
//!
//! | module | part |
//! |---|---|
//! | [`packages`] | installs what a fresh Debian 12 lacks |
//! | [`binaries`] | finds the workspace's own binaries |
//! | [`child`] | a process that dies with its guard |
//! | [`peer`] | Keylime 7.14.3 from PyPI in a virtual environment |
//! | [`postgres`], [`mariadb`] | database servers, run by [`server_process`] |
//! | [`swtpm`] | a software TPM with an EK certificate |
//! | [`tpm_switch`] | lets several programs share one software TPM |
//! | [`machine_boot`] | boot time and boot id of the machine that is played |
//! | [`ima_log`] | a measurement list and policies for it |
//! | [`stack`] | registrar, verifier, agent and tenant, ours or the peer's, in one directory |
//! | [`webhook_sink`] | a receiver of webhooks |
//! | [`fuzzing`] | builds and runs the fuzz targets |
//! | [`manual_page`], [`manual_texts`] | manual pages, made from the programs' help |
//! | [`debian_package`] | the Debian package |

#![forbid(unsafe_code)]

pub mod binaries;
pub mod child;
pub mod configuration;
pub mod debian_package;
pub mod demonstration;
pub mod fuzzing;
pub mod ima_log;
pub mod machine_boot;
pub mod manual_page;
pub mod manual_texts;
pub mod mariadb;
pub mod packages;
pub mod peer;
pub mod ports;
pub mod postgres;
pub mod rabbitmq;
pub mod server_process;
pub mod stack;
pub mod subscriber;
pub mod swtpm;
pub mod tpm_switch;
pub mod webhook_sink;
