//! The names under which a generated server certificate is valid (`ca.md` §5).

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest hosts file that is looked at, in bytes.
const MAX_HOSTS_BYTES: u64 = 1 << 20;

/// Alternative names, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlternativeNames {
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
}

impl AlternativeNames {
    /// The names of this machine, the address it listens on, and the configured ones.
    #[must_use]
    pub fn of_this_host(listen: &str, configured: &[String]) -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let hosts = fs::metadata("/etc/hosts").ok().filter(|file| file.len() <= MAX_HOSTS_BYTES);
        let hosts = hosts.and_then(|_| fs::read_to_string("/etc/hosts").ok()).unwrap_or_default();
        Self::new(&host, qualified(&host, &hosts), listen, configured)
    }

    fn new(host: &str, qualified: Option<&str>, listen: &str, configured: &[String]) -> Self {
        let mut dns: BTreeSet<String> = BTreeSet::from(["localhost".to_owned()]);
        let mut ip = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        let names = [Some(host), qualified, Some(listen)].into_iter().flatten();
        for name in names.chain(configured.iter().map(String::as_str)) {
            let name = name.trim().trim_start_matches('[').trim_end_matches(']');
            match name.parse::<IpAddr>() {
                Ok(address) if address.is_unspecified() => {}
                Ok(address) => {
                    ip.insert(address);
                }
                Err(_) if name.is_empty() => {}
                Err(_) => {
                    dns.insert(name.to_owned());
                }
            }
        }
        let mut ip: Vec<_> = ip.into_iter().collect();
        // Sorted as texts, so that the log line compares with the reference's.
        ip.sort_by_key(ToString::to_string);
        Self { dns: dns.into_iter().collect(), ip }
    }
}

/// The first name with a domain that the hosts file gives to this host.
fn qualified<'a>(host: &str, hosts: &'a str) -> Option<&'a str> {
    hosts.lines().find_map(|line| {
        let names: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().skip(1).collect();
        let of_host = names.contains(&host);
        names.into_iter().find(|name| of_host && name.contains('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_wildcards_left_out() {
        let configured = ["verifier.example".to_owned(), "192.0.2.7".to_owned(), " ".to_owned()];
        let names = AlternativeNames::new("box", Some("box.example"), "::", &configured);
        assert_eq!(names.dns, ["box", "box.example", "localhost", "verifier.example"]);
        let ip: Vec<_> = names.ip.iter().map(ToString::to_string).collect();
        assert_eq!(ip, ["127.0.0.1", "192.0.2.7", "::1"]);
        let names = AlternativeNames::new("box", None, "keylime.example", &[]);
        assert!(names.dns.contains(&"keylime.example".to_owned()));
    }

    #[test]
    fn the_hosts_file_knows_the_domain() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 box.example box # other.example\n";
        assert_eq!(qualified("box", hosts), Some("box.example"));
        assert_eq!(qualified("localhost", hosts), None);
    }
}
