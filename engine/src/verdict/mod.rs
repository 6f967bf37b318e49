//! What an appraisal found: failures with Keylime's event ids, their severity, and the verdict built from them.

pub mod explanation;
pub mod failure;
pub mod log_line;
pub mod severity;

pub use explanation::Explanation;
pub use failure::{Failure, Failures, InternalFault};
pub use severity::{Severity, SeverityPolicy};
