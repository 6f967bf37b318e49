//! `tls_dir = generate`: a server makes its authority and certificates on its first start (`ca.md` §5).

use super::{AlternativeNames, TlsPaths};
use crate::configuration::AuthorityConfiguration;
use keylime_pki::authority::{Authority, AuthorityError};

/// Why the files could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The options that name files contradict `generate`.
    #[error("To use tls_dir=generate, the following options must be set to 'default': [{}]", .0.join(", "))]
    NotDefault(Vec<&'static str>),
    /// The authority cannot be made or used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// What a server needs beside its server certificate.
#[derive(Debug, Clone, Copy)]
pub enum Generated<'a> {
    /// A server certificate only.
    Server,
    /// A client certificate, too, with this password for its key.
    ServerAndClient(Option<&'a str>),
}

/// Makes what is missing in the directory of `paths`.
///
/// # Errors
/// See [`GenerateError`].
pub fn generate(
    paths: &TlsPaths,
    authority: &AuthorityConfiguration,
    names: &AlternativeNames,
    server_key_password: Option<&str>,
    wanted: Generated<'_>,
) -> Result<(), GenerateError> {
    let directory = paths.directory();
    let shown = directory.display();
    let mut opened = if Authority::exists(directory) {
        tracing::info!(target: "keylime.web", "Existing CA certificate found in {shown}, not generating a new one");
        None
    } else {
        tracing::info!(target: "keylime.web", "Generating new CA, keys, and certificates in {shown}");
        tracing::info!(target: "keylime.web", "use keylime_ca -d {shown} to manage this CA");
        Some(Authority::init(directory, &authority.subject, &authority.password)?)
    };
    let present =
        |name: &str| ["-cert.crt", "-private.pem"].iter().all(|end| directory.join(format!("{name}{end}")).is_file());
    let mut issue = |name: &str, names: Option<&AlternativeNames>, password: Option<&str>| {
        let issuer = match opened.take() {
            Some(issuer) => issuer,
            None => Authority::open(directory, &authority.password)?.with_subject(authority.subject.clone()),
        };
        let (dns, ip) = names.map_or((&[][..], &[][..]), |names| (&names.dns[..], &names.ip[..]));
        let issuer = opened.insert(issuer);
        issuer.issue(name, dns, ip, password).map(drop)
    };
    if !present("server") {
        let ip: Vec<_> = names.ip.iter().map(ToString::to_string).collect();
        tracing::info!(
            target: "keylime.web",
            "Generating server certificate with SANs: DNS={}, IP={}",
            python_list(&names.dns),
            python_list(&ip)
        );
        issue("server", Some(names), server_key_password)?;
    }
    match wanted {
        Generated::ServerAndClient(password) if !present("client") => issue("client", None, password)?,
        Generated::ServerAndClient(_) | Generated::Server => {}
    }
    Ok(())
}

fn python_list(items: &[String]) -> String {
    let quoted: Vec<_> = items.iter().map(|item| format!("'{item}'")).collect();
    format!("[{}]", quoted.join(", "))
}
