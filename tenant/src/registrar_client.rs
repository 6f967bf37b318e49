//! Requests to the registrar.

use serde_json::Value;
use tracing::{error, warn};

use crate::address::{Address, Scheme, escaped};
use crate::error::TenantError;
use crate::http::{Body, HttpClient, HttpError, Method, Reply};
use crate::output::printable;
use crate::version_negotiation;

const NEEDED_MEMBERS: [&str; 5] = ["aik_tpm", "regcount", "ek_tpm", "ip", "port"];

/// What the registrar knows about an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    members: serde_json::Map<String, Value>,
}

impl Registration {
    /// Takes the members of an answer if all that are needed are there; otherwise names the first that is not.
    ///
    /// # Errors
    /// The name of the missing member.
    pub fn from_members(members: serde_json::Map<String, Value>) -> Result<Self, &'static str> {
        match NEEDED_MEMBERS.into_iter().find(|member| !members.contains_key(*member)) {
            Some(missing) => Err(missing),
            None => Ok(Self { members }),
        }
    }

    /// A text member; null and other types are `None`.
    #[must_use]
    pub fn text(&self, member: &str) -> Option<&str> {
        self.members.get(member).and_then(Value::as_str)
    }

    /// A member as it came, null if absent.
    #[must_use]
    pub fn member(&self, member: &str) -> Value {
        self.members.get(member).cloned().unwrap_or(Value::Null)
    }

    /// How often the agent registered.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.members.get("regcount").and_then(Value::as_i64).unwrap_or(0)
    }

    /// The virtual TPM's provider keys, if there are any.
    #[must_use]
    pub fn provider_keys(&self) -> Option<&Value> {
        self.members.get("provider_keys").filter(|keys| !keys.is_null())
    }
}

/// A registrar.
#[derive(Debug, Clone)]
pub struct RegistrarClient {
    http: HttpClient,
    address: Address,
    version: Option<keylime_schema::wire::api_version::ApiVersion>,
}

impl RegistrarClient {
    /// A client of the registrar at an address.
    #[must_use]
    pub fn new(http: HttpClient, address: Address) -> Self {
        Self { http, address, version: None }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the registrar knows about an agent; `None`, with the reason logged, if that is not enough to go on.
    ///
    /// # Errors
    /// Registrar and tenant have no API version in common.
    pub async fn registration(&mut self, agent_id: &str) -> Result<Option<Registration>, TenantError> {
        let reply = match self.send(Method::Get, &format!("agents/{}", escaped(agent_id))).await? {
            Ok(reply) => reply,
            Err(error) => {
                critical(&format!("Error: could not get agent {agent_id} data from Registrar Server: {error}"));
                return Ok(None);
            }
        };
        if reply.status != 200 {
            critical(&format!("Error: could not get agent {agent_id} data from Registrar Server: {}", reply.status));
            critical(&format!("Response code {}: {}", reply.status, printable(&reply.status_text())));
            return Ok(None);
        }
        let Some(Value::Object(members)) = reply.results() else {
            critical("Error: unexpected http response body from Registrar Server: no results");
            return Ok(None);
        };
        match Registration::from_members(members) {
            Ok(registration) => Ok(Some(registration)),
            Err(missing) => {
                critical(&format!("Error: did not receive {missing} from Registrar Server."));
                Ok(None)
            }
        }
    }

    /// The ids of all registered agents: the whole answer.
    ///
    /// # Errors
    /// The registrar cannot be reached, or answers with something else.
    pub async fn list(&mut self) -> Result<Value, TenantError> {
        let reply = self.send(Method::Get, "agents/").await??;
        if reply.status != 200 {
            return Err(TenantError::refused(format!(
                "Status command response: {} Unexpected response from registrar.",
                reply.status
            )));
        }
        reply.json().ok_or(TenantError::Malformed { peer: "registrar" })
    }

    /// Forgets an agent. A registrar that refuses is reported and is no error.
    ///
    /// # Errors
    /// The registrar cannot be reached.
    pub async fn delete(&mut self, agent_id: &str) -> Result<(), TenantError> {
        let reply = self.send(Method::Delete, &format!("agents/{}", escaped(agent_id))).await??;
        if reply.status == 200 {
            tracing::debug!(target: "keylime.registrar_client", "Registrar deleted.");
            return Ok(());
        }
        warn!(
            target: "keylime.registrar_client",
            "Status command response: {} Unexpected response from registrar.", reply.status
        );
        warn!(
            target: "keylime.registrar_client",
            "Response code {}: {}", reply.status, printable(&reply.status_text())
        );
        Ok(())
    }

    async fn send(&mut self, method: Method, path: &str) -> Result<Result<Reply, HttpError>, TenantError> {
        let version = match self.version {
            Some(version) => version,
            None => {
                let url = self.address.url(Scheme::Https, "/version");
                let reply = self.http.send(Method::Get, &url, Body::Empty).await;
                *self.version.insert(version_negotiation::with_server("registrar", &reply)?)
            }
        };
        let url = self.address.url(Scheme::Https, &format!("/v{version}/{path}"));
        Ok(self.http.send(method, &url, Body::Empty).await)
    }
}

fn critical(message: &str) {
    error!(target: "keylime.registrar_client", critical = true, "{message}");
}
