//! Requests to an agent that is being enrolled by pull.

use crate::address::{Address, Scheme, escaped};
use crate::http::{Body, HttpClient, HttpError, Method, Reply};

/// An agent.
#[derive(Debug, Clone)]
pub struct AgentClient {
    http: HttpClient,
    scheme: Scheme,
}

impl AgentClient {
    /// A client of an agent.
    #[must_use]
    pub fn new(http: HttpClient, scheme: Scheme) -> Self {
        Self { http, scheme }
    }

    /// The API versions it speaks.
    ///
    /// # Errors
    /// The agent cannot be reached; so for all requests here.
    pub async fn versions(&self, address: &Address) -> Result<Reply, HttpError> {
        self.http.send(Method::Get, &address.url(self.scheme, "/version"), Body::Empty).await
    }

    /// An identity quote over a nonce.
    ///
    /// # Errors
    /// See [`AgentClient::versions`].
    pub async fn identity_quote(&self, address: &Address, version: &str, nonce: &str) -> Result<Reply, HttpError> {
        let path = format!("/v{version}/quotes/identity?nonce={}", escaped(nonce));
        self.http.send(Method::Get, &address.url(self.scheme, &path), Body::Empty).await
    }

    /// Delivers the tenant's share of the payload key, and the payload.
    ///
    /// # Errors
    /// See [`AgentClient::versions`].
    pub async fn deliver_share(&self, address: &Address, version: &str, body: String) -> Result<Reply, HttpError> {
        let url = address.url(self.scheme, &format!("/v{version}/keys/ukey"));
        self.http.send(Method::Post, &url, Body::Json(body)).await
    }

    /// The agent's proof that it has derived the payload key.
    ///
    /// # Errors
    /// See [`AgentClient::versions`].
    pub async fn derivation(&self, address: &Address, version: &str, challenge: &str) -> Result<Reply, HttpError> {
        let path = format!("/v{version}/keys/verify?challenge={}", escaped(challenge));
        self.http.send(Method::Get, &address.url(self.scheme, &path), Body::Empty).await
    }
}
