//! Where a server listens, as the operator wrote it.

use std::fmt;

/// Host and port of a server; both are kept as text because Keylime sends and prints them as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: String,
}

impl Address {
    /// An address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: impl Into<String>) -> Self {
        Self { host: host.into(), port: port.into() }
    }

    /// The URL of a path on this server.
    #[must_use]
    pub fn url(&self, scheme: Scheme, path: &str) -> String {
        let host =
            self.host.strip_prefix("https://").or_else(|| self.host.strip_prefix("http://")).unwrap_or(&self.host);
        let is_bare_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let host = if is_bare_ipv6 { format!("[{host}]") } else { host.to_owned() };
        format!("{}://{host}:{}{path}", scheme.text(), self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// With TLS.
    Https,
    /// Without: agents that registered without a certificate.
    Http,
}

impl Scheme {
    const fn text(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// Escapes a text for one segment of a URL path or for a query value.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            result.push_str(&format!("%{byte:02X}"));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_bracket_ipv6_and_drop_a_given_scheme() {
        assert_eq!(Address::new("127.0.0.1", "8881").url(Scheme::Https, "/version"), "https://127.0.0.1:8881/version");
        assert_eq!(Address::new("::1", "1").url(Scheme::Http, "/"), "http://[::1]:1/");
        assert_eq!(Address::new("[::1]", "1").url(Scheme::Http, "/"), "http://[::1]:1/");
        assert_eq!(Address::new("http://host", "1").url(Scheme::Https, ""), "https://host:1");
        assert_eq!(escaped("a/b c\u{e9}"), "a%2Fb%20c%C3%A9");
    }
}
