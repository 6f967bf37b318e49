//! Versions and version roots (`verifier-v2.md` §2).

use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::Method;
use keylime_schema::wire::api_version::VersionList;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::python_json::Layout;
use std::sync::Arc;

/// The routes of the verifier that tell about the server.
#[must_use]
pub fn verifier_roots() -> Vec<Route<VerifierState>> {
    vec![
        Route::new(Method::GET, "/version", versions),
        Route::new(Method::GET, "/versions", versions),
        Route::new(Method::GET, "/", root),
        Route::new(Method::GET, "/v2*", root_v2),
        Route::new(Method::GET, "/v3*", root_v3),
    ]
}

/// The list of versions in a server's layout.
pub(super) fn version_list(layout: Layout) -> Reply {
    Reply::envelope(layout, &Envelope::success(VersionList::of_server()))
}

async fn versions(_: Arc<VerifierState>, _: Call, _: Permit<permitted::ReadVersion>) -> Reply {
    // The reference answers 410 in push mode, which its own tenant then takes for an old server; every mode answers here.
    version_list(VERIFIER)
}

async fn root(_: Arc<VerifierState>, _: Call, _: Permit<permitted::ReadServerInfo>) -> Reply {
    Reply::redirect("/v3.0/")
}

async fn root_v2(_: Arc<VerifierState>, _: Call, _: Permit<permitted::ReadServerInfo>) -> Reply {
    Reply::envelope(VERIFIER, &Envelope::empty(405, "Not Implemented: Use /agents/ interface instead"))
}

async fn root_v3(_: Arc<VerifierState>, _: Call, _: Permit<permitted::ReadServerInfo>) -> Reply {
    Reply::envelope(VERIFIER, &Envelope::empty(200, "Success"))
}
