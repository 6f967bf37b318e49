//! `GET /v2.x/agent/info`, from version 2.2 on.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::api_version::ApiVersion;
use crate::pull::answer;
use crate::pull::state::AgentState;
use crate::tpm::KeyAlgorithm;

#[derive(Serialize)]
struct InfoResults<'a> {
    agent_uuid: &'a str,
    tpm_hash_alg: &'static str,
    tpm_enc_alg: &'static str,
    tpm_sign_alg: &'static str,
    ak_handle: u32,
}

/// Who the agent is and with which algorithms it quotes.
pub async fn info(state: web::Data<AgentState>, version: web::ReqData<ApiVersion>) -> HttpResponse {
    answer::success(InfoResults {
        agent_uuid: state.agent_id.as_str(),
        tpm_hash_alg: state.hash.name(),
        tpm_enc_alg: key_name(state.encryption, *version),
        tpm_sign_alg: state.signing.name(),
        ak_handle: state.ak_handle,
    })
}

/// The key kind's name in a version of the API.
pub fn key_name(key: KeyAlgorithm, version: ApiVersion) -> &'static str {
    if version >= ApiVersion::SIZED_KEY_NAMES { key.name() } else { key.short_name() }
}
