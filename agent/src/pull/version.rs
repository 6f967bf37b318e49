//! `GET /version`.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::pull::answer;
use crate::pull::state::AgentState;

#[derive(Serialize)]
struct VersionResults {
    supported_version: String,
    supported_versions: Vec<String>,
}

/// Which versions are served.
pub async fn version(state: web::Data<AgentState>) -> HttpResponse {
    let Some(newest) = state.api_versions.last() else {
        return answer::internal("Misconfigured API version");
    };
    answer::success(VersionResults {
        supported_version: newest.to_string(),
        supported_versions: state.api_versions.iter().map(ToString::to_string).collect(),
    })
}
