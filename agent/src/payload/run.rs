//! What happens with one payload, step by step.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use keylime_pki::payload_cipher;

use crate::configuration::settings::PayloadSettings;
use crate::key_derivation::{Derived, SymmetricKey};
use crate::payload::PayloadError;
use crate::payload::unpack::unpack;

/// Directory below the secure mount that holds the payload.
pub const UNZIPPED: &str = "unzipped";
/// File of the payload that lists its revocation actions.
pub const ACTION_LIST: &str = "action_list";

/// Decrypts a payload.
///
/// # Errors
/// The key does not open it.
pub fn decrypt(derived: &Derived) -> Result<Vec<u8>, PayloadError> {
    let sealed = derived.payload.as_deref().unwrap_or_default();
    Ok(payload_cipher::open(derived.key.as_bytes(), sealed.as_bytes())?)
}

/// Writes and unpacks a decrypted payload; answers the script to run, if the payload has it.
///
/// # Errors
/// See [`PayloadError`].
pub fn lay_out(
    secure: &Path,
    settings: &PayloadSettings,
    key: &SymmetricKey,
    plaintext: &[u8],
) -> Result<Option<PathBuf>, PayloadError> {
    for (option, name) in [("enc_keyname", &settings.enc_keyname), ("dec_payload_file", &settings.dec_payload_file)] {
        if name.is_empty() {
            return Err(PayloadError::NoName(option));
        }
    }
    let directory = secure.join(UNZIPPED);
    recreate(&directory)?;
    write(&directory.join(&settings.enc_keyname), key.as_bytes())?;
    write(&directory.join(&settings.dec_payload_file), plaintext)?;
    if settings.extract_payload_zip {
        unpack(plaintext, &directory)?;
    }
    make_actions_executable(&directory)?;
    let script = directory.join(&settings.payload_script);
    if settings.payload_script.is_empty() || !script.is_file() {
        return Ok(None);
    }
    make_executable(&script)?;
    Ok(Some(script))
}

/// Runs the script in its directory and waits for its end, whatever its exit status is.
///
/// # Errors
/// No shell could be started.
pub async fn run_script(script: &Path) -> Result<(), PayloadError> {
    let directory = script.parent().unwrap_or(Path::new("/"));
    tracing::info!(target: "keylime.agent", script = %script.display(), "running payload script");
    let status = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .current_dir(directory)
        .status()
        .await
        .map_err(PayloadError::io("run", script))?;
    if status.success() {
        tracing::info!(target: "keylime.agent", "payload script finished");
    } else {
        tracing::warn!(target: "keylime.agent", %status, "payload script failed");
    }
    Ok(())
}

fn recreate(directory: &Path) -> Result<(), PayloadError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(PayloadError::io("remove", directory)(error));
        }
        Ok(()) | Err(_) => {}
    }
    fs::DirBuilder::new().mode(0o700).create(directory).map_err(PayloadError::io("make", directory))
}

fn write(path: &Path, content: &[u8]) -> Result<(), PayloadError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(PayloadError::io("write", path))
}

/// The reference looks at the list line by line here, but item by item when it runs the actions; both are served.
fn make_actions_executable(directory: &Path) -> Result<(), PayloadError> {
    let list = directory.join(ACTION_LIST);
    if !list.is_file() {
        return Ok(());
    }
    let text = fs::read_to_string(&list).map_err(PayloadError::io("read", &list))?;
    let names = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty());
    for name in names.filter(|name| !name.contains('/')) {
        for file in [directory.join(name), directory.join(format!("{name}.py"))] {
            if file.is_file() {
                make_executable(&file)?;
            }
        }
    }
    Ok(())
}

fn make_executable(path: &Path) -> Result<(), PayloadError> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(PayloadError::io("make executable", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    fn settings() -> PayloadSettings {
        PayloadSettings {
            secure_size: "1m".to_owned(),
            enc_keyname: "derived_tci_key".to_owned(),
            dec_payload_file: "decrypted_payload".to_owned(),
            extract_payload_zip: true,
            payload_script: "autorun.sh".to_owned(),
            enable_insecure_payload: false,
            measured_pcr: None,
        }
    }

    fn captured() -> (serde_json::Value, Derived) {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../tests/data/payload.json")).unwrap();
        let captured = vectors["captured"].clone();
        let payload = captured["ukey_request"]["payload"].as_str().unwrap();
        let derived = Derived {
            key: SymmetricKey::new(hex::decode(captured["k_hex"].as_str().unwrap()).unwrap()).unwrap(),
            payload: Some(payload.to_owned()),
        };
        (captured, derived)
    }

    #[test]
    fn a_captured_payload_is_laid_out() {
        let (captured, derived) = captured();
        let secure = tempfile::tempdir().unwrap();
        let plaintext = decrypt(&derived).unwrap();
        lay_out(secure.path(), &settings(), &derived.key, &plaintext).unwrap();
        let directory = secure.path().join(UNZIPPED);
        for entry in captured["zip_entries"].as_array().unwrap() {
            let name = entry.as_str().or_else(|| entry["name"].as_str()).unwrap();
            assert!(directory.join(name).is_file(), "{name}");
        }
        assert_eq!(fs::read(directory.join("derived_tci_key")).unwrap(), derived.key.as_bytes());
        // A second payload replaces the first.
        lay_out(secure.path(), &settings(), &derived.key, &plaintext).unwrap();
    }

    #[test]
    fn a_wrong_key_opens_nothing() {
        let (_, mut derived) = captured();
        derived.key = SymmetricKey::new(vec![1; 32]).unwrap();
        assert!(matches!(decrypt(&derived), Err(PayloadError::Cipher(_))));
    }

    #[tokio::test]
    async fn a_script_runs_in_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("autorun.sh");
        fs::write(&script, "#!/bin/sh\npwd > where\nexit 3\n").unwrap();
        make_executable(&script).unwrap();
        run_script(&script).await.unwrap();
        let place = fs::read_to_string(directory.path().join("where")).unwrap();
        assert_eq!(Path::new(place.trim()).canonicalize().unwrap(), directory.path().canonicalize().unwrap());
    }
}
