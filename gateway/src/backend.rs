//! What the routes ask of the systems behind them. The handles of `keylime-actors` are the backends of the binaries; tests
//! put scripted ones in their place.

use async_trait::async_trait;
use keylime_actors::ports::{AgentAmendment, RegistrationRecord, StoreError, VerifierStore};
use keylime_actors::registrar::{ActivateError, DeleteError, RegisterAgent, RegisterError, RegistrarHandle};
use keylime_actors::verifier::{
    AcceptedEvidence, AgentStatus, AmendError, CommandError, Deletion, EnrolAgent, EnrolError, EvidenceError,
    JudgedEvidence, PresentedEvidence, PushError, Readiness, Selector, VerifierHandle,
};
use keylime_engine::evidence::attestation::Attestation;
use keylime_engine::evidence::field_error::FieldError;
use keylime_engine::evidence::offer::Offer;
use keylime_engine::ids::AgentId;
use serde_json::Value;
use std::sync::Arc;

/// The verifier system.
#[async_trait]
pub trait VerifierBackend: Send + Sync + 'static {
    /// Enrols an agent.
    async fn enrol(&self, request: EnrolAgent) -> Result<(), EnrolError>;
    /// State of one agent, whichever verifier it belongs to.
    async fn status(&self, agent_id: &AgentId) -> Result<Option<AgentStatus>, StoreError>;
    /// Up to `limit` agents with ids after `after`, in the order of ids.
    async fn statuses(
        &self,
        verifier_id: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AgentStatus>, StoreError>;
    /// Changes what an agent was enrolled with.
    async fn amend(&self, agent_id: &AgentId, changes: AgentAmendment) -> Result<(), AmendError>;
    /// Ids of all agents.
    async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError>;
    /// Deletes an agent.
    async fn delete(&self, agent_id: &AgentId) -> Result<Deletion, CommandError>;
    /// Starts attestation again.
    async fn reactivate(&self, agent_id: &AgentId) -> Result<(), CommandError>;
    /// Stops attestation.
    async fn stop(&self, agent_id: &AgentId) -> Result<(), CommandError>;
    /// Opens an attestation of a push agent; an offer that could not be read is refused last.
    async fn open_attestation(
        &self,
        _agent_id: &AgentId,
        _offer: Result<Offer, Vec<FieldError>>,
    ) -> Result<Arc<Attestation>, PushError> {
        Err(PushError::NotEnrolled)
    }
    /// Takes evidence of a push agent, for an attestation by index or for the latest.
    async fn submit_evidence(
        &self,
        _agent_id: &AgentId,
        _index: Option<&str>,
        _evidence: Option<Option<Value>>,
    ) -> Result<AcceptedEvidence, PushError> {
        Err(PushError::NotEnrolled)
    }
    /// Attestations of a push agent, newest first; `None` when there is no such agent.
    async fn attestations(&self, _agent_id: &AgentId) -> Result<Option<Vec<Attestation>>, StoreError> {
        Ok(None)
    }
    /// One attestation of a push agent; `None` when there is no such agent.
    async fn attestation(
        &self,
        _agent_id: &AgentId,
        _selector: Selector,
    ) -> Result<Option<Option<Attestation>>, StoreError> {
        Ok(None)
    }
    /// Judges evidence that is presented once.
    async fn appraise_evidence(&self, evidence: PresentedEvidence) -> Result<JudgedEvidence, EvidenceError>;
    /// Lets these agents use their changed policies from the next quote on.
    async fn policy_changed(&self, agents: Vec<AgentId>);
    /// The database, for policies.
    fn store(&self) -> &Arc<dyn VerifierStore>;
    /// Whether the system works, or why not.
    fn ready(&self) -> Result<(), &'static str>;
}

/// The registrar system.
#[async_trait]
pub trait RegistrarBackend: Send + Sync + 'static {
    /// Registers a machine; answers the challenge in base64.
    async fn register(&self, request: RegisterAgent) -> Result<String, RegisterError>;
    /// Activates a registration.
    async fn activate(&self, agent_id: &str, auth_tag: &str) -> Result<(), ActivateError>;
    /// One registration, active or not.
    async fn registration(&self, agent_id: &str) -> Result<Option<RegistrationRecord>, StoreError>;
    /// Ids of all registrations, active or not.
    async fn registration_ids(&self) -> Result<Vec<String>, StoreError>;
    /// Deletes a registration.
    async fn delete(&self, agent_id: &str) -> Result<(), DeleteError>;
    /// Whether the system takes requests.
    fn ready(&self) -> bool;
}

#[async_trait]
impl VerifierBackend for VerifierHandle {
    async fn enrol(&self, request: EnrolAgent) -> Result<(), EnrolError> {
        Self::enrol(self, request).await
    }

    async fn amend(&self, agent_id: &AgentId, changes: AgentAmendment) -> Result<(), AmendError> {
        Self::amend(self, agent_id, changes).await
    }

    async fn status(&self, agent_id: &AgentId) -> Result<Option<AgentStatus>, StoreError> {
        Self::status(self, agent_id).await
    }

    async fn statuses(
        &self,
        verifier_id: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AgentStatus>, StoreError> {
        Self::statuses(self, verifier_id, after, limit).await
    }

    async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        Self::agent_ids(self, verifier_id).await
    }

    async fn delete(&self, agent_id: &AgentId) -> Result<Deletion, CommandError> {
        Self::delete(self, agent_id).await
    }

    async fn reactivate(&self, agent_id: &AgentId) -> Result<(), CommandError> {
        Self::reactivate(self, agent_id).await
    }

    async fn stop(&self, agent_id: &AgentId) -> Result<(), CommandError> {
        Self::stop(self, agent_id).await
    }

    async fn open_attestation(
        &self,
        agent_id: &AgentId,
        offer: Result<Offer, Vec<FieldError>>,
    ) -> Result<Arc<Attestation>, PushError> {
        Self::open_attestation(self, agent_id, offer).await
    }

    async fn submit_evidence(
        &self,
        agent_id: &AgentId,
        index: Option<&str>,
        evidence: Option<Option<Value>>,
    ) -> Result<AcceptedEvidence, PushError> {
        Self::submit_evidence(self, agent_id, index, evidence).await
    }

    async fn attestations(&self, agent_id: &AgentId) -> Result<Option<Vec<Attestation>>, StoreError> {
        Self::attestations(self, agent_id).await
    }

    async fn attestation(
        &self,
        agent_id: &AgentId,
        selector: Selector,
    ) -> Result<Option<Option<Attestation>>, StoreError> {
        Self::attestation(self, agent_id, selector).await
    }

    async fn appraise_evidence(&self, evidence: PresentedEvidence) -> Result<JudgedEvidence, EvidenceError> {
        Self::appraise_evidence(self, evidence).await
    }

    async fn policy_changed(&self, agents: Vec<AgentId>) {
        Self::policy_changed(self, agents).await;
    }

    fn store(&self) -> &Arc<dyn VerifierStore> {
        Self::store(self)
    }

    fn ready(&self) -> Result<(), &'static str> {
        match Self::ready(self) {
            Readiness::Ready => Ok(()),
            Readiness::Recovering => Err("stored agents are being taken up"),
            Readiness::StoreUnavailable => Err("the database does not answer"),
            Readiness::Stopping => Err("stopping"),
        }
    }
}

#[async_trait]
impl RegistrarBackend for RegistrarHandle {
    async fn register(&self, request: RegisterAgent) -> Result<String, RegisterError> {
        Self::register(self, request).await
    }

    async fn activate(&self, agent_id: &str, auth_tag: &str) -> Result<(), ActivateError> {
        Self::activate(self, agent_id, auth_tag).await
    }

    async fn registration(&self, agent_id: &str) -> Result<Option<RegistrationRecord>, StoreError> {
        Self::registration(self, agent_id).await
    }

    async fn registration_ids(&self) -> Result<Vec<String>, StoreError> {
        Self::registration_ids(self).await
    }

    async fn delete(&self, agent_id: &str) -> Result<(), DeleteError> {
        Self::delete(self, agent_id).await
    }

    fn ready(&self) -> bool {
        Self::ready(self)
    }
}
