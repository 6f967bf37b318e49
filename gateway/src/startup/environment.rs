//! The process a server runs in.

use super::StartError;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// Sets the process up: the cryptography provider, as many open files as the system allows, new files kept from other
/// users; and says loudly that `KEYLIME_TEST` changes nothing.
///
/// # Errors
/// When `KEYLIME_TEST` is neither on nor off.
pub fn prepare_process() -> Result<(), StartError> {
    keylime_pki::install_crypto_provider();
    let test = std::env::var_os("KEYLIME_TEST").map(|value| value.to_string_lossy().into_owned());
    if test_mode(test.as_deref()).map_err(StartError::Other)? {
        tracing::warn!(target: "keylime.config", "*******************************************************************");
        tracing::warn!(target: "keylime.config", "KEYLIME_TEST is set. It relaxes no check: every machine has to prove");
        tracing::warn!(target: "keylime.config", "itself as without it. Unset the variable outside of tests.");
        tracing::warn!(target: "keylime.config", "*******************************************************************");
    }
    umask(Mode::S_IWGRP | Mode::S_IRWXO);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(target: "keylime.web", %error, soft, "the limit of open files cannot be raised");
    }
    Ok(())
}

/// What `KEYLIME_TEST` says; `Err` when it says nothing that is understood.
///
/// # Errors
/// The text of the variable, when it is neither a yes nor a no.
pub fn test_mode(value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("default" | "off" | "false" | "0") => Ok(false),
        Some("on" | "true" | "1") => Ok(true),
        Some(other) => Err(format!("KEYLIME_TEST is '{other}', which is neither on nor off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_a_switch() {
        for (value, expected) in [(None, false), (Some("ON"), true), (Some("1"), true), (Some("default"), false)] {
            assert_eq!(test_mode(value), Ok(expected));
        }
        assert!(test_mode(Some("yes")).is_err());
        assert!(test_mode(Some("")).is_err());
    }
}
