//! The kernel's IMA measurement list against PCR 10 and a runtime policy.

mod failure;
pub mod state;

pub use failure::ImaFailure;
pub use state::ImaState;
