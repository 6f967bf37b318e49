//! Where a server is: an IP address or a host name, and its form in a URL.

use std::net::IpAddr;

/// Longest host name in the DNS.
const MAX_HOST_NAME_BYTES: usize = 253;

/// Takes an IP address (brackets around IPv6 allowed) or a host name.
///
/// Host names are labels of ASCII letters and digits with inner hyphens, so nothing else can enter a URL.
#[must_use]
pub fn parse_host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let label_is_valid = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (text.len() <= MAX_HOST_NAME_BYTES && text.split('.').all(label_is_valid)).then(|| text.to_owned())
}

/// `host:port` with brackets around IPv6, for URLs and socket addresses.
#[must_use]
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        assert_eq!(parse_host("127.0.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(parse_host("[::1]").as_deref(), Some("::1"));
        assert_eq!(parse_host("reg-1.example").as_deref(), Some("reg-1.example"));
        for wrong in ["", "a/b", "-a", "a..b", "a b", "x@y", "a_b"] {
            assert_eq!(parse_host(wrong), None, "{wrong}");
        }
        assert_eq!(host_and_port("::1", 8890), "[::1]:8890");
    }
}
