//! Where TLS files are.

use crate::configuration::{TlsDirectory, TrustedAuthorities};
use keylime_settings::Component;
use std::path::{Path, PathBuf};

/// The verifier's authority, which all parts trust by default.
const VERIFIER_AUTHORITY: &str = "cv_ca";
/// The registrar's own authority, when it makes one.
const REGISTRAR_AUTHORITY: &str = "reg_ca";
const AUTHORITY_CERTIFICATE: &str = "cacert.crt";

/// Resolves the names of TLS files for one server.
#[derive(Debug, Clone)]
pub struct TlsPaths {
    work_dir: PathBuf,
    directory: PathBuf,
}

impl TlsPaths {
    /// The paths of a component with this `tls_dir`.
    #[must_use]
    pub fn new(work_dir: &Path, component: Component, directory: &TlsDirectory) -> Self {
        let generated = match component {
            Component::Registrar => REGISTRAR_AUTHORITY,
            Component::Verifier | Component::Tenant | Component::Ca | Component::Logging => VERIFIER_AUTHORITY,
        };
        let directory = match directory {
            TlsDirectory::Generate => work_dir.join(generated),
            TlsDirectory::Default => work_dir.join(VERIFIER_AUTHORITY),
            TlsDirectory::Path(path) => work_dir.join(path),
        };
        Self { work_dir: work_dir.to_owned(), directory }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file of the directory: the configured one, or the default name.
    #[must_use]
    pub fn file(&self, configured: Option<&Path>, default: &str) -> PathBuf {
        self.directory.join(configured.unwrap_or(Path::new(default)))
    }

    /// The certificates of trusted authorities; `None` when there is no restriction.
    #[must_use]
    pub fn authorities(&self, trusted: &TrustedAuthorities) -> Option<Vec<PathBuf>> {
        match trusted {
            // The default is the verifier's authority, also for a registrar with an authority of its own.
            TrustedAuthorities::Default => {
                Some(vec![self.work_dir.join(VERIFIER_AUTHORITY).join(AUTHORITY_CERTIFICATE)])
            }
            TrustedAuthorities::All => None,
            TrustedAuthorities::Files(files) => Some(files.iter().map(|file| self.directory.join(file)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_files() {
        let work = Path::new("/w");
        let generated = TlsPaths::new(work, Component::Registrar, &TlsDirectory::Generate);
        assert_eq!(generated.directory(), Path::new("/w/reg_ca"));
        assert_eq!(
            generated.authorities(&TrustedAuthorities::Default).unwrap(),
            [PathBuf::from("/w/cv_ca/cacert.crt")]
        );
        let other = TlsPaths::new(work, Component::Verifier, &TlsDirectory::Path("tls".into()));
        assert_eq!(other.file(None, "server-cert.crt"), Path::new("/w/tls/server-cert.crt"));
        assert_eq!(other.file(Some(Path::new("/etc/x.pem")), "server-cert.crt"), Path::new("/etc/x.pem"));
        let files = TrustedAuthorities::Files(vec!["a.crt".into(), "/b.crt".into()]);
        assert_eq!(other.authorities(&files).unwrap(), [PathBuf::from("/w/tls/a.crt"), PathBuf::from("/b.crt")]);
        assert_eq!(other.authorities(&TrustedAuthorities::All), None);
    }
}
