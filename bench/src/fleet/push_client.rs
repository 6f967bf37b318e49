//! What one push agent sends to the verifier (`verifier-v3-push.md` §3 to §5), over a connection shared with others.

use super::FleetError;
use super::agent_number::AgentNumber;
use super::measured_files::BANK;
use super::population::Population;
use super::rest_client::{Exchange, RestClient};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use keylime_engine::tpm::pcr_mask::PcrMask;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The version the agents speak.
const API: &str = "/v3.0";
/// When all simulated machines booted.
const BOOT_TIME: &str = "2026-01-01T00:00:00Z";

/// An agent with a token in hand.
#[derive(Debug, Clone)]
pub struct PushAgent {
    /// Which.
    pub number: AgentNumber,
    /// Its token.
    pub token: String,
    /// When the verifier wants its next attestation.
    pub due: Instant,
}

/// One complete attestation as the agent sees it.
#[derive(Debug, Clone, Copy)]
pub struct Attested {
    /// Duration of the POST.
    pub post: Duration,
    /// Duration of the PATCH.
    pub patch: Duration,
    /// The wait the verifier asked for.
    pub next_in: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Attempt {
    /// Evidence was accepted.
    Attested(Attested),
    /// The POST was refused with this status.
    PostRefused(u16),
    /// The PATCH was refused with this status.
    PatchRefused(u16),
}

/// Opens a session and proves possession of the attestation key.
///
/// # Errors
/// The verifier refuses, or the connection breaks.
pub async fn open_session(
    client: &mut RestClient,
    population: &Population,
    number: AgentNumber,
) -> Result<PushAgent, FleetError> {
    let id = number.to_string();
    let kind = json!({"authentication_class": "pop", "authentication_type": "tpm_pop"});
    let request = document("session", json!({"agent_id": id, "authentication_supported": [kind]}));
    let path = format!("{API}/sessions");
    let offer = client.exchange(Method::POST, &path, None, request).await?;
    let session = parsed(&offer).filter(|_| offer.status < 300).ok_or_else(|| offer.refused(&Method::POST, &path))?;
    let requested = &session["data"]["attributes"]["authentication_requested"][0]["chosen_parameters"]["challenge"];
    let challenge = decoded(requested).ok_or_else(|| offer.refused(&Method::POST, &path))?;
    let proof = population.locked(number)?.prove_possession(&challenge)?;
    let provided = json!({
        "authentication_class": "pop",
        "authentication_type": "tpm_pop",
        "data": {"message": STANDARD.encode(&proof.attest), "signature": STANDARD.encode(&proof.signature)},
    });
    let request = document("session", json!({"agent_id": id, "authentication_provided": [provided]}));
    let path = format!("{API}/sessions/{}", session["data"]["id"].as_str().unwrap_or_default());
    let result = client.exchange(Method::PATCH, &path, None, request).await?;
    let token = parsed(&result).and_then(|body| body["data"]["attributes"]["token"].as_str().map(str::to_owned));
    let token = token.ok_or_else(|| result.refused(&Method::PATCH, &path))?;
    Ok(PushAgent { number, token, due: Instant::now() })
}

/// Negotiates and delivers once.
///
/// # Errors
/// The connection breaks, or the verifier's answers make no sense; a refusal is no error.
pub async fn attest(
    client: &mut RestClient,
    population: &Population,
    agent: &PushAgent,
) -> Result<Attempt, FleetError> {
    let path = format!("{API}/agents/{}/attestations", agent.number);
    let capabilities = capabilities(population, agent.number)?;
    let start = Instant::now();
    let answer = client.exchange(Method::POST, &path, Some(&agent.token), capabilities).await?;
    let post = start.elapsed();
    if answer.status != 201 {
        return Ok(Attempt::PostRefused(answer.status));
    }
    let unreadable = || answer.refused(&Method::POST, &path);
    let location = answer.location.clone().ok_or_else(unreadable)?;
    let body = parsed(&answer).ok_or_else(unreadable)?;
    let requested = body["data"]["attributes"]["evidence_requested"].as_array().ok_or_else(unreadable)?;
    let evidence = evidence(population, agent.number, requested)?;
    let start = Instant::now();
    let receipt = client.exchange(Method::PATCH, &location, Some(&agent.token), evidence).await?;
    let patch = start.elapsed();
    if receipt.status != 202 {
        return Ok(Attempt::PatchRefused(receipt.status));
    }
    let seconds = parsed(&receipt).and_then(|body| body["meta"]["seconds_to_next_attestation"].as_f64());
    let next_in = Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default();
    Ok(Attempt::Attested(Attested { post, patch, next_in }))
}

/// Only negotiates; answers the status. It tells whether a token is good at the least cost.
///
/// # Errors
/// The connection breaks.
pub async fn negotiate(client: &mut RestClient, population: &Population, agent: &PushAgent) -> Result<u16, FleetError> {
    let path = format!("{API}/agents/{}/attestations", agent.number);
    let capabilities = capabilities(population, agent.number)?;
    Ok(client.exchange(Method::POST, &path, Some(&agent.token), capabilities).await?.status)
}

fn capabilities(population: &Population, number: AgentNumber) -> Result<bytes::Bytes, FleetError> {
    let entries = {
        let mut agent = population.locked(number)?;
        agent.note_asked(Instant::now());
        agent.measure(&population.files, population.new_entries())?;
        agent.entries()
    };
    let key = population.keys.attestation(number);
    let (family, size, scheme) = population.keys.kind.offered_algorithms();
    let attributes = json!({
        "evidence_supported": [
            {"evidence_class": "certification", "evidence_type": "tpm_quote", "capabilities": {
                "component_version": "2.0",
                "hash_algorithms": [BANK.name()],
                "signature_schemes": [scheme],
                "available_subjects": {BANK.name(): (0..24).collect::<Vec<u8>>()},
                "certification_keys": [{
                    "key_class": "asymmetric",
                    "key_algorithm": family,
                    "key_size": size,
                    "server_identifier": "ak",
                    "public": STANDARD.encode(key.public()),
                    "allowable_hash_algorithms": [BANK.name()],
                    "allowable_signature_schemes": [scheme],
                }],
            }},
            {"evidence_class": "log", "evidence_type": "ima_log", "capabilities": {
                "entry_count": entries,
                "supports_partial_access": true,
                "appendable": true,
                "formats": ["text/plain"],
            }},
        ],
        "system_info": {"boot_time": BOOT_TIME},
    });
    Ok(document("attestation", attributes))
}

fn evidence(population: &Population, number: AgentNumber, requested: &[Value]) -> Result<bytes::Bytes, FleetError> {
    let mut agent = population.locked(number)?;
    let mut collected = Vec::with_capacity(requested.len());
    for item in requested {
        let parameters = &item["chosen_parameters"];
        let data = match item["evidence_type"].as_str() {
            Some("tpm_quote") => {
                let strange = || FleetError::Setup(format!("a quote was asked for with {parameters}"));
                let challenge = decoded(&parameters["challenge"]).ok_or_else(strange)?;
                let subjects = &parameters["selected_subjects"];
                let list = subjects.as_array().or_else(|| subjects[BANK.name()].as_array()).ok_or_else(strange)?;
                let pcrs = list.iter().filter_map(|pcr| u8::try_from(pcr.as_u64()?).ok());
                let (quote, blob) = agent.push_quote(PcrMask::of(pcrs), &challenge)?;
                json!({
                    "message": STANDARD.encode(&quote.attest),
                    "signature": STANDARD.encode(&quote.signature),
                    "subject_data": STANDARD.encode(&blob),
                })
            }
            Some("ima_log") => {
                let first = parameters["starting_offset"].as_u64().unwrap_or(0);
                let count = agent.entries().saturating_sub(first);
                json!({"entry_count": count, "entries": agent.list_from(&population.files, first)})
            }
            _ => return Err(FleetError::Setup(format!("the verifier asked for {}", item["evidence_type"]))),
        };
        collected.push(json!({
            "evidence_class": item["evidence_class"],
            "evidence_type": item["evidence_type"],
            "data": data,
        }));
    }
    Ok(document("attestation", json!({ "evidence_collected": collected })))
}

fn document(kind: &str, attributes: Value) -> bytes::Bytes {
    json!({"data": {"type": kind, "attributes": attributes}}).to_string().into()
}

fn parsed(exchange: &Exchange) -> Option<Value> {
    serde_json::from_slice(&exchange.body).ok()
}

fn decoded(text: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(text.as_str()?).ok()
}
