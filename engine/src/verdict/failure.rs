//! One failure is one value of a closed enum; Keylime's dotted event id and its context are rendered from it.

use crate::ima::ImaFailure;
use crate::measured_boot::MeasuredBootFailure;
use crate::tpm::failure::{PcrFailure, QuoteFailure};
use serde_json::{Value, json};
use std::borrow::Cow;

/// A reason why evidence does not satisfy the policies, or why it could not be judged.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The quote, its form, or its freshness. Rendered under Keylime's misspelt component `qoute_validation`.
    Quote(QuoteFailure),
    /// PCR values against the payload key and `tpm_policy`.
    Pcr(PcrFailure),
    /// The boot event log.
    MeasuredBoot(MeasuredBootFailure),
    /// The IMA measurement list.
    Ima(ImaFailure),
    /// The verifier's own trouble with an agent; never a statement about the agent's integrity.
    Internal(InternalFault),
}

/// Trouble on the way between verifier and agent, or inside the verifier.
#[derive(Debug, Clone, PartialEq)]
pub enum InternalFault {
    /// No common API version with the agent.
    VersionNotSupported(String),
    /// Evidence that could not be interpreted at all; the text says why.
    Exception(String),
    /// The agent refused to quote with this HTTP status.
    NoQuote(u16),
    /// The agent refused its key share with this HTTP status.
    NoV(u16),
    /// The agent did not answer a quote request within all retries.
    NotReachable,
    /// The agent did not take its key share within all retries.
    NotReachableV,
}

impl Failure {
    /// Keylime's event id: component, dot, the rest.
    #[must_use]
    pub fn event_id(&self) -> String {
        let (component, id): (&str, Cow<'_, str>) = match self {
            // Keylime's wire spelling; users' severity policies match on it, so it must not be mended.
            Self::Quote(f) => ("qoute_validation", f.id()),
            Self::Pcr(f) => ("pcr_validation", f.id()),
            Self::MeasuredBoot(f) => ("measured_boot", f.id()),
            Self::Ima(f) => ("ima", f.id()),
            Self::Internal(f) => ("internal.verifier", Cow::Borrowed(f.id())),
        };
        format!("{component}.{id}")
    }

    /// Whether attestation may go on when the operator's severity policy says so.
    #[must_use]
    pub fn recoverable(&self) -> bool {
        match self {
            Self::Quote(_) | Self::Internal(_) => false,
            Self::Pcr(_) | Self::MeasuredBoot(_) | Self::Ima(_) => true,
        }
    }

    /// The context object as Keylime renders it.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::Quote(f) => f.context(),
            Self::Pcr(f) => f.context(),
            Self::MeasuredBoot(f) => f.context(),
            Self::Ima(f) => f.context(),
            Self::Internal(f) => f.context(),
        }
    }
}

impl InternalFault {
    /// The part of the event id after `internal.verifier.`.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::VersionNotSupported(_) => "version_not_supported",
            Self::Exception(_) => "exception",
            Self::NoQuote(_) => "no_quote",
            Self::NoV(_) => "no_v",
            Self::NotReachable => "not_reachable",
            Self::NotReachableV => "not_reachable_v",
        }
    }

    /// The context object.
    #[must_use]
    pub fn context(&self) -> Value {
        match self {
            Self::VersionNotSupported(text) => json!({ "context": "API version not supported by agent", "data": text }),
            Self::Exception(text) => {
                json!({ "context": "Agent caused the verifier to throw an exception", "data": text })
            }
            Self::NoQuote(status) => json!({ "context": "Unexpected response to the quote request", "data": status }),
            Self::NoV(status) => json!({ "context": "Unexpected response to the V key request", "data": status }),
            Self::NotReachable => json!({ "message": "agent was not reachable via quote request" }),
            Self::NotReachableV => json!({ "message": "agent was not reachable while delivering V" }),
        }
    }
}

/// One or more failures, in the order in which they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct Failures(Vec<Failure>);

impl Failures {
    /// Takes a list of failures; `None` when there are none.
    #[must_use]
    pub fn from_vec(failures: Vec<Failure>) -> Option<Self> {
        if failures.is_empty() { None } else { Some(Self(failures)) }
    }

    /// A single failure.
    #[must_use]
    pub fn one(failure: Failure) -> Self {
        Self(vec![failure])
    }

    /// The failures, never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[Failure] {
        &self.0
    }

    /// The first failure.
    #[must_use]
    pub fn first(&self) -> &Failure {
        &self.0[0]
    }
}
