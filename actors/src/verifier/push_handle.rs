//! Attestations of push agents, as the gateway asks for them.

use crate::ports::{StoreError, TokenExtension};
use crate::verifier::push_api::{AcceptedEvidence, PushError, Selector};
use crate::verifier::shard_supervisor::{RouteEvidence, RouteOpening, RouteReading, Unanswered};
use crate::verifier::verifier_handle::VerifierHandle;
use keylime_engine::evidence::attestation::{Attestation, AttestationIndex};
use keylime_engine::evidence::field_error::FieldError;
use keylime_engine::evidence::offer::Offer;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::Refusal;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl VerifierHandle {
    /// Has the tokens of agents live on with their good attestations. Counts once; a later call changes nothing.
    pub fn extend_tokens_with(&self, tokens: Arc<dyn TokenExtension>) {
        // The first one stays.
        let _ = self.inner.system.tokens.set(tokens);
    }

    /// Opens an attestation: chooses what the agent has to prove, and makes its challenge. An offer that could not be read
    /// is refused after everything else that stands against the attestation.
    ///
    /// # Errors
    /// See [`PushError`].
    pub async fn open_attestation(
        &self,
        agent_id: &AgentId,
        offer: Result<Offer, Vec<FieldError>>,
    ) -> Result<Arc<Attestation>, PushError> {
        self.check_running()?;
        let shard = &self.inner.shards[self.inner.map.shard_of(agent_id)];
        match shard.send(RouteOpening(agent_id.clone(), Arc::new(offer))).await {
            Ok(Ok(attestation)) => Ok(attestation),
            Ok(Err(unanswered)) => Err(self.explain(agent_id, unanswered).await),
            // A shard that has ended is being shut down.
            Err(_) => Err(busy()),
        }
    }

    /// Takes evidence; it is stored when this answers, and judged afterwards. `index` names the attestation, `None` means
    /// the latest; `evidence` is `None` when the request is not about an attestation at all, and `Some(None)` when it
    /// lacks the evidence.
    ///
    /// # Errors
    /// See [`PushError`].
    pub async fn submit_evidence(
        &self,
        agent_id: &AgentId,
        index: Option<&str>,
        evidence: Option<Option<Value>>,
    ) -> Result<AcceptedEvidence, PushError> {
        self.check_running()?;
        let shard = &self.inner.shards[self.inner.map.shard_of(agent_id)];
        match shard.send(RouteEvidence(agent_id.clone(), index.map(Into::into), evidence)).await {
            Ok(Ok(accepted)) => Ok(accepted),
            Ok(Err(unanswered)) => Err(self.explain(agent_id, unanswered).await),
            // A shard that has ended is being shut down.
            Err(_) => Err(busy()),
        }
    }

    /// The attestations of an agent, newest first, at most [`MAX_LISTED`]; `None` when there is no such agent.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn attestations(&self, agent_id: &AgentId) -> Result<Option<Vec<Attestation>>, StoreError> {
        if self.store().agent(agent_id.as_str()).await?.is_none() {
            return Ok(None);
        }
        let open = self.open_of(agent_id).await;
        let mut stored = self.store().attestations(agent_id.as_str(), MAX_LISTED).await?;
        if let Some(open) = open
            && stored.iter().all(|attestation| attestation.index != open.index)
        {
            stored.insert(0, (*open).clone());
        }
        Ok(Some(stored))
    }

    /// One attestation of an agent; `None` when there is no such agent, `Some(None)` when it has no such attestation.
    ///
    /// # Errors
    /// The database could not answer.
    pub async fn attestation(
        &self,
        agent_id: &AgentId,
        selector: Selector,
    ) -> Result<Option<Option<Attestation>>, StoreError> {
        if self.store().agent(agent_id.as_str()).await?.is_none() {
            return Ok(None);
        }
        let open = self.open_of(agent_id).await;
        let stored = match selector {
            Selector::Latest => self.store().attestations(agent_id.as_str(), 1).await?.pop(),
            Selector::Index(index) => self.store().attestation(agent_id.as_str(), index).await?,
        };
        let newest = |attestation: &Attestation| match selector {
            Selector::Latest => stored.as_ref().is_none_or(|stored| stored.index < attestation.index),
            Selector::Index(index) => stored.is_none() && attestation.index == index,
        };
        match open {
            Some(open) if newest(&open) => Ok(Some(Some((*open).clone()))),
            Some(_) | None => Ok(Some(stored)),
        }
    }

    async fn open_of(&self, agent_id: &AgentId) -> Option<Arc<Attestation>> {
        let shard = &self.inner.shards[self.inner.map.shard_of(agent_id)];
        shard.send(RouteReading(agent_id.clone())).await.ok().flatten()
    }

    fn check_running(&self) -> Result<(), PushError> {
        if self.is_stopping() { Err(busy()) } else { Ok(()) }
    }

    async fn explain(&self, agent_id: &AgentId, unanswered: Unanswered) -> PushError {
        match unanswered {
            Unanswered::Refused(refusal) => PushError::Refused(refusal),
            Unanswered::Asked => PushError::Refused(Refusal::AttestationsDisabled),
            Unanswered::Absent if !self.inner.recovered.load(Ordering::Acquire) => busy(),
            Unanswered::Absent => match self.store().agent(agent_id.as_str()).await {
                // Its actor is about to be built anew.
                Ok(Some(record)) if *record.verifier_id == *self.inner.system.verifier_id => busy(),
                Ok(Some(_) | None) => PushError::NotEnrolled,
                Err(error) => error.into(),
            },
        }
    }
}

/// Most attestations in one list: what pruning leaves of an agent that boots now and then is far below.
pub const MAX_LISTED: u64 = 256;

/// The index a path names; anything else names none.
impl std::str::FromStr for Selector {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|index| Self::Index(AttestationIndex(index)))
    }
}

fn busy() -> PushError {
    PushError::Refused(Refusal::Busy { retry_after: BUSY_SECONDS })
}

const BUSY_SECONDS: u32 = 2;
