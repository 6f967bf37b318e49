//! The checks of an agent's endorsement key that need files and programs: the certificate store and the operator's
//! script. What a certificate has to satisfy is decided in the engine.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_engine::identity::certificate_store::CertificateStore;
use keylime_engine::identity::endorsement;
use keylime_engine::tpm::public_area::PublicArea;
use keylime_schema::wire::python_json::{self, Layout};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::registrar_client::Registration;
use crate::settings::{EkCertificateRequirement, EndorsementSettings};

/// Largest file of the store and most output of the script that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Most files of the store that are read.
const MAX_FILES: usize = 10_000;

/// What the checks came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endorsement {
    /// Every configured check was passed.
    Accepted,
    /// A check was not passed; the reason is logged.
    Refused,
}

/// Checks the endorsement key of an agent, which is called `agent` in messages, as the options ask for.
#[must_use]
pub fn check(agent: &str, agent_id: &str, registration: &Registration, settings: &EndorsementSettings) -> Endorsement {
    if settings.requirement == EkCertificateRequirement::NotRequired && settings.check_script.is_none() {
        warn!(
            target: "keylime.tenant",
            "DANGER: EK cert checking is disabled and no additional checks on EKs have been specified with \
             ek_check_script option for {agent}. Keylime is not secure!!"
        );
        return Endorsement::Accepted;
    }
    if settings.requirement == EkCertificateRequirement::Required
        && check_certificates(registration, &settings.store) == Endorsement::Refused
    {
        warn!(target: "keylime.tenant", "Invalid EK certificate for {agent}");
        return Endorsement::Refused;
    }
    match &settings.check_script {
        None => Endorsement::Accepted,
        Some(script) => {
            info!(target: "keylime.tenant", "Checking EK for {agent} with script {}", script.display());
            run_script(script, agent_id, registration, settings)
        }
    }
}

/// Checks the agent's certificate, and that of its host if the TPM is virtual.
fn check_certificates(registration: &Registration, directory: &Path) -> Endorsement {
    let store = match read_store(directory) {
        Ok(store) => store,
        Err(problem) => {
            error!(target: "keylime.cert_utils", "Cannot read the certificate store {}: {problem}", directory.display());
            return Endorsement::Refused;
        }
    };
    let host = registration.provider_keys().map(|keys| keys.get("ekcert").and_then(Value::as_str));
    for certificate in [Some(registration.text("ekcert")), host].into_iter().flatten() {
        if let Err(refusal) = endorsement::check_certificate(certificate, &store) {
            error!(target: "keylime.cert_utils", "{refusal}");
            return Endorsement::Refused;
        }
    }
    Endorsement::Accepted
}

/// Reads the `*.pem` files of the store. A file without a readable certificate is skipped; one that cannot be read at all
/// makes the store unusable, because it may be the one that matters.
fn read_store(directory: &Path) -> io::Result<CertificateStore> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || !name.ends_with(".pem") || path.is_dir() {
            continue;
        }
        if texts.len() == MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files")));
        }
        let mut text = String::new();
        fs::File::open(&path)?.take(MAX_BYTES).read_to_string(&mut text)?;
        texts.push((name, text));
    }
    texts.sort();
    let (store, skipped) =
        CertificateStore::from_pem_files(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    for file in skipped {
        warn!(target: "keylime.cert_utils", "Skipping {} of the certificate store: {}", file.name, file.reason);
    }
    Ok(store)
}

/// Runs the operator's script with the key and its certificate in the environment; exit status 0 accepts.
fn run_script(
    script: &Path,
    agent_id: &str,
    registration: &Registration,
    settings: &EndorsementSettings,
) -> Endorsement {
    match script_output(script, agent_id, registration, settings) {
        Ok((true, output)) => {
            info!(target: "keylime.cert_utils", "ek_check output: {output}");
            Endorsement::Accepted
        }
        Ok((false, output)) => {
            error!(target: "keylime.cert_utils", "External check script failed to validate EK: {output}");
            Endorsement::Refused
        }
        Err(problem) => {
            error!(target: "keylime.cert_utils", "External check script failed to validate EK: {problem}");
            Endorsement::Refused
        }
    }
}

fn script_output(
    script: &Path,
    agent_id: &str,
    registration: &Registration,
    settings: &EndorsementSettings,
) -> io::Result<(bool, String)> {
    let ek_tpm = registration.text("ek_tpm").unwrap_or_default();
    let ek_pem = PublicArea::from_base64(ek_tpm)
        .map_err(|error| io::Error::other(error.to_string()))
        .and_then(|area| area.key().to_spki_pem().map_err(|error| io::Error::other(error.to_string())))?;
    let certificate = registration.text("ekcert").unwrap_or_default();
    // Certificates the registrar got as PEM are DER here, whatever the client sent.
    let certificate = STANDARD.decode(certificate).map_or(String::new(), |der| STANDARD.encode(der));
    let provider_keys = registration.provider_keys().cloned().unwrap_or_else(|| json!({}));
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(script);
    command
        .current_dir(&settings.work_dir)
        .env("AGENT_UUID", agent_id)
        .env("EK", ek_pem)
        .env("EK_TPM", ek_tpm)
        .env("EK_CERT", certificate)
        .env("PROVKEYS", python_json::to_string(&provider_keys, Layout::Compact).map_err(io::Error::other)?)
        .env("TPM_CERT_STORE", &settings.store)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the writing ends; without this the pipe would never end.
    drop(command);
    let mut output = Vec::new();
    reader.take(MAX_BYTES).read_to_end(&mut output)?;
    Ok((child.wait()?.success(), String::from_utf8_lossy(&output).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    const EK_TPM: &str = "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAxAoQGeRIPpX8036wPA7q36/tYxqm2dCloBvefJWuTdeB20VwXVCJB7KiKq6/IylazVrJ4qNGVo6lsHTPmQMz0TNRTpMEJMGY5lNSAZdht1XjAMa7G1erSU/SPuD7lhfsJjJ/JcGkYg4o3nzJ/3BBQyapf2dkFRRTAraBYQP3a9l19CjsNrgojyqvBEsj08TjJ1avNHoYB5GQAp5mjMU+Lw4ec/1riBeHKWUb0bXjg7iCCm4PlwyJwO+s1ZdEZETDJBZdvpfmM5PIaAIjupK8I6n/0EdMrvBqvxw5ocyVko9h0GSh5YnvGE2QWLf3kOa20703FbH2GRR6mai/qfEvew==";

    fn registration(ekcert: Value) -> Registration {
        let members =
            json!({"aik_tpm": "", "regcount": 1, "ek_tpm": EK_TPM, "ip": null, "port": null, "ekcert": ekcert});
        Registration::from_members(members.as_object().unwrap().clone()).unwrap()
    }

    fn settings(
        requirement: EkCertificateRequirement,
        check_script: Option<PathBuf>,
        store: &Path,
    ) -> EndorsementSettings {
        EndorsementSettings { requirement, check_script, store: store.to_owned(), work_dir: std::env::temp_dir() }
    }

    fn script(directory: &Path, body: &str) -> PathBuf {
        let path = directory.join(format!("check{}.sh", body.len()));
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_store_vouches_for_its_own_leaves_only() {
        let directory = tempfile::tempdir().unwrap();
        let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let (ca_key, leaf_key) = (key(), key());
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::from_params(&params, ca_key);
        let leaf = rcgen::CertificateParams::default().signed_by(&leaf_key, &issuer).unwrap();
        let registered = registration(Value::from(STANDARD.encode(leaf.der())));
        let required = settings(EkCertificateRequirement::Required, None, directory.path());

        assert_eq!(check("a", "id", &registered, &required), Endorsement::Refused);
        fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        fs::write(directory.path().join("broken.pem"), "nothing").unwrap();
        assert_eq!(check("a", "id", &registered, &required), Endorsement::Accepted);
        assert_eq!(check("a", "id", &registration(Value::Null), &required), Endorsement::Refused);
        fs::write(directory.path().join("binary.pem"), [0xff, 0xfe]).unwrap();
        assert_eq!(check("a", "id", &registered, &required), Endorsement::Refused);
        let nowhere = settings(EkCertificateRequirement::Required, None, Path::new("/nonexistent"));
        assert_eq!(check("a", "id", &registered, &nowhere), Endorsement::Refused);
    }

    #[test]
    fn a_script_sees_the_key_and_decides() {
        let directory = tempfile::tempdir().unwrap();
        let registered = registration(Value::Null);
        let good = "test \"$AGENT_UUID\" = id && test \"$EK_TPM\" && test \"$PROVKEYS\" = '{}' && test -z \"$EK_CERT\" \
                    && echo \"$EK\" | grep -q 'BEGIN PUBLIC KEY' && test \"$TPM_CERT_STORE\" && test $# = 0";
        for (body, expected) in [(good, Endorsement::Accepted), ("echo no >&2; exit 3", Endorsement::Refused)] {
            let path = script(directory.path(), body);
            let settings = settings(EkCertificateRequirement::NotRequired, Some(path), directory.path());
            assert_eq!(check("a", "id", &registered, &settings), expected, "{body}");
        }
        let missing = Some(directory.path().join("missing"));
        let settings = settings(EkCertificateRequirement::NotRequired, missing, directory.path());
        assert_eq!(check("a", "id", &registered, &settings), Endorsement::Refused);
    }

    #[test]
    fn without_any_check_the_operator_is_warned_and_obeyed() {
        let settings = settings(EkCertificateRequirement::NotRequired, None, Path::new("/nonexistent"));
        assert_eq!(check("a", "id", &registration(Value::Null), &settings), Endorsement::Accepted);
    }
}
