//! `--print-config`: what is in effect, without secrets (CVE-2022-23952).

use keylime_settings::Config;
use std::io::{self, Write};

/// Writes every option that a file holds, as it is in effect.
///
/// # Errors
/// When `out` cannot be written to.
pub fn print_effective(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    for file in config.files() {
        writeln!(out, "# read from {}", file.display())?;
    }
    for (section, options) in config.effective() {
        writeln!(out, "[{section}]")?;
        for (option, value) in options {
            writeln!(out, "{option} = {}", redacted(&option, &value))?;
        }
    }
    Ok(())
}

fn redacted(option: &str, value: &str) -> String {
    let secret = ["password", "secret", "token"].iter().any(|word| option.contains(word));
    if secret && !value.trim_matches('"').is_empty() {
        return "<redacted>".to_owned();
    }
    if option.ends_with("_url") || value.contains("://") { without_credentials(value) } else { value.to_owned() }
}

/// A URL without what stands between its scheme and its host.
fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    // A password may hold an `@` that nobody encoded; the host begins after the last one.
    let redacted = match rest[..authority_end].rfind('@').or_else(|| rest.rfind('@')) {
        Some(at) => format!("{scheme}://<redacted>@{}", &rest[at + 1..]),
        None => value.to_owned(),
    };
    let Some((path, query)) = redacted.split_once('?') else { return redacted };
    if query.contains("pass") || query.contains("key") { format!("{path}?<redacted>") } else { redacted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_settings::Component;

    #[test]
    fn shows_options_and_hides_secrets() {
        let text = "[verifier]\nip = 127.0.0.1\nserver_key_password = hunter2\nclient_key_password =\n\
                    database_url = postgresql://keylime:s3/cr@t@db:5432/x\n[revocations]\nwebhook_url = https://h/p\n\
                    amqp_url = amqps://u:hunter2@mq/%2f\n";
        let config = Config::from_parts(Component::Verifier, text, &[]).unwrap();
        let mut out = Vec::new();
        print_effective(&config, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains("hunter2") && !out.contains("s3") && !out.contains("cr@t"), "{out}");
        for shown in ["ip = 127.0.0.1", "<redacted>@db:5432/x", "https://h/p", "<redacted>@mq/%2f", "[revocations]"] {
            assert!(out.contains(shown), "{shown} in {out}");
        }
    }
}
