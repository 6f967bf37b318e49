//! What the routes ask of the systems behind them. The handles of `keylime-actors` are the backends of the binaries; tests
//! put scripted ones in their place.

use async_trait::async_trait;
use keylime_actors::ports::{RegistrationRecord, StoreError, VerifierStore};
use keylime_actors::registrar::{ActivateError, DeleteError, RegisterAgent, RegisterError, RegistrarHandle};
use keylime_actors::verifier::{
    AgentStatus, CommandError, Deletion, EnrolAgent, EnrolError, EvidenceError, JudgedEvidence, PresentedEvidence,
    Readiness, VerifierHandle,
};
use keylime_engine::ids::AgentId;
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
    /// Ids of all agents.
    async fn agent_ids(&self, verifier_id: Option<&str>) -> Result<Vec<String>, StoreError>;
    /// Deletes an agent.
    async fn delete(&self, agent_id: &AgentId) -> Result<Deletion, CommandError>;
    /// Starts attestation again.
    async fn reactivate(&self, agent_id: &AgentId) -> Result<(), CommandError>;
    /// Stops attestation.
    async fn stop(&self, agent_id: &AgentId) -> Result<(), CommandError>;
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
