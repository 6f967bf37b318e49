//! What can happen to an agent's lifecycle.

use super::operational_state::OperationalState;
use super::state::{QuoteAlgorithms, Ticket};
use crate::ima::ImaState;
use crate::tpm::clock_info::ClockInfo;
use crate::verdict::Failures;
use std::sync::Arc;
use std::time::Duration;

/// An event.
#[derive(Debug, Clone)]
pub enum Input {
    /// The time of the last `SetDeadline` effect has come.
    DeadlineReached,
    /// What is due cannot be done for lack of resources on the verifier's side; the agent is not to blame.
    Deferred(Duration),
    /// The answer to a quote request.
    QuoteReplied(Ticket, QuoteReply),
    /// The evidence was appraised.
    Appraised(Ticket, Box<Verdict>),
    /// The answer to a version request.
    VersionReplied(Ticket, VersionReply),
    /// The answer to the delivery of the key share.
    ShareReplied(Ticket, ShareReply),
    /// A policy of the agent was replaced.
    PolicyChanged,
    /// The tenant stops attestation.
    StopRequested,
    /// The tenant has attestation begin anew.
    ReactivateRequested,
    /// The tenant deletes the agent.
    DeleteRequested,
    /// The agent's enrolment cannot be attested with; the text says why.
    Unusable(String),
    /// A write found the row gone (`None`), or in a state that somebody else set.
    RowChanged(Option<OperationalState>),
}

/// What an agent's answer to a quote request amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteReply {
    /// Evidence, to be appraised.
    Evidence,
    /// No answer, or one that asks to try again (408, 500, 599).
    Unreachable,
    /// The agent does not speak this API version.
    VersionUnsupported,
    /// A refusal with this HTTP status.
    Refused(u16),
    /// An answer that cannot be interpreted; the text says why.
    Unreadable(String),
}

/// What an agent's answer to a version request amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionReply {
    /// The versions it speaks.
    Offers(Vec<String>),
    /// No answer.
    Unreachable,
    /// A refusal or an unreadable answer; the text says which.
    Refused(String),
}

/// What an agent's answer to the delivery of its key share amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareReply {
    /// Taken.
    Accepted,
    /// No answer, or one that asks to try again (408, 500, 599).
    Unreachable,
    /// The agent does not speak this API version.
    VersionUnsupported,
    /// A refusal with this HTTP status.
    Refused(u16),
    /// The share could not be encrypted, or the answer not be interpreted; the text says why.
    Unusable(String),
}

/// The outcome of an appraisal.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The evidence satisfies all policies.
    Passed {
        /// TPM clock of the quote.
        clock: ClockInfo,
        /// State of the measurement list after this evidence.
        ima: ImaState,
        /// The payload key, when the evidence carried one.
        payload_key: Option<Arc<str>>,
        /// Algorithms of the quote.
        algorithms: QuoteAlgorithms,
    },
    /// The evidence does not satisfy the policies.
    Failed {
        /// Why.
        failures: Failures,
        /// State of the measurement list to go on with.
        ima: ImaState,
        /// Whether processing came as far as judging the quote.
        extent: Extent,
    },
    /// The agent rebooted since its last evidence; nothing was judged, and the list is asked for from its start.
    BoottimeChanged {
        /// The empty state of the measurement list with the new boot time.
        ima: ImaState,
    },
    /// The evidence cannot be interpreted at all; the text says why.
    Unreadable(String),
}

/// How far the processing of failed evidence came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// The quote was judged.
    Judged(QuoteAlgorithms),
    /// It ended before.
    Rejected,
}
