//! The tenant's certificate and the authorities it trusts (`tenant-cli.md` §3.2).

use std::path::{Path, PathBuf};

use keylime_pki::tls::{self, Identity, ServerTrust, TlsError};
use keylime_settings::{Config, ConfigError, expanded, work_dir};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tracing::{info, warn};

const SECTION: &str = "tenant";

/// Why no TLS rules come out of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// An option cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `tls_dir` is empty.
    #[error("The 'tls_dir' option is not set for 'tenant'")]
    NoDirectory,
    /// `tls_dir = generate` is for servers.
    #[error("The tls_dir=generate option is not supported for 'tenant'")]
    Generate,
    /// `trusted_server_ca` is empty.
    #[error("Peer certificate verification is enabled, but no CA certificate was provided")]
    NoAuthority,
    /// A file or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate an agent registered is no certificate.
    #[error("the certificate the agent registered cannot be read")]
    AgentCertificate,
}

/// The tenant's TLS material.
#[derive(Debug, Clone)]
pub struct ClientTls {
    identity: Option<Identity>,
    trust: ServerTrust,
}

impl ClientTls {
    /// Reads the files the options name.
    ///
    /// A missing certificate or key leaves the tenant without identity: it can list nothing then, and says so.
    ///
    /// # Errors
    /// See [`ClientTlsError`].
    pub fn load(config: &Config) -> Result<Self, ClientTlsError> {
        info!(target: "keylime.tenant", "Setting up client TLS...");
        let directory = match config.place(SECTION, "tls_dir").as_deref().unwrap_or("default") {
            "" => return Err(ClientTlsError::NoDirectory),
            "generate" => return Err(ClientTlsError::Generate),
            "default" => work_dir().join("cv_ca"),
            other => work_dir().join(other),
        };
        let certificate = file(config, &directory, "client_cert", "client-cert.crt");
        let key = file(config, &directory, "client_key", "client-private.pem");
        let password = config.get(SECTION, "client_key_password").filter(|password| !password.is_empty());
        if password.is_none() {
            info!(
                target: "keylime.tenant",
                "No value provided in client_key_password option for tenant, assuming the key is unencrypted"
            );
        }
        let trust = trust(config, &directory)?;
        let missing =
            [("client_cert", &certificate), ("client_key", &key)].into_iter().find(|(_, path)| !path.is_file());
        if let Some((option, path)) = missing {
            warn!(target: "keylime.tenant", "Could not find file {} provided in '{option}'", path.display());
            warn!(target: "keylime.tenant", "TLS is disabled.");
            return Ok(Self { identity: None, trust });
        }
        let identity = tls::load_identity(&certificate, &key, password.as_deref())?;
        info!(target: "keylime.tenant", "TLS is enabled.");
        Ok(Self { identity: Some(identity), trust })
    }

    /// Whether the tenant has a certificate to present.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The rules for registrar and verifier.
    ///
    /// # Errors
    /// [`ClientTlsError::Tls`].
    pub fn for_servers(&self) -> Result<ClientConfig, ClientTlsError> {
        Ok(tls::client(self.identity.clone(), self.trust.clone())?)
    }

    /// The rules for an agent, which is trusted with exactly the certificate it registered.
    ///
    /// # Errors
    /// [`ClientTlsError::AgentCertificate`] or [`ClientTlsError::Tls`].
    pub fn for_agent(&self, registered_pem: &str) -> Result<ClientConfig, ClientTlsError> {
        let exact = CertificateDer::from_pem_slice(registered_pem.as_bytes());
        let exact = exact.map_err(|_| ClientTlsError::AgentCertificate)?;
        let trust = match &self.trust {
            ServerTrust::Authorities(authorities)
            | ServerTrust::AuthoritiesAndName(authorities)
            | ServerTrust::AuthoritiesOrExact { authorities, .. } => {
                ServerTrust::AuthoritiesOrExact { authorities: authorities.clone(), exact }
            }
            ServerTrust::All => ServerTrust::All,
        };
        Ok(tls::client(self.identity.clone(), trust)?)
    }
}

fn file(config: &Config, directory: &Path, option: &str, default: &str) -> PathBuf {
    match config.place(SECTION, option).as_deref() {
        None | Some("default") => {
            info!(target: "keylime.tenant", "Using default {option} option for tenant");
            directory.join(default)
        }
        Some(name) => directory.join(name),
    }
}

/// `default` is the verifier's authority wherever `tls_dir` is; otherwise a list of files relative to `tls_dir`.
fn trust(config: &Config, directory: &Path) -> Result<ServerTrust, ClientTlsError> {
    let paths = match config.place(SECTION, "trusted_server_ca").as_deref().unwrap_or("default") {
        "all" => {
            warn!(
                target: "keylime.tenant",
                "'all' is set in trusted_server_ca: certificates of servers are not verified, anyone can impersonate them"
            );
            return Ok(ServerTrust::All);
        }
        "default" => vec![work_dir().join("cv_ca").join("cacert.crt")],
        "" => Vec::new(),
        _ => {
            let names = config.string_list(SECTION, "trusted_server_ca", &[])?;
            names.iter().map(|name| directory.join(expanded(name))).collect()
        }
    };
    if paths.is_empty() {
        warn!(target: "keylime.tenant", "No value provided in trusted_server_ca option for tenant");
        return Err(ClientTlsError::NoAuthority);
    }
    let mut authorities = Vec::new();
    for path in paths {
        authorities.extend(tls::load_certificates(&path)?);
    }
    Ok(ServerTrust::Authorities(authorities))
}

#[cfg(test)]
mod tests {
    use keylime_pki::authority::{Authority, Subject};
    use keylime_settings::Component;

    use super::*;

    fn load(directory: &Path, options: &str) -> Result<ClientTls, ClientTlsError> {
        let text = format!("[tenant]\ntls_dir = {}\n{options}", directory.display());
        ClientTls::load(&Config::from_parts(Component::Tenant, &text, &[]).unwrap())
    }

    #[test]
    fn reads_identity_and_authorities_from_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = Authority::init(directory.path(), &Subject::default(), "pw").unwrap();
        authority.issue("client", &[], &[], Some("secret")).unwrap();
        let list = "trusted_server_ca = ['cacert.crt']\n";
        let tls = load(directory.path(), &format!("{list}client_key_password = secret\n")).unwrap();
        assert!(tls.has_identity());
        assert!(tls.for_servers().is_ok());
        assert!(matches!(tls.for_agent("none"), Err(ClientTlsError::AgentCertificate)));
        assert!(matches!(load(directory.path(), list), Err(ClientTlsError::Tls(TlsError::PrivateKey { .. }))));
        // As the documentation prints it (2.2.6), with a comment as in 2.2.11.
        let printed = "trusted_server_ca = [cacert.crt]\nclient_cert = default # client-cert.crt\n";
        let printed = load(directory.path(), &format!("{printed}client_key_password = secret\n")).unwrap();
        assert!(printed.has_identity());
        let without = load(directory.path(), &format!("{list}client_cert = other.crt\n")).unwrap();
        assert!(!without.has_identity());
    }

    #[test]
    fn refuses_settings_that_mean_nothing_here() {
        let directory = tempfile::tempdir().unwrap();
        let empty = load(directory.path(), "trusted_server_ca =\n");
        assert!(matches!(empty, Err(ClientTlsError::NoAuthority)));
        assert!(matches!(load(Path::new("generate"), ""), Err(ClientTlsError::Generate)));
        assert!(matches!(load(Path::new(""), ""), Err(ClientTlsError::NoDirectory)));
        assert!(load(directory.path(), "trusted_server_ca = all\n").is_ok());
    }
}
