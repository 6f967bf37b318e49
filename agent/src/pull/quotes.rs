//! `GET /v2.x/quotes/identity` and `/quotes/integrity`.

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::api_version::ApiVersion;
use crate::measurement_logs::MeasurementLogs;
use crate::pull::agent_info::key_name;
use crate::pull::answer;
use crate::pull::state::AgentState;
use crate::tpm::QuoteRequest;

/// Longest nonce, in bytes: what fits in a quote's qualifying data.
const MAX_NONCE_BYTES: usize = 64;
/// The firmware log is sent when PCR 0 is asked for.
const BOOT_LOG_BIT: u32 = 1;

/// Parameters of an identity quote.
#[derive(Debug, Deserialize)]
pub struct IdentityQuery {
    nonce: String,
}

/// Parameters of an integrity quote.
#[derive(Debug, Deserialize)]
pub struct IntegrityQuery {
    nonce: String,
    mask: String,
    partial: String,
    ima_ml_entry: Option<String>,
}

/// A checked request for an integrity quote.
#[derive(Debug, PartialEq, Eq)]
struct IntegrityRequest {
    nonce: String,
    mask: u32,
    public_key: PublicKeyWish,
    first_entry: u64,
}

/// Whether the payload key's public half is sent along (`partial=0`) or known already (`partial=1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PublicKeyWish {
    Send,
    Omit,
}

#[derive(Debug, Serialize)]
struct QuoteResults {
    quote: String,
    hash_alg: &'static str,
    enc_alg: &'static str,
    sign_alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pubkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ima_measurement_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mb_measurement_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ima_measurement_list_entry: Option<u64>,
}

/// A quote that proves nothing but the keys.
pub async fn identity(
    query: web::Query<IdentityQuery>,
    state: web::Data<AgentState>,
    version: web::ReqData<ApiVersion>,
) -> HttpResponse {
    let nonce = query.into_inner().nonce;
    if !is_alphanumeric(&nonce) {
        return answer::bad_request(format!("Parameters should be strictly alphanumeric: {nonce}"));
    }
    if nonce.len() > MAX_NONCE_BYTES {
        return answer::bad_request(format!("Nonce is too long (max size {MAX_NONCE_BYTES}): {nonce}"));
    }
    match quote(&state, *version, nonce, 0).await {
        Ok(mut results) => {
            results.pubkey = Some(state.payload_key.public_pem().to_owned());
            answer::success(results)
        }
        Err(refused) => refused,
    }
}

/// A quote over the PCRs asked for, with the logs that explain them.
pub async fn integrity(
    query: web::Query<IntegrityQuery>,
    state: web::Data<AgentState>,
    version: web::ReqData<ApiVersion>,
) -> HttpResponse {
    let request = match check(query.into_inner()) {
        Ok(request) => request,
        Err(text) => return answer::bad_request(text),
    };
    let mut results = match quote(&state, *version, request.nonce, request.mask).await {
        Ok(results) => results,
        Err(refused) => return refused,
    };
    if request.public_key == PublicKeyWish::Send {
        results.pubkey = Some(state.payload_key.public_pem().to_owned());
    }
    // After the quote, so that no entry the quote covers can be missing.
    if let Err(refused) = add_logs(&mut results, state.logs.clone(), request.mask, request.first_entry).await {
        return refused;
    }
    answer::success(results)
}

async fn quote(
    state: &AgentState,
    version: ApiVersion,
    nonce: String,
    mask: u32,
) -> Result<QuoteResults, HttpResponse> {
    let request = QuoteRequest {
        qualifying_data: nonce.into_bytes(),
        pcr_mask: mask,
        bank: state.hash,
        bound_data: Some(state.payload_key_digest()),
    };
    match state.tpm.run(move |tpm| tpm.quote(&request)).await {
        Ok(quote) => Ok(QuoteResults {
            quote: quote.to_text(),
            hash_alg: state.hash.name(),
            enc_alg: key_name(state.encryption, version),
            sign_alg: state.signing.name(),
            pubkey: None,
            ima_measurement_list: None,
            mb_measurement_list: None,
            ima_measurement_list_entry: None,
        }),
        Err(error) => {
            tracing::error!(target: "keylime.agent", %error, "cannot quote");
            Err(answer::internal("Unable to retrieve quote"))
        }
    }
}

async fn add_logs(
    results: &mut QuoteResults,
    logs: MeasurementLogs,
    mask: u32,
    first_entry: u64,
) -> Result<(), HttpResponse> {
    let read = web::block(move || {
        let boot = if mask & BOOT_LOG_BIT == 0 { None } else { logs.boot_log()? };
        Ok::<_, std::io::Error>((boot, logs.ima_from(first_entry)?))
    });
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(target: "keylime.agent", %error, "cannot read the measurement logs");
        answer::internal("Unable to retrieve quote")
    };
    let (boot, ima) = read.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    results.mb_measurement_list = boot.map(|log| STANDARD.encode(log));
    if let Some(part) = ima {
        results.ima_measurement_list = Some(part.text);
        results.ima_measurement_list_entry = Some(part.first_entry);
    }
    Ok(())
}

/// Checks in the order the reference agent does, so that the first fault is the same.
fn check(query: IntegrityQuery) -> Result<IntegrityRequest, String> {
    let IntegrityQuery { nonce, mask, partial, ima_ml_entry } = query;
    if !is_alphanumeric(&nonce) {
        return Err(format!("nonce should be strictly alphanumeric: {nonce}"));
    }
    if !is_alphanumeric(&mask) {
        return Err(format!("mask should be strictly alphanumeric: {mask}"));
    }
    let bits = u32::from_str_radix(mask.trim_start_matches("0x"), 16)
        .map_err(|_| format!("mask should be a hex encoded 32-bit integer: {mask}"))?;
    if nonce.len() > MAX_NONCE_BYTES {
        return Err(format!("Nonce is too long (max size: {MAX_NONCE_BYTES}): {}", nonce.len()));
    }
    let public_key = match partial.as_str() {
        "0" => PublicKeyWish::Send,
        "1" => PublicKeyWish::Omit,
        _ => return Err("uri must contain key 'partial' and value '0' or '1'".to_owned()),
    };
    let first_entry = ima_ml_entry.and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(IntegrityRequest { nonce, mask: bits, public_key, first_entry })
}

/// Letters and digits of any script; the empty text too.
pub fn is_alphanumeric(text: &str) -> bool {
    text.chars().all(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(nonce: &str, mask: &str, partial: &str, entry: Option<&str>) -> IntegrityQuery {
        IntegrityQuery {
            nonce: nonce.to_owned(),
            mask: mask.to_owned(),
            partial: partial.to_owned(),
            ima_ml_entry: entry.map(str::to_owned),
        }
    }

    #[test]
    fn masks_and_entries_are_read_leniently() {
        let request = check(query("n", "0x0x408000", "0", Some("7"))).unwrap();
        assert_eq!((request.mask, request.public_key, request.first_entry), (0x40_8000, PublicKeyWish::Send, 7));
        for entry in [None, Some("-1"), Some("x"), Some("")] {
            assert_eq!(check(query("n", "400", "1", entry)).unwrap().first_entry, 0);
        }
    }
}
