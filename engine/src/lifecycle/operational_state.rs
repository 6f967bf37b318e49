//! Keylime's operational states, with their codes and texts (`verifier-state-machine.md` §1).

/// The state of an agent as Keylime numbers and names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationalState {
    /// Registered, not enrolled.
    Registered,
    /// Enrolled, first quote not yet judged.
    Start,
    /// Kept by a stopped verifier.
    Saved,
    /// Attested at every interval.
    GetQuote,
    /// Waiting to ask again for a quote.
    GetQuoteRetry,
    /// Its key share is being delivered.
    ProvideV,
    /// Waiting to deliver the key share again.
    ProvideVRetry,
    /// Attestation ended for a reason other than the evidence.
    Failed,
    /// Being deleted.
    Terminated,
    /// The evidence failed.
    InvalidQuote,
    /// Stopped by the tenant.
    TenantFailed,
}

/// What a state that somebody else wrote into the row of an agent asks of the verifier (`verifier-state-machine.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// Finish the deletion.
    Delete,
    /// Stop attesting and keep the row.
    Stop,
}

impl OperationalState {
    /// What this state in a row means when the verifier itself did not put it there.
    #[must_use]
    pub const fn order(self) -> Option<RowOrder> {
        match self {
            Self::Terminated => Some(RowOrder::Delete),
            Self::TenantFailed => Some(RowOrder::Stop),
            Self::Registered
            | Self::Start
            | Self::Saved
            | Self::GetQuote
            | Self::GetQuoteRetry
            | Self::ProvideV
            | Self::ProvideVRetry
            | Self::Failed
            | Self::InvalidQuote => None,
        }
    }

    /// All states in the order of their codes.
    pub const ALL: [Self; 11] = [
        Self::Registered,
        Self::Start,
        Self::Saved,
        Self::GetQuote,
        Self::GetQuoteRetry,
        Self::ProvideV,
        Self::ProvideVRetry,
        Self::Failed,
        Self::Terminated,
        Self::InvalidQuote,
        Self::TenantFailed,
    ];

    /// The code used at the wire and in the database.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state with this code.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|n| Self::ALL.get(n).copied())
    }

    /// The text that the tenant prints.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Registered => "Registered",
            Self::Start => "Start",
            Self::Saved => "Saved",
            Self::GetQuote => "Get Quote",
            Self::GetQuoteRetry => "Get Quote (retry)",
            Self::ProvideV => "Provide V",
            Self::ProvideVRetry => "Provide V (retry)",
            Self::Failed => "Failed",
            Self::Terminated => "Terminated",
            Self::InvalidQuote => "Invalid Quote",
            Self::TenantFailed => "Tenant Quote Failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_positions() {
        for (n, state) in OperationalState::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.code()), n);
            assert_eq!(OperationalState::from_code(i64::try_from(n).unwrap()), Some(state));
        }
        assert_eq!(OperationalState::from_code(-1), None);
        assert_eq!(OperationalState::from_code(11), None);
    }
}
