//! Messages of the verifier's interfaces 2.0 to 2.6; the server answers all minors alike (`verifier-v2.md` §8).

pub mod agent_status;
pub mod enrolment;
pub mod evidence;
pub mod explanation;
pub mod identity;
pub mod policies;
