//! The attestation state machine of one agent: pure transitions from (state, input, time, entropy) to (state, effects).
//!
//! Invariants, each checked by a property test over random inputs:
//!
//! - INV-1: a nonce is accepted at most once.
//! - INV-2: an agent is shown as attested only after an appraisal that ended after its last enrolment or policy change.
//! - INV-3: learned IMA state never advances on a failed or stale appraisal.
//! - INV-4: exactly one notice per transition into a failure that is to be announced.
//! - INV-5: while attesting there is exactly one deadline.
//! - INV-6: an internal fault yields neither a good nor a failed attestation.
//! - INV-7: clock and reset-count regressions are reported.

pub mod api_version;
pub mod attestation_status;
pub mod deadline;
pub mod effect;
pub mod entropy;
pub mod input;
pub mod mass_timeout;
pub mod operational_state;
pub mod pull_transition;
pub mod push_input;
pub mod push_refusal;
pub mod push_restore;
pub mod push_state;
pub mod push_transition;
pub mod rate_limit;
pub mod restore;
pub mod retry_backoff;
pub mod session;
pub mod state;

pub use api_version::ApiVersion;
pub use attestation_status::AttestationStatus;
pub use effect::{Durability, Effect, Effects, Notice, NoticeKind};
pub use entropy::{Entropy, QuoteNonce};
pub use input::{Extent, Input, QuoteReply, ShareReply, Verdict, VersionReply};
pub use mass_timeout::MassTimeout;
pub use operational_state::OperationalState;
pub use pull_transition::{PullSettings, PullTerms, transition};
pub use push_input::{PushEffect, PushEffects, PushInput, Submission};
pub use push_refusal::Refusal;
pub use push_state::{Conclusion, Occurrence, Presence, PushFacts, PushPhase, PushState, Trail};
pub use push_transition::{AgentKind, PushSettings, PushTerms, TimeoutRecovery, push_transition};
pub use retry_backoff::{Growth, RetryBackoff};
pub use state::{Ending, Facts, KeyRequest, KeyShare, Phase, PullState, QuoteAlgorithms, Resume, Ticket};
