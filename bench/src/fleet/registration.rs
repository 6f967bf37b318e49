//! Registering and activating agents at the registrar (`registrar.md` §4), each with a TPM of its own.

use super::FleetError;
use super::agent_number::AgentNumber;
use super::fleet_keys::FleetKeys;
use super::rest_client::{RestClient, Target};
use crate::soft_tpm::{EndorsementPair, Manufacturer, SoftTpm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::identity::credential_challenge::auth_tag;
use keylime_engine::ids::AgentId;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// An agent that is about to register.
pub struct Applicant {
    id: AgentId,
    tpm: SoftTpm,
    body: Bytes,
}

impl Applicant {
    /// Makes a TPM with its own P-256 endorsement key and certificate, and the request.
    ///
    /// # Errors
    /// A key or certificate cannot be made.
    pub fn new(number: AgentNumber, keys: &FleetKeys, maker: &Manufacturer) -> Result<Self, FleetError> {
        let seed = HashAlgorithm::Sha256.digest(&[b"endorsement", &number.0.to_be_bytes()]);
        let endorsement = EndorsementPair::p256_from_seed(seed.as_bytes().first_chunk().unwrap_or(&[3; 32]))?;
        let certificate = maker.certify(&endorsement, u64::from(number.0) + 1)?;
        let attestation = Arc::clone(keys.attestation(number));
        let body = json!({
            "aik_tpm": STANDARD.encode(attestation.public()),
            "ek_tpm": STANDARD.encode(endorsement.public()),
            "ekcert": STANDARD.encode(certificate),
            "iak_cert": null,
            "idevid_cert": null,
            "ip": number.address().to_string(),
            "mtls_cert": keys.certificate_pem,
            "port": 9002,
        });
        let id = AgentId::parse(&number.to_string()).map_err(|e| FleetError::Setup(e.to_string()))?;
        let tpm = SoftTpm::new(endorsement.into(), attestation, &[HashAlgorithm::Sha256]);
        Ok(Self { id, tpm, body: body.to_string().into() })
    }

    async fn register(&self, client: &mut RestClient) -> Result<(), FleetError> {
        let path = format!("/v2.6/agents/{}", self.id.as_str());
        let answer = client.call(Method::POST, &path, self.body.clone()).await?;
        let blob = answer["results"]["blob"].as_str().and_then(|text| STANDARD.decode(text).ok());
        let blob = blob.ok_or_else(|| FleetError::Setup("registration was answered without a blob".to_owned()))?;
        let secret = self.tpm.activate_credential(&blob)?;
        let proof = json!({ "auth_tag": auth_tag(&secret, &self.id) });
        client.call(Method::PUT, &path, proof.to_string().into()).await?;
        Ok(())
    }
}

/// Registers and activates all applicants on some connections side by side; answers how long it took.
///
/// # Errors
/// The first refusal ends it.
pub async fn register_all(
    registrar: &Target,
    mut applicants: Vec<Applicant>,
    connections: u32,
) -> Result<Duration, FleetError> {
    let share = applicants.len().div_ceil(connections as usize).max(1);
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    while !applicants.is_empty() {
        let part = applicants.split_off(applicants.len().saturating_sub(share));
        let mut client = RestClient::new(registrar.clone());
        tasks.spawn(async move {
            for applicant in &part {
                applicant.register(&mut client).await?;
            }
            Ok::<(), FleetError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|e| FleetError::Setup(format!("registration broke off: {e}")))??;
    }
    Ok(start.elapsed())
}
