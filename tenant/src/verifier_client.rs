//! Requests to the verifier.

use keylime_schema::wire::api_version::ApiVersion;

use crate::address::{Address, Scheme, escaped};
use crate::error::TenantError;
use crate::http::{Body, HttpClient, Method, OpenReply, Reply};
use crate::version_negotiation;

/// Kinds of policies that have a name at the verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Runtime policies, once called allowlists.
    Runtime,
    /// Measured boot policies.
    MeasuredBoot,
}

impl PolicyKind {
    const fn collection(self) -> &'static str {
        match self {
            Self::Runtime => "allowlists",
            Self::MeasuredBoot => "mbpolicies",
        }
    }
}

/// A verifier. Its address changes when an answer says that another one is in charge of an agent.
#[derive(Debug, Clone)]
pub struct VerifierClient {
    http: HttpClient,
    address: Address,
    id: Option<String>,
    version: Option<ApiVersion>,
}

impl VerifierClient {
    /// A client of the verifier at an address.
    #[must_use]
    pub fn new(http: HttpClient, address: Address, id: Option<String>) -> Self {
        Self { http, address, id, version: None }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How it is named in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.id {
            Some(id) => format!("Verifier {id} ({})", self.address),
            None => format!("Verifier ({})", self.address),
        }
    }

    /// Sends everything from here on to another verifier.
    pub fn move_to(&mut self, address: Address, id: Option<String>) {
        self.address = address;
        self.id = id;
    }

    /// The state of an agent.
    ///
    /// # Errors
    /// The verifier cannot be reached or speaks no version of ours; so for all requests here.
    pub async fn status(&mut self, agent_id: &str) -> Result<Reply, TenantError> {
        self.send(Method::Get, &agent(agent_id), Body::Empty).await
    }

    /// Why an agent failed last, of a verifier that keeps that.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn explanation(&mut self, agent_id: &str) -> Result<Reply, TenantError> {
        self.send(Method::Get, &format!("{}/explain", agent(agent_id)), Body::Empty).await
    }

    /// The ids of agents, of this verifier or, without an id, of all.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn list(&mut self, verifier_id: &str) -> Result<Reply, TenantError> {
        self.send(Method::Get, &format!("agents/?verifier={}", escaped(verifier_id)), Body::Empty).await
    }

    /// The states of all agents, to be read as they arrive.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn bulk(&mut self, verifier_id: &str) -> Result<OpenReply, TenantError> {
        self.open(Method::Get, &format!("agents/?bulk=True&verifier={}", escaped(verifier_id)), Body::Empty).await
    }

    /// Enrols an agent.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn enrol(&mut self, agent_id: &str, body: String) -> Result<Reply, TenantError> {
        self.send(Method::Post, &agent(agent_id), Body::Plain(body)).await
    }

    /// Removes an agent.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn delete(&mut self, agent_id: &str) -> Result<Reply, TenantError> {
        self.send(Method::Delete, &agent(agent_id), Body::Empty).await
    }

    /// Starts attesting an agent again.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn reactivate(&mut self, agent_id: &str) -> Result<Reply, TenantError> {
        self.send(Method::Put, &format!("{}/reactivate", agent(agent_id)), Body::Empty).await
    }

    /// Ends the attestation of an agent.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn stop(&mut self, agent_id: &str) -> Result<Reply, TenantError> {
        self.send(Method::Put, &format!("{}/stop", agent(agent_id)), Body::Empty).await
    }

    /// Reads, writes or removes a named policy; without a name, lists the names.
    ///
    /// # Errors
    /// See [`VerifierClient::status`].
    pub async fn policy(
        &mut self,
        kind: PolicyKind,
        method: Method,
        name: Option<&str>,
        body: Body,
    ) -> Result<Reply, TenantError> {
        let path = format!("{}/{}", kind.collection(), escaped(name.unwrap_or_default()));
        self.send(method, &path, body).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Body) -> Result<Reply, TenantError> {
        Ok(self.open(method, path, body).await?.whole().await?)
    }

    async fn open(&mut self, method: Method, path: &str, body: Body) -> Result<OpenReply, TenantError> {
        let version = match self.version {
            Some(version) => version,
            None => {
                let url = self.address.url(Scheme::Https, "/version");
                let reply = self.http.send(Method::Get, &url, Body::Empty).await;
                *self.version.insert(version_negotiation::with_server("verifier", &reply)?)
            }
        };
        let url = self.address.url(Scheme::Https, &format!("/v{version}/{path}"));
        Ok(self.http.open(method, &url, body).await?)
    }
}

fn agent(agent_id: &str) -> String {
    format!("agents/{}", escaped(agent_id))
}
