//! The options of `ca.conf` (`config.md` §6) and the keystore password.

use std::fs::OpenOptions;
use std::io::{self, BufReader, IsTerminal as _, Write as _};

use keylime_pki::authority::{KeyAlgorithm, Subject};
use keylime_settings::{Component, Config, ConfigError};
use nix::sys::termios::{self, LocalFlags, SetArg};
use tracing::warn;

const SECTION: &str = "ca";
const PROMPT: &str = "Please enter the password to decrypt your keystore: ";

/// Why the authority's options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaSettingsError {
    /// A file or value cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value is none of those allowed.
    #[error("option {0} in section [ca] is out of range")]
    Range(&'static str),
    /// Nothing was typed.
    #[error("You must specify a password!")]
    NoPassword,
    /// The terminal cannot be used.
    #[error("cannot read the keystore password: {0}")]
    Terminal(#[from] io::Error),
}

/// What the authority writes into certificates.
///
/// # Errors
/// [`CaSettingsError::Config`] or [`CaSettingsError::Range`].
pub fn subject(config: &Config) -> Result<Subject, CaSettingsError> {
    let default = Subject::default();
    let text = |option: &str, fallback: &str| config.get_or(SECTION, option, fallback);
    let number = |option: &'static str, fallback: u32| -> Result<u32, CaSettingsError> {
        let value = config.int(SECTION, option, fallback.into())?;
        u32::try_from(value).map_err(|_| CaSettingsError::Range(option))
    };
    Ok(Subject {
        country: text("cert_country", &default.country),
        state: text("cert_state", &default.state),
        locality: text("cert_locality", &default.locality),
        organization: text("cert_organization", &default.organization),
        org_unit: text("cert_org_unit", &default.org_unit),
        ca_name: text("cert_ca_name", &default.ca_name),
        ca_lifetime_days: number("cert_ca_lifetime", default.ca_lifetime_days)?,
        lifetime_days: number("cert_lifetime", default.lifetime_days)?,
        algorithm: KeyAlgorithm::from_option(&text("cert_key_algorithm", "rsa"))
            .ok_or(CaSettingsError::Range("cert_key_algorithm"))?,
        bits: number("cert_bits", default.bits)?,
        crl_url: text("cert_crl_dist", &default.crl_url),
    })
}

/// The configuration of the authority.
///
/// # Errors
/// [`CaSettingsError::Config`].
pub fn load() -> Result<Config, CaSettingsError> {
    Ok(Config::load(Component::Ca)?)
}

/// The keystore password: the configured one, or, if that is the template's `default`, the one typed at the terminal.
///
/// # Errors
/// [`CaSettingsError::NoPassword`] or [`CaSettingsError::Terminal`].
pub fn password(config: &Config) -> Result<String, CaSettingsError> {
    match config.get_or(SECTION, "password", "default").as_str() {
        "" | "default" => {}
        configured => return Ok(configured.to_owned()),
    }
    warn!(
        target: "keylime.ca-util",
        "Using 'default' password option from CA configuration file is not supported on the command line"
    );
    let typed = prompt()?;
    if typed.is_empty() { Err(CaSettingsError::NoPassword) } else { Ok(typed) }
}

/// Reads a line from the terminal without showing it, or from standard input if there is no terminal.
fn prompt() -> io::Result<String> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        eprint!("{PROMPT}");
        return line(io::stdin().lock());
    };
    terminal.write_all(PROMPT.as_bytes())?;
    if !terminal.is_terminal() {
        return line(BufReader::new(terminal));
    }
    let shown = termios::tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    termios::tcsetattr(&terminal, SetArg::TCSAFLUSH, &hidden)?;
    let typed = line(BufReader::new(&terminal));
    termios::tcsetattr(&terminal, SetArg::TCSAFLUSH, &shown)?;
    terminal.write_all(b"\n")?;
    typed
}

fn line(mut source: impl io::BufRead) -> io::Result<String> {
    let mut text = String::new();
    source.read_line(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reaches_the_certificate() {
        let text = "[ca]\npassword = pw\ncert_country = DE\ncert_ca_name = n\ncert_state = s\ncert_locality = l\n\
                    cert_organization = o\ncert_org_unit = u\ncert_ca_lifetime = 10\ncert_lifetime = 5\n\
                    cert_bits = 3072\ncert_crl_dist = http://crl\ncert_key_algorithm = ecdsa-p384\n";
        let config = Config::from_parts(Component::Ca, text, &[]).unwrap();
        let expected = Subject {
            country: "DE".into(),
            state: "s".into(),
            locality: "l".into(),
            organization: "o".into(),
            org_unit: "u".into(),
            ca_name: "n".into(),
            ca_lifetime_days: 10,
            lifetime_days: 5,
            algorithm: KeyAlgorithm::EcdsaP384,
            bits: 3072,
            crl_url: "http://crl".into(),
        };
        assert_eq!(subject(&config).unwrap(), expected);
        assert_eq!(password(&config).unwrap(), "pw");
        let empty = Config::from_parts(Component::Ca, "[ca]\n", &[]).unwrap();
        assert_eq!(subject(&empty).unwrap(), Subject::default());
        let negative = Config::from_parts(Component::Ca, "[ca]\ncert_bits = -1\n", &[]).unwrap();
        assert!(matches!(subject(&negative), Err(CaSettingsError::Range("cert_bits"))));
    }
}
