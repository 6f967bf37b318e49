//! Handlers, one file for each resource, and the route tables of the two servers.

pub mod agent_explanation;
pub mod agents_v2;
pub mod agents_v2_add;
pub mod agents_v3;
pub mod agents_v3_update;
mod attestations_v3;
pub mod boot_policies;
pub mod boot_policies_v3;
mod json_api;
pub mod openapi;
pub mod operations;
mod policies_v3;
mod policy_upload;
pub mod registrar_agents;
pub mod runtime_policies;
pub mod runtime_policies_v3;
pub mod sessions_v3;
mod store_reply;
pub mod verify_evidence;
pub mod verify_identity;
pub mod version;

pub use attestations_v3::attestation_routes;
pub use openapi::{described, path_of as openapi_path};
pub use registrar_agents::{RegistrarState, registrar_routes};
pub use version::verifier_roots;

use crate::backend::VerifierBackend;
use crate::configuration::Mode;
use crate::routing::Route;
use keylime_actors::sessions::SessionHandle;
use keylime_schema::wire::python_json::Layout;
use std::path::PathBuf;
use std::sync::Arc;

/// The layout of the verifier's answers.
const VERIFIER: Layout = Layout::Compact;

/// What the verifier's handlers share.
pub struct VerifierState {
    /// The verifier system.
    pub backend: Arc<dyn VerifierBackend>,
    /// The sessions of push agents.
    pub sessions: SessionHandle,
    /// What the configuration says about enrolments and answers.
    pub settings: VerifierSettings,
}

/// Settings of the verifier's handlers.
#[derive(Debug, Clone)]
pub struct VerifierSettings {
    /// Address stored with agents whose enrolment names none.
    pub ip: String,
    /// Port stored with agents whose enrolment names none.
    pub port: u16,
    /// `enable_agent_mtls`: agents must bring a certificate.
    pub agent_mtls: bool,
    /// How agents are attested.
    pub mode: Mode,
    /// `quote_interval`, seconds.
    pub quote_interval: f64,
    /// `require_allow_list_signatures`.
    pub policy_signatures_required: bool,
    /// Where the keys of signed runtime policies are kept.
    pub signing_keys: PathBuf,
}

/// The route table of a verifier in pull mode (`verifier-v2.md`).
#[must_use]
pub fn verifier_routes() -> Vec<Route<VerifierState>> {
    let mut routes = verifier_roots();
    routes.extend(agents_v2::routes());
    routes.extend(agents_v2_add::routes());
    routes.extend(agent_explanation::routes());
    routes.extend(runtime_policies::routes());
    routes.extend(boot_policies::routes());
    routes.extend(verify_identity::routes());
    routes.extend(verify_evidence::routes());
    routes.extend(sessions_v3::routes());
    routes.extend(agents_v3::routes());
    routes.extend(agents_v3_update::routes());
    routes.extend(runtime_policies_v3::routes());
    routes.extend(boot_policies_v3::routes());
    routes
}
