//! What the last attestation of an agent found, as far as it is known since the verifier started, and whether the database
//! knows it too.

use crate::ports::ExplanationChange;
use keylime_engine::verdict::{Explanation, Failures};
use std::sync::Arc;

/// The last verdict of this process on one agent.
#[derive(Debug, Clone, Default)]
pub(super) enum LastVerdict {
    /// None yet: what is stored still holds.
    #[default]
    None,
    /// It passed.
    Passed(Stored),
    /// It failed.
    Failed(Arc<[Explanation]>, Stored),
}

/// Whether a write that says so was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Yes,
    No,
}

impl LastVerdict {
    pub(super) fn pass(&mut self) {
        if !matches!(self, Self::Passed(_)) {
            *self = Self::Passed(Stored::No);
        }
    }

    pub(super) fn fail(&mut self, failures: &Failures) {
        *self = Self::Failed(Explanation::of_all(failures).into(), Stored::No);
    }

    /// What the next write of the agent's row has to change, which is counted as written.
    pub(super) fn take_change(&mut self) -> ExplanationChange {
        match self {
            Self::None | Self::Passed(Stored::Yes) | Self::Failed(_, Stored::Yes) => ExplanationChange::Keep,
            Self::Passed(stored @ Stored::No) => {
                *stored = Stored::Yes;
                ExplanationChange::Clear
            }
            Self::Failed(explanations, stored @ Stored::No) => {
                *stored = Stored::Yes;
                ExplanationChange::Replace(Arc::clone(explanations))
            }
        }
    }

    /// The failures, none after a pass; `None` when only the database knows.
    pub(super) fn explanations(&self) -> Option<Vec<Explanation>> {
        match self {
            Self::None => None,
            Self::Passed(_) => Some(Vec::new()),
            Self::Failed(explanations, _) => Some(explanations.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::verdict::{Failure, InternalFault};

    #[test]
    fn each_change_is_handed_out_once() {
        let mut last = LastVerdict::default();
        assert_eq!((last.take_change(), last.explanations()), (ExplanationChange::Keep, None));
        last.pass();
        assert_eq!(last.take_change(), ExplanationChange::Clear);
        last.pass();
        assert_eq!((last.take_change(), last.explanations()), (ExplanationChange::Keep, Some(Vec::new())));
        let failures = Failures::one(Failure::Internal(InternalFault::NotReachable));
        last.fail(&failures);
        assert_eq!(last.take_change(), ExplanationChange::Replace(Explanation::of_all(&failures).into()));
        assert_eq!(last.take_change(), ExplanationChange::Keep);
        last.pass();
        assert_eq!(last.take_change(), ExplanationChange::Clear);
    }
}
