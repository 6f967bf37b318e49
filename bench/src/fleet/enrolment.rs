//! Enrolling the fleet at the verifier, as a tenant does it (`verifier-v2.md` §3.1 and §4.1).

use super::FleetError;
use super::agent_number::AgentNumber;
use super::population::Population;
use super::rest_client::{RestClient, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const POLICY: &str = "bench";

/// A verifier and the port at which it reaches the agents.
#[derive(Clone)]
pub struct Enroller {
    /// The verifier.
    pub verifier: Target,
    /// The agents' port.
    pub agent_port: u16,
    /// Connections used side by side.
    pub connections: u32,
}

impl Enroller {
    /// Stores the policy that all agents name.
    ///
    /// # Errors
    /// The verifier refuses it.
    pub async fn store_policy(&self, population: &Population) -> Result<(), FleetError> {
        let body = json!({ "runtime_policy": STANDARD.encode(population.files.policy()) });
        let path = format!("/v2.5/allowlists/{POLICY}");
        RestClient::new(self.verifier.clone()).call(Method::POST, &path, body.to_string().into()).await?;
        Ok(())
    }

    /// Enrols agents; answers how long it took.
    ///
    /// # Errors
    /// The first refusal ends it.
    pub async fn enrol(&self, population: &Arc<Population>, agents: Range<u32>) -> Result<Duration, FleetError> {
        let next = Arc::new(AtomicU32::new(agents.start));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let (enroller, population, next) = (self.clone(), Arc::clone(population), Arc::clone(&next));
            tasks.spawn(async move { enroller.enrol_from(&population, &next, agents.end).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|e| FleetError::Setup(format!("enrolment broke off: {e}")))??;
        }
        Ok(start.elapsed())
    }

    async fn enrol_from(&self, population: &Population, next: &AtomicU32, end: u32) -> Result<(), FleetError> {
        let mut client = RestClient::new(self.verifier.clone());
        loop {
            let agent = AgentNumber(next.fetch_add(1, Ordering::Relaxed));
            if agent.0 >= end {
                return Ok(());
            }
            let body = enrolment_body(population, agent, self.agent_port);
            client.call(Method::POST, &format!("/v2.5/agents/{agent}"), body).await?;
            if agent.0 % 1000 == 999 {
                eprintln!("  {} agents enrolled", agent.0 + 1);
            }
        }
    }

    /// Attestations the verifier has passed, summed over all agents, and how many agents have each attestation status.
    ///
    /// # Errors
    /// The verifier does not answer.
    pub async fn attestations(&self) -> Result<(u64, BTreeMap<String, u64>), FleetError> {
        let mut client = RestClient::new(self.verifier.clone());
        let all = client.call(Method::GET, "/v2.5/agents/?bulk=True", Bytes::new()).await?;
        let (mut passed, mut statuses) = (0, BTreeMap::new());
        for record in all["results"].as_object().into_iter().flat_map(serde_json::Map::values) {
            passed += record["attestation_count"].as_u64().unwrap_or(0);
            let status = record["attestation_status"].as_str().unwrap_or("none").to_owned();
            *statuses.entry(status).or_insert(0) += 1;
        }
        Ok((passed, statuses))
    }

    /// How many agents are in each operational state.
    ///
    /// # Errors
    /// The verifier does not answer.
    pub async fn states(&self) -> Result<BTreeMap<String, u64>, FleetError> {
        let mut client = RestClient::new(self.verifier.clone());
        let all = client.call(Method::GET, "/v2.5/agents/?bulk=True", Bytes::new()).await?;
        let mut states = BTreeMap::new();
        for record in all["results"].as_object().into_iter().flat_map(serde_json::Map::values) {
            *states.entry(record["operational_state"].to_string()).or_insert(0) += 1;
        }
        Ok(states)
    }
}

fn enrolment_body(population: &Population, agent: AgentNumber, port: u16) -> Bytes {
    // A quote without measurement list covers PCR 16 only.
    let mask = if population.files.are_measured() { "0x400" } else { "0x0" };
    let share = [agent.0.to_be_bytes().as_slice(), &[0x5A; 28]].concat();
    let body: Value = json!({
        "v": STANDARD.encode(share),
        "cloudagent_ip": agent.address().to_string(),
        "cloudagent_port": port,
        "tpm_policy": json!({ "mask": mask }).to_string(),
        "runtime_policy": "",
        "runtime_policy_name": POLICY,
        "runtime_policy_key": "",
        "mb_policy": null,
        "mb_policy_name": null,
        "ima_sign_verification_keys": "",
        "metadata": "{}",
        "revocation_key": "",
        "accept_tpm_hash_algs": ["sha512", "sha384", "sha256"],
        "accept_tpm_encryption_algs": ["ecc", "rsa"],
        "accept_tpm_signing_algs": ["ecschnorr", "rsassa", "ecdsa"],
        "ak_tpm": STANDARD.encode(population.keys.attestation(agent).public()),
        "mtls_cert": population.keys.certificate_pem,
        "supported_version": "2.5",
    });
    body.to_string().into()
}
