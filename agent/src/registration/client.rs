//! The exchange with the registrar: version, registration, activation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::identity::credential_challenge::auth_tag;
use keylime_engine::ids::AgentId;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::registrar::Challenge;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api_version::ApiVersion;
use crate::configuration::device_identity_settings::DeviceIdentitySettings;
use crate::device_identity::{DeviceIdentityError, IdForm, prove};
use crate::registration::body::RegistrationBody;
use crate::registration::resilient_client::{RequestError, ResilientClient};
use crate::registration::version_choice::RegistrarVersions;
use crate::tpm::credential_blob::{CredentialBlob, InvalidCredentialBlob};
use crate::tpm::{TpmError, TpmHandle};

/// Why the agent is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The registrar did not answer.
    #[error("registrar at {url}: {source}")]
    Request {
        /// What was asked for.
        url: String,
        /// Why there is no answer.
        source: RequestError,
    },
    /// The registrar's answer is not the expected JSON.
    #[error("registrar at {url} sent an unexpected answer: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The id is taken by another TPM, or the registrar does not want this agent.
    #[error("Registration forbidden: {0}")]
    Forbidden(String),
    /// The registrar refused the registration.
    #[error("Failed to register agent: received {status} from {url}: {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        url: String,
        /// The start of the answer.
        body: String,
    },
    /// The registrar refused the solution of its challenge.
    #[error("Failed to activate agent: received {status} from {url}: {body}")]
    NotActivated {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        url: String,
        /// The start of the answer.
        body: String,
    },
    /// No version is enabled here and supported there.
    #[error("registrar supports none of the enabled api versions {0}")]
    Incompatible(String),
    /// A registrar without `/version` refused every version.
    #[error("None of the tried API versions were enabled: tried '{0}'")]
    NoneEnabled(String),
    /// The challenge is no base64.
    #[error("credential challenge is not base64")]
    ChallengeEncoding,
    /// The challenge is malformed.
    #[error("{0}")]
    Challenge(#[from] InvalidCredentialBlob),
    /// The device identity keys cannot be used.
    #[error("{0}")]
    DeviceIdentity(#[from] DeviceIdentityError),
    /// The TPM did not solve the challenge.
    #[error("{0}")]
    Tpm(#[from] TpmError),
}

/// Talks to one registrar.
#[derive(Debug, Clone)]
pub struct RegistrarClient {
    client: ResilientClient,
    base: String,
}

#[derive(Debug, Deserialize)]
struct VersionResults {
    current_version: String,
    supported_versions: Vec<String>,
}

impl RegistrarClient {
    /// A client for the registrar at `base`, a URL without path such as `http://127.0.0.1:8890`.
    #[must_use]
    pub fn new(client: ResilientClient, base: String) -> Self {
        Self { client, base }
    }

    /// Registers and activates, with device identity keys if there are settings for them; answers the API version that worked.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub async fn register(
        &self,
        id: &AgentId,
        body: &RegistrationBody,
        enabled: &[ApiVersion],
        tpm: &TpmHandle,
        device_identity: Option<&DeviceIdentitySettings>,
    ) -> Result<ApiVersion, RegistrationError> {
        let versions = self.versions().await?;
        let body = match device_identity {
            None => body.clone(),
            Some(settings) => {
                let members = prove(settings, tpm, id, id_form(&versions)).await?;
                body.clone().with_device_identity(members)
            }
        };
        let (version, challenge) = self.request_challenge(id, &body, enabled, &versions).await?;
        tracing::info!(target: "keylime.agent", "SUCCESS: Agent {id} registered");
        let tag = solve(tpm, id, &challenge).await?;
        self.activate(id, version, &tag).await?;
        tracing::info!(target: "keylime.agent", "SUCCESS: Agent {id} activated");
        Ok(version)
    }

    /// Asks which versions the registrar serves.
    ///
    /// # Errors
    /// No answer, or one that is not the expected JSON.
    pub async fn versions(&self) -> Result<RegistrarVersions, RegistrationError> {
        let url = format!("{}/version", self.base);
        let answer = self.send(Method::GET, &url, None).await?;
        if !answer.is_success() {
            return Ok(RegistrarVersions::Unknown);
        }
        let envelope: Envelope<VersionResults> = read(&url, &answer.body)?;
        let VersionResults { current_version, supported_versions } = envelope.results;
        Ok(RegistrarVersions::Known { current: current_version, supported: supported_versions })
    }

    async fn request_challenge(
        &self,
        id: &AgentId,
        body: &RegistrationBody,
        enabled: &[ApiVersion],
        versions: &RegistrarVersions,
    ) -> Result<(ApiVersion, Challenge), RegistrationError> {
        let candidates = versions.candidates(enabled);
        let body = serde_json::to_value(body)
            .map_err(|error| RegistrationError::Answer { url: self.base.clone(), reason: error.to_string() })?;
        let mut last = None;
        for &version in &candidates {
            let url = format!("{}/v{version}/agents/{id}", self.base);
            let answer = self.send(Method::POST, &url, Some(&body)).await?;
            if answer.status == 403 {
                return Err(RegistrationError::Forbidden(answer.excerpt()));
            }
            if answer.is_success() {
                let envelope: Envelope<Challenge> = read(&url, &answer.body)?;
                return Ok((version, envelope.results));
            }
            last = Some(RegistrationError::Refused { status: answer.status, body: answer.excerpt(), url });
        }
        match (last, versions) {
            (Some(refused), RegistrarVersions::Known { .. }) => Err(refused),
            (_, RegistrarVersions::Unknown) => Err(RegistrationError::NoneEnabled(joined(&candidates))),
            (None, RegistrarVersions::Known { .. }) => Err(RegistrationError::Incompatible(joined(enabled))),
        }
    }

    async fn activate(&self, id: &AgentId, version: ApiVersion, tag: &str) -> Result<(), RegistrationError> {
        let url = format!("{}/v{version}/agents/{id}", self.base);
        let answer = self.send(Method::PUT, &url, Some(&json!({ "auth_tag": tag }))).await?;
        if !answer.is_success() {
            return Err(RegistrationError::NotActivated { status: answer.status, body: answer.excerpt(), url });
        }
        let _: Envelope<Map<String, Value>> = read(&url, &answer.body)?;
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<crate::registration::resilient_client::Answer, RegistrationError> {
        self.client
            .send(method, url, body)
            .await
            .map_err(|source| RegistrationError::Request { url: url.to_owned(), source })
    }
}

fn read<T: for<'de> Deserialize<'de>>(url: &str, body: &[u8]) -> Result<T, RegistrationError> {
    serde_json::from_slice(body)
        .map_err(|error| RegistrationError::Answer { url: url.to_owned(), reason: error.to_string() })
}

/// Registrars that list version 2.6 know the hashed form; TPMs take it whatever the id is.
fn id_form(versions: &RegistrarVersions) -> IdForm {
    match versions {
        RegistrarVersions::Known { supported, .. } if supported.iter().any(|version| version == "2.6") => {
            IdForm::Hashed
        }
        RegistrarVersions::Known { .. } | RegistrarVersions::Unknown => IdForm::Plain,
    }
}

fn joined(versions: &[ApiVersion]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Lets the TPM open the challenge, frees the endorsement key's slot, and computes the proof.
async fn solve(tpm: &TpmHandle, id: &AgentId, challenge: &Challenge) -> Result<String, RegistrationError> {
    let blob = STANDARD.decode(challenge.blob.as_bytes()).map_err(|_| RegistrationError::ChallengeEncoding)?;
    let blob = CredentialBlob::parse(&blob)?;
    let secret = tpm
        .run(move |tpm| {
            let secret = tpm.activate_credential(&blob)?;
            tpm.release_endorsement_key()?;
            Ok(secret)
        })
        .await?;
    Ok(auth_tag(&secret, id))
}
