//! From the raw request target to a handler: path rules, the route table, and what a handler gets and gives.

mod call;
mod entity_tag;
mod parameters;
mod path;
mod reply;
mod route;
mod router;
mod traffic;

pub use call::Call;
pub use parameters::Parameters;
pub use path::{Pattern, RawPath};
pub use reply::{Reply, ReplyBody, TextBody};
pub use route::{BodyLimit, Route, Transport};
pub use router::{Router, RouterLimits};
pub use traffic::{Passage, Traffic};
