//! The top functions: evidence × policies × context → verdict.
//!
//! All of them are total: whatever an agent sends is a verdict, never a panic. Nothing is parsed per quote that could be
//! parsed once: keys and policies come in compiled.
//!
//! | function | evidence of |
//! |---|---|
//! | [`appraise_pull`] | an agent that answered a quote request |
//! | [`appraise_push`] | an agent that sent it by itself |
//! | [`appraise_request`] | anybody, presented once to `verify/evidence`, from the JSON of the request |
//! | [`appraise_evidence`] | the same, with keys and policies compiled |
//! | [`appraise_identity`] | anybody, presented to `verify/identity` |

mod boot_stage;
mod evidence;
mod pcr_stage;
mod presented;
mod pull;
mod push;

pub use boot_stage::{BootAppraiser, BootLog, BootStage};
pub use evidence::{EvidenceContext, OneShotQuote, appraise_evidence, appraise_identity};
pub use pcr_stage::{ImaTerms, PcrAppraisal, PcrContext, appraise_pcrs, appraise_recorded_pcrs};
pub use presented::{EvidenceVerdict, PresentedTerms, appraise_request};
pub use pull::{AcceptedAlgorithms, PullContext, appraise_pull, appraise_pull_reply};
pub use push::{PushContext, PushVerdict, appraise_push, unjudgeable};
