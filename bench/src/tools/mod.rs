//! How long the operator's tools take as whole processes, and how much memory they need, beside the reference's on the same
//! inputs.
//!
//! | module | part |
//! |---|---|
//! | [`options`] | the command line |
//! | [`measured_process`] | time and memory of one program from its start to its end |
//! | [`rpm_repository`] | a repository of many packages |
//! | [`trial`] | what is measured |

pub mod measured_process;
pub mod options;
pub mod rpm_repository;
pub mod trial;
