//! Performs the steps of an enrolment: requests, files and programs. It decides nothing.

use tempfile::NamedTempFile;
use tracing::{error, info};

use crate::address::{Address, Scheme};
use crate::agent_client::AgentClient;
use crate::cli::AttestationModel;
use crate::command::{MissingAgent, remove_enrolment, verifier_status};
use crate::ek_trust;
use crate::enrollment::Enrollment;
use crate::enrollment_step::{Event, Material, Step};
use crate::error::TenantError;
use crate::http::{HttpClient, HttpError, Reply};
use crate::output::{body_repr, compact};
use crate::payload;
use crate::policies::{self, PolicySources};
use crate::progress;
use crate::session::Session;

/// What the steps need.
#[derive(Debug)]
pub struct EnrollmentEffects {
    session: Session,
    sources: PolicySources,
    agent: Option<AgentClient>,
    /// Files that were fetched for the policies; they are removed with this value.
    _files: Vec<NamedTempFile>,
}

impl EnrollmentEffects {
    /// The effects of a run.
    #[must_use]
    pub fn new(session: Session, sources: PolicySources, files: Vec<NamedTempFile>) -> Self {
        Self { session, sources, agent: None, _files: files }
    }

    /// How the verifier is called in messages.
    #[must_use]
    pub fn verifier_name(&self) -> String {
        self.session.verifier.name()
    }

    /// Performs a step and says what came of it.
    ///
    /// # Errors
    /// The step cannot be performed, and the enrolment has no answer to that.
    pub async fn perform(&mut self, step: Step, enrollment: &Enrollment) -> Result<Event, TenantError> {
        match step {
            Step::FetchRegistration => {
                let id = self.session.agent_id.clone();
                let registration = self.session.registrar()?.registration(&id).await?;
                Ok(Event::Registration(registration.map(Box::new)))
            }
            Step::FetchVersions => {
                let address = agent_address(enrollment)?;
                Ok(Event::Versions(self.agent(enrollment)?.versions(&address).await))
            }
            Step::PrepareMaterial => self.prepare().await,
            Step::RemoveEarlier => Ok(Event::Removed(remove_enrolment(&mut self.session).await?)),
            Step::FetchQuote => self.quote(enrollment).await,
            Step::CheckEndorsement => self.endorsement(enrollment).await,
            Step::DeliverShare(body) => {
                let address = agent_address(enrollment)?;
                let agent = self.agent(enrollment)?;
                let reply = agent.deliver_share(&address, enrollment.version(), compact(&body)).await?;
                Ok(Event::ShareDelivered(reply))
            }
            Step::Enrol => {
                let body = compact(&enrollment.body(self.session.verifier.address()));
                let id = self.session.agent_id.clone();
                Ok(Event::Enrolled(self.session.verifier.enrol(&id, body).await?))
            }
            Step::FetchStatus => {
                let known = verifier_status(&mut self.session, MissingAgent::Answer).await?;
                Ok(known.map_or(Event::Unknown, |record| Event::Known(AttestationModel::of_record(&record))))
            }
            Step::FetchProof => {
                let address = agent_address(enrollment)?;
                let challenge = &enrollment.plan().challenge;
                let agent = self.agent(enrollment)?;
                Ok(Event::Proof(agent.derivation(&address, enrollment.version(), challenge).await))
            }
            Step::StopAttestation => {
                self.stop().await;
                Ok(Event::Stopped)
            }
            Step::Wait(delay) => {
                progress::wait(delay, &format!("waiting for {}", enrollment.agent_name())).await;
                Ok(Event::Waited)
            }
            // The machine is done; there is nothing to perform and nothing to wait for.
            Step::Done => Ok(Event::Waited),
        }
    }

    /// Reads policies first and the payload then: the order in which mistakes are reported.
    async fn prepare(&self) -> Result<Event, TenantError> {
        let (sources, options) = (self.sources.clone(), self.session.options.clone());
        let (id, limit) = (self.session.agent_id.clone(), self.session.settings.max_payload_size);
        let material = off_the_actor(move || -> Result<Material, TenantError> {
            let policies = policies::process(&sources)?;
            let payload = payload::prepare(&options, &id, limit)?;
            Ok(Material { policies, payload })
        });
        Ok(Event::Material(Box::new(material.await??)))
    }

    async fn quote(&mut self, enrollment: &Enrollment) -> Result<Event, TenantError> {
        let address = agent_address(enrollment)?;
        let nonce = &enrollment.plan().nonce;
        let reply = self.agent(enrollment)?.identity_quote(&address, enrollment.version(), nonce).await;
        if let Ok(reply) = &reply
            && reply.json().is_some()
        {
            self.session.print(&body_repr(reply));
        }
        Ok(Event::Quote(reply))
    }

    async fn endorsement(&self, enrollment: &Enrollment) -> Result<Event, TenantError> {
        let registration = enrollment.registration().cloned();
        let registration = registration.ok_or(TenantError::Malformed { peer: "registrar" })?;
        let (name, id) = (enrollment.agent_name(), self.session.agent_id.clone());
        let settings = self.session.settings.endorsement.clone();
        let outcome = off_the_actor(move || ek_trust::check(&name, &id, &registration, &settings)).await?;
        Ok(Event::Endorsement(outcome))
    }

    /// Has the verifier stop attesting. The enrolment has failed already; that is what gets reported.
    async fn stop(&mut self) {
        let id = self.session.agent_id.clone();
        let name = self.session.verifier.name();
        match self.session.verifier.stop(&id).await {
            Ok(Reply { status: 200, .. }) => info!(target: "keylime.tenant", "Agent {id} stopped"),
            Ok(reply) => error!(target: "keylime.tenant", "{name} did not stop agent {id}: status {}", reply.status),
            Err(problem) => error!(target: "keylime.tenant", "{name} did not stop agent {id}: {problem}"),
        }
    }

    /// The client of the agent, made when it is first needed.
    fn agent(&mut self, enrollment: &Enrollment) -> Result<&AgentClient, TenantError> {
        let client = match self.agent.take() {
            Some(client) => client,
            None => self.connect(enrollment)?,
        };
        Ok(self.agent.insert(client))
    }

    fn connect(&self, enrollment: &Enrollment) -> Result<AgentClient, TenantError> {
        let timeout = self.session.settings.request_timeout;
        let (tls, scheme) = match enrollment.agent_certificate() {
            Some(certificate) => (self.session.tls.for_agent(certificate)?, Scheme::Https),
            None => (self.session.tls.for_servers()?, Scheme::Http),
        };
        let http: Result<HttpClient, HttpError> = HttpClient::new(tls, timeout);
        Ok(AgentClient::new(http?, scheme))
    }
}

/// Runs something that takes long or waits for files where it holds up nobody.
async fn off_the_actor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TenantError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| TenantError::refused(format!("a task failed: {error}")))
}

fn agent_address(enrollment: &Enrollment) -> Result<Address, TenantError> {
    enrollment.location().address().ok_or_else(|| {
        TenantError::refused(format!(
            "the address of {} is unknown: it registered none, give it with -t and -tp",
            enrollment.agent_name()
        ))
    })
}
