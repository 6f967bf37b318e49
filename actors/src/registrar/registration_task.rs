//! Carries out one command: load, let the engine decide, write, answer.

use super::api::{ActivateError, DeleteError, RegisterAgent, RegisterError};
use super::certificate_store_directory;
use super::recent_registrations::Memory;
use super::record_conversion::{record, registration};
use super::registration_shard::{Command, ShardContext};
use crate::ports::{RegistrationOutcome, RegistrationRecord, StoreError};
use keylime_engine::identity::certificate_store::CertificateStore;
use keylime_engine::identity::registration::{
    self as decision, Accepted, Refusal, Registration, RegistrationEntropy, RegistrationRequest,
};
use keylime_engine::ids::AgentId;
use std::sync::Arc;

/// Runs a command; `seen` is what the shard remembers of the row. Answers what is known of the row afterwards.
pub(super) async fn run(context: &ShardContext, command: Command, seen: Memory) -> Memory {
    match command {
        Command::Register { request, reply, permit } => {
            let (outcome, memory) = register(context, request, seen).await;
            let _ = reply.send(outcome);
            drop(permit);
            memory
        }
        Command::Activate { agent_id, auth_tag, reply, permit } => {
            let (outcome, memory) = activate(context, &agent_id, &auth_tag, seen).await;
            let _ = reply.send(outcome);
            drop(permit);
            memory
        }
        Command::Delete { agent_id, reply, permit } => {
            let outcome = match context.writer.delete(agent_id.to_string()).await {
                Ok(true) => {
                    tracing::info!(target: "keylime.registrar", agent_id = &*agent_id, "registration deleted");
                    Ok(())
                }
                Ok(false) => Err(DeleteError::NotFound),
                Err(error) => Err(error.into()),
            };
            let _ = reply.send(outcome);
            drop(permit);
            Memory::Unknown
        }
    }
}

async fn register(
    context: &ShardContext,
    request: RegisterAgent,
    seen: Memory,
) -> (Result<String, RegisterError>, Memory) {
    let refused = |error| (Err(error), Memory::Unknown);
    let agent_id = match AgentId::parse(&request.agent_id) {
        Ok(agent_id) => agent_id,
        // The id is left out of the log: it may hold a line break (CVE-2022-23949).
        Err(error) => return refused(RegisterError::Invalid(vec![format!("agent_id: {error}")])),
    };
    let authorities = match authorities(context, &request).await {
        Ok(authorities) => authorities,
        Err(error) => return refused(RegisterError::Invalid(vec![format!("tpm_cert_store: {error}")])),
    };
    let job = Arc::new(Job { agent_id, request, authorities });
    let mut stored = match seen {
        Memory::Row(row) => Some(*row),
        Memory::Unknown if context.known.is_new(job.agent_id.as_str()) => None,
        Memory::Unknown => match context.store.registration(job.agent_id.as_str()).await {
            Ok(stored) => stored,
            Err(error) => return refused(error.into()),
        },
    };
    for _ in 0..ATTEMPTS {
        let accepted = match decide(context, &job, stored.as_ref()).await {
            Ok(accepted) => accepted,
            Err(error) => return refused(error),
        };
        let row = record(job.agent_id.as_str(), accepted.registration, stored.as_ref());
        match context.writer.register(stored, row.clone()).await {
            Ok(RegistrationOutcome::Written) => {
                context.known.add(job.agent_id.as_str());
                report(&job.agent_id, &row, &accepted.warnings);
                return (Ok(accepted.blob), Memory::Row(Box::new(row)));
            }
            Ok(RegistrationOutcome::Refused(reason)) => return refused(RegisterError::Invalid(vec![reason])),
            Err(error) => return refused(error.into()),
            // What was read is no longer what is stored: decide again about what is.
            Ok(RegistrationOutcome::Conflict) => match context.store.registration(job.agent_id.as_str()).await {
                Ok(current) => stored = current,
                Err(error) => return refused(error.into()),
            },
        }
    }
    refused(RegisterError::Concurrent)
}

/// A request with what is needed to judge it.
struct Job {
    agent_id: AgentId,
    request: RegisterAgent,
    authorities: CertificateStore,
}

/// The authorities of IAK and IDevID certificates; read only when the request holds one, as the reference does, so that
/// an operator may change the store at any time.
async fn authorities(context: &ShardContext, request: &RegisterAgent) -> std::io::Result<CertificateStore> {
    let brings = |name: &str| request.members.get(name).is_some_and(|value| !value.is_null() && value != "");
    if !brings("iak_cert") && !brings("idevid_cert") {
        return Ok(CertificateStore::default());
    }
    let location = context.tpm_cert_store.clone();
    tokio::task::spawn_blocking(move || certificate_store_directory::read(&location.path()?))
        .await
        .map_err(std::io::Error::other)?
}

/// Lets the engine decide, on the CPU threads.
async fn decide(
    context: &ShardContext,
    job: &Arc<Job>,
    stored: Option<&RegistrationRecord>,
) -> Result<Accepted, RegisterError> {
    let stored = stored.map(registration);
    let (job, rules) = (Arc::clone(job), context.rules);
    let decided = context
        .pool
        .run(move || {
            let mut entropy = RegistrationEntropy { challenge: [0; _], seal: [0; _] };
            let filled = aws_lc_rs::rand::fill(&mut entropy.challenge).and(aws_lc_rs::rand::fill(&mut entropy.seal));
            let request = RegistrationRequest {
                agent_id: &job.agent_id,
                members: &job.request.members,
                stored: stored.as_ref(),
                authorities: &job.authorities,
            };
            filled.ok().map(|()| decision::register(&request, rules, &entropy))
        })
        .await;
    match decided {
        Ok(Some(Ok(accepted))) => Ok(accepted),
        Ok(Some(Err(Refusal::IdentityChanged(_)))) => Err(RegisterError::IdentityChanged),
        Ok(Some(Err(Refusal::Invalid(reasons)))) => Err(RegisterError::Invalid(reasons)),
        Ok(None) => Err(StoreError::Internal("no randomness".to_owned()).into()),
        Err(panic) => Err(StoreError::Internal(panic.to_string()).into()),
    }
}

fn report(agent_id: &AgentId, row: &RegistrationRecord, warnings: &[String]) {
    metrics::counter!("registrar_registrations_total").increment(1);
    for warning in warnings {
        tracing::warn!(target: "keylime.registrar", %agent_id, warning, "registration accepted with a malformed certificate");
    }
    tracing::info!(target: "keylime.registrar", %agent_id, regcount = row.regcount, "agent registered");
}

async fn activate(
    context: &ShardContext,
    agent_id: &str,
    auth_tag: &str,
    seen: Memory,
) -> (Result<(), ActivateError>, Memory) {
    let refused = |error| (Err(error), Memory::Unknown);
    // No registration has an id that is none.
    let Ok(id) = AgentId::parse(agent_id) else { return refused(ActivateError::NotFound) };
    let mut seen = match seen {
        Memory::Row(row) => Some(*row),
        Memory::Unknown => None,
    };
    for _ in 0..ATTEMPTS {
        let remembered = seen.is_some();
        let stored = match seen.take() {
            Some(row) => row,
            None => match context.store.registration(agent_id).await {
                Ok(Some(row)) => row,
                Ok(None) => return refused(ActivateError::NotFound),
                Err(error) => return refused(error.into()),
            },
        };
        match decision::activate(&id, &registration(&stored), auth_tag) {
            Ok(active) => match write_active(context, stored, active).await {
                Ok(Some(row)) => return (Ok(()), Memory::Row(Box::new(row))),
                Ok(None) => {}
                Err(error) => return refused(error.into()),
            },
            // Another process may have challenged the agent since: only the stored row counts for a refusal.
            Err(_) if remembered => {}
            Err(_) => return refused(destroy(context, agent_id).await),
        }
    }
    refused(ActivateError::NotFound)
}

/// Writes an activation; `None` when the stored row is another one by now.
async fn write_active(
    context: &ShardContext,
    stored: RegistrationRecord,
    active: Registration,
) -> Result<Option<RegistrationRecord>, StoreError> {
    let row = record(&stored.agent_id, active, Some(&stored));
    if row.active == stored.active {
        return Ok(Some(row));
    }
    match context.writer.register(Some(stored), row.clone()).await? {
        RegistrationOutcome::Conflict => Ok(None),
        RegistrationOutcome::Refused(reason) => Err(StoreError::Internal(reason)),
        RegistrationOutcome::Written => {
            metrics::counter!("registrar_activations_total").increment(1);
            tracing::info!(target: "keylime.registrar", agent_id = row.agent_id, "agent activated");
            Ok(Some(row))
        }
    }
}

/// Deletes a registration whose challenge was answered wrongly.
async fn destroy(context: &ShardContext, agent_id: &str) -> ActivateError {
    metrics::counter!("registrar_wrong_tags_total").increment(1);
    tracing::warn!(target: "keylime.registrar", agent_id, "wrong auth tag; the registration is deleted");
    match context.writer.delete(agent_id.to_owned()).await {
        Ok(_) => ActivateError::WrongTag,
        Err(error) => error.into(),
    }
}

/// Decisions about one request before a racing writer is taken for a fault.
const ATTEMPTS: usize = 3;
