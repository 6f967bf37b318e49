//! One run of the tenant: its options and the peers it talks to.

use keylime_engine::ids::AgentId;
use tracing::warn;

use crate::address::Address;
use crate::answer::Answer;
use crate::cli::{DEFAULT_AGENT_ID, Options, OutputForm};
use crate::client_tls::ClientTls;
use crate::error::TenantError;
use crate::http::HttpClient;
use crate::output::line;
use crate::registrar_client::RegistrarClient;
use crate::settings::Settings;
use crate::verifier_client::VerifierClient;

/// One run.
#[derive(Debug)]
pub struct Session {
    /// The command line.
    pub options: Options,
    /// The configuration.
    pub settings: Settings,
    /// TLS material.
    pub tls: ClientTls,
    /// The agent the command is about.
    pub agent_id: String,
    /// The verifier.
    pub verifier: VerifierClient,
    /// What the command learns, for `--json`.
    pub answer: Answer,
    registrar: RegistrarClient,
}

impl Session {
    /// Reads configuration and certificates; connects to nobody yet.
    ///
    /// # Errors
    /// The configuration, the certificates or the agent id cannot be used.
    pub fn open(options: Options) -> Result<Self, TenantError> {
        let settings = Settings::load()?;
        Self::with_settings(options, settings)
    }

    /// As [`Session::open`], with a configuration at hand.
    ///
    /// # Errors
    /// The certificates or the agent id cannot be used.
    pub fn with_settings(options: Options, settings: Settings) -> Result<Self, TenantError> {
        let tls = ClientTls::load(&settings.config)?;
        let http = HttpClient::new(tls.for_servers()?, settings.request_timeout)?;
        let agent_id = agent_id(&options)?;
        let address = |ip: &str, port: &str, configured: &Address| {
            Address::new(options.value(ip).unwrap_or(&configured.host), options.value(port).unwrap_or(&configured.port))
        };
        let verifier = address("verifier_ip", "verifier_port", &settings.verifier);
        let registrar = address("registrar_ip", "registrar_port", &settings.registrar);
        Ok(Self {
            verifier: VerifierClient::new(http.clone(), verifier, None),
            registrar: RegistrarClient::new(http, registrar),
            answer: Answer::default(),
            options,
            settings,
            tls,
            agent_id,
        })
    }

    /// The registrar.
    ///
    /// # Errors
    /// The tenant has no certificate, or the registrar's address is not complete.
    pub fn registrar(&mut self) -> Result<&mut RegistrarClient, TenantError> {
        let address = self.registrar.address();
        if address.host.is_empty() || address.port.is_empty() {
            return Err(TenantError::refused(
                "registrar_ip and registrar_port have both to be set in the configuration",
            ));
        }
        if !self.tls.has_identity() {
            return Err(TenantError::refused(
                "It is unsafe to use this interface to query AIKs without server-authenticated TLS.",
            ));
        }
        Ok(&mut self.registrar)
    }

    /// Writes a line of results to standard output, unless one JSON document is to be there.
    pub fn print(&self, text: &str) {
        if self.options.form() == OutputForm::Lines {
            line(text);
        }
    }

    /// How the agent is called in messages when its address plays no part.
    #[must_use]
    pub fn agent_name(&self) -> String {
        format!("Agent {}", self.agent_id)
    }
}

fn agent_id(options: &Options) -> Result<String, TenantError> {
    let Some(id) = options.value("agent_uuid") else {
        warn!(target: "keylime.tenant", "Using default UUID {DEFAULT_AGENT_ID}");
        return Ok(DEFAULT_AGENT_ID.to_owned());
    };
    AgentId::parse(id)
        .map_err(|_| TenantError::refused("The agent ID set via agent uuid parameter use invalid characters"))?;
    Ok(id.to_owned())
}
