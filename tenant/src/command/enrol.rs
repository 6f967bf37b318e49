//! `add` and `update`.

use std::path::PathBuf;

use keylime_engine::nonce;
use tempfile::NamedTempFile;
use tracing::warn;

use crate::cli::Options;
use crate::download::Downloader;
use crate::enrollment::Enrollment;
use crate::enrollment_actor;
use crate::enrollment_effects::EnrollmentEffects;
use crate::enrollment_step::{Plan, Purpose};
use crate::error::TenantError;
use crate::policies::PolicySources;
use crate::session::Session;
use crate::settings::Settings;
use crate::verification_keys::SignedKey;

/// Length of nonces and challenges.
const CHALLENGE_CHARACTERS: usize = 20;
/// Most verification keys on one command line.
const MAX_KEYS: usize = 1000;

pub(super) async fn enrol(session: Session, purpose: Purpose) -> Result<(), TenantError> {
    let (sources, files) = sources(&session.options, &session.settings).await?;
    let plan = plan(&session, purpose)?;
    let effects = EnrollmentEffects::new(session, sources, files);
    enrollment_actor::enrol(Enrollment::new(plan), effects).await
}

fn plan(session: &Session, purpose: Purpose) -> Result<Plan, TenantError> {
    let options = &session.options;
    let option = |name: &str| options.value(name).map(str::to_owned);
    if options.value("supported_version").is_some() {
        warn!(
            target: "keylime.tenant",
            "--supported-version is deprecated. Use --agent-api-version instead."
        );
    }
    Ok(Plan {
        agent_id: session.agent_id.clone(),
        purpose,
        model: options.model(),
        derivation: options.derivation_check(),
        given_ip: option("agent_ip"),
        given_port: option("agent_port"),
        verifier_side_ip: option("cv_agent_ip"),
        forced_version: option("agent_api_version").or_else(|| option("supported_version")),
        agent_mtls: session.settings.agent_mtls,
        accepted: session.settings.accepted.clone(),
        retry: session.settings.retry,
        nonce: random_text()?,
        challenge: random_text()?,
    })
}

/// Random letters and digits.
fn random_text() -> Result<String, TenantError> {
    let mut entropy = [0; 3 * CHALLENGE_CHARACTERS];
    aws_lc_rs::rand::fill(&mut entropy).map_err(|_| TenantError::refused("random generator failed"))?;
    nonce::alphanumeric(CHALLENGE_CHARACTERS, &entropy).map_err(|error| TenantError::refused(error.to_string()))
}

/// Where the policies are, after fetching those that have an address; the files fetched live as long as the second value.
pub(super) async fn sources(
    options: &Options,
    settings: &Settings,
) -> Result<(PolicySources, Vec<NamedTempFile>), TenantError> {
    let downloader = Downloader::new(settings.request_timeout)?;
    let mut files = Vec::new();
    let path = |name: &str| options.value(name).map(PathBuf::from);
    let option = |name: &str| options.value(name).map(str::to_owned);
    let mut sources = PolicySources {
        tpm_policy: option("tpm_policy"),
        allowlist: path("allowlist"),
        exclude: path("ima_exclude"),
        allowlist_name: option("allowlist_name"),
        runtime_policy: path("runtime_policy"),
        checksum: option("runtime_policy_checksum"),
        signing_key: path("runtime_policy_sig_key"),
        runtime_policy_name: option("runtime_policy_name"),
        mb_policy: option("mb_policy"),
        mb_policy_name: option("mb_policy_name"),
        default_mb_policy: settings.mb_refstate.clone(),
        verification_keys: local_keys(options)?,
    };
    for (name, kind, target) in [
        ("runtime_policy_url", "IMA policy", &mut sources.runtime_policy),
        ("allowlist_url", "allowlist", &mut sources.allowlist),
    ] {
        if let Some(url) = options.value(name) {
            let file = downloader.fetch(kind, url).await?;
            *target = Some(file.path().to_owned());
            files.push(file);
        }
    }
    let urls = options.values("ima_sign_verification_key_urls");
    let signatures = options.values("ima_sign_verification_key_sig_urls");
    let signers = options.values("ima_sign_verification_key_sig_url_keys");
    if urls.len() > MAX_KEYS {
        return Err(TenantError::refused(format!("more than {MAX_KEYS} verification keys")));
    }
    for (at, url) in urls.iter().enumerate() {
        let key = downloader.fetch("key", url).await?;
        let signature = match signatures.get(at) {
            None => None,
            Some(url) => {
                let file = downloader.fetch("key signature", url).await?;
                let signature = (file.path().to_owned(), url.clone());
                files.push(file);
                Some(signature)
            }
        };
        sources.verification_keys.push(SignedKey {
            path: key.path().to_owned(),
            name: url.clone(),
            signature,
            signer: signers.get(at).cloned(),
        });
        files.push(key);
    }
    Ok((sources, files))
}

fn local_keys(options: &Options) -> Result<Vec<SignedKey>, TenantError> {
    let keys = options.values("ima_sign_verification_keys");
    let signatures = options.values("ima_sign_verification_key_sigs");
    let signers = options.values("ima_sign_verification_key_sig_keys");
    if keys.len() > MAX_KEYS {
        return Err(TenantError::refused(format!("more than {MAX_KEYS} verification keys")));
    }
    let signed = |(at, path): (usize, &String)| SignedKey {
        path: PathBuf::from(path),
        name: path.clone(),
        signature: signatures.get(at).map(|signature| (PathBuf::from(signature), signature.clone())),
        signer: signers.get(at).cloned(),
    };
    Ok(keys.iter().enumerate().map(signed).collect())
}
