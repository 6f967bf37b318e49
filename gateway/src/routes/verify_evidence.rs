//! Judges evidence that anybody presents, by policies presented with it (`evidence-and-tee.md` §1, `verifier-v2.md` §6.2).

use super::agents_v2::refused;
use super::store_reply::busy;
use super::{VERIFIER, VerifierState};
use crate::authorization::{Permit, permitted};
use crate::routing::{Call, Reply, Route};
use actix_web::http::{Method, StatusCode};
use keylime_actors::verifier::{EvidenceError, JudgedEvidence, PresentedEvidence};
use keylime_engine::appraise::EvidenceVerdict;
use keylime_schema::wire::api_version::ApiVersion;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::v2::evidence::{EvidenceReply, ValiditySpelling};
use std::sync::Arc;

/// The version whose `valid` is a number.
const NUMBERED: ApiVersion = ApiVersion::new(2, 4);

/// The route of this resource.
pub(super) fn routes() -> Vec<Route<VerifierState>> {
    vec![Route::new(Method::POST, "/v2*/verify/evidence", verify)]
}

async fn verify(state: Arc<VerifierState>, mut call: Call, _: Permit<permitted::VerifyEvidence>) -> Reply {
    let spelling = match call.version() {
        Some(NUMBERED) => ValiditySpelling::Number,
        Some(_) | None => ValiditySpelling::Boolean,
    };
    let evidence = match call.take_json() {
        Some(document) => PresentedEvidence::Parsed(document),
        None => PresentedEvidence::Raw(call.body().clone()),
    };
    match state.backend.appraise_evidence(evidence).await {
        Ok(judged) => answer(judged, spelling),
        Err(error @ (EvidenceError::NotJson(_) | EvidenceError::TooManyValues)) => refused(400, error.to_string()),
        Err(EvidenceError::Busy { retry_after_seconds }) => busy(VERIFIER, retry_after_seconds),
        Err(EvidenceError::Internal(error)) => {
            tracing::error!(target: "keylime.verifier", %error, "presented evidence cannot be judged");
            refused(500, "Internal Server Error: Failed to process attestation data")
        }
    }
}

fn answer(judged: JudgedEvidence, spelling: ValiditySpelling) -> Reply {
    match judged.verdict {
        EvidenceVerdict::Valid => {
            Reply::envelope(VERIFIER, &Envelope::success(EvidenceReply::valid(spelling, judged.data)))
        }
        EvidenceVerdict::Invalid(failures) => {
            Reply::envelope(VERIFIER, &Envelope::success(EvidenceReply::invalid(spelling, &failures)))
        }
        EvidenceVerdict::Missing(missing) => {
            let code = StatusCode::BAD_REQUEST;
            let status = code.canonical_reason().unwrap_or_default().to_owned();
            let results = EvidenceReply::missing(spelling, missing);
            Reply::envelope(VERIFIER, &Envelope { code: code.as_u16(), status, results })
        }
        EvidenceVerdict::Refused(error) => refused(error.http_status(), error.to_string()),
    }
}
