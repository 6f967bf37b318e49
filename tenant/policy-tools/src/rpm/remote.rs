//! Repositories behind an address: `http`, `https` or `file`.

use super::header::{Extent, HeaderError, extent, file_digests};
use super::metadata::{MetadataError, read_file_digests, read_index, read_package_locations};
use super::{RepositoryDigests, RepositoryError, UNSIGNED, signature};
use rayon::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};
use url::Url;

/// Bytes of a package that are asked for at first; most headers fit.
const FIRST_RANGE: usize = 24 << 10;

/// Largest file of metadata, in bytes as it is sent.
const MAX_METADATA: u64 = 1 << 30;

/// How long a server may take to accept a connection, and to send the next piece.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Debian, Fedora and Alpine keep the system's authorities.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The digests that a repository lists: from its list of files if it has one with digests, else from each package.
///
/// # Errors
/// See [`RepositoryError`].
pub fn digests_at_url(address: &str, workers: NonZeroUsize) -> Result<RepositoryDigests, RepositoryError> {
    let address = if address.ends_with('/') { address.to_owned() } else { format!("{address}/") };
    let unreachable = |reason: String| RepositoryError::Unreachable(address.clone(), reason);
    let base = Url::parse(&address).map_err(|error| unreachable(error.to_string()))?;
    let repository = Repository { base, agent: agent() };
    let mut found = RepositoryDigests::default();
    let index_url = repository.join("repodata/repomd.xml")?;
    let index = repository.require(&index_url)?;
    match repository.fetch(&repository.join("repodata/repomd.xml.asc")?)? {
        Some(signature) => {
            let key_url = repository.join("repodata/repomd.xml.key")?;
            let key = repository.fetch(&key_url)?;
            let key = key.ok_or_else(|| RepositoryError::KeyMissing(key_url.to_string()))?;
            signature::verify(&key, &signature, &index)?;
        }
        None => found.warnings.push(UNSIGNED.to_owned()),
    }
    let damaged = |url: &Url| {
        let url = url.to_string();
        move |error: MetadataError| RepositoryError::Metadata(url, error)
    };
    let index = read_index(&index).map_err(damaged(&index_url))?;
    if let Some(location) = index.file_lists_ext {
        let url = repository.join(&location)?;
        found.digests = read_file_digests(&repository.require(&url)?).map_err(damaged(&url))?;
        return Ok(found);
    }
    found.warnings.push("Warning. filelist-ext.xml not present in the repo".to_owned());
    let location = index.primary.ok_or(MetadataError::NoPrimary).map_err(damaged(&index_url))?;
    let url = repository.join(&location)?;
    let locations = read_package_locations(&repository.require(&url)?).map_err(damaged(&url))?;
    let packages = locations.iter().map(|location| repository.join(location)).collect::<Result<Vec<_>, _>>()?;
    let read = |url: &Url| repository.package_digests(url);
    let all: Result<Vec<_>, _> = match rayon::ThreadPoolBuilder::new().num_threads(workers.get()).build() {
        Ok(pool) => pool.install(|| packages.par_iter().map(read).collect()),
        Err(_) => packages.iter().map(read).collect(),
    };
    for package in all? {
        match package {
            Ok(digests) => digests.into_iter().for_each(|(path, digest)| found.digests.add(path, digest)),
            Err(warning) => found.warnings.push(warning),
        }
    }
    Ok(found)
}

struct Repository {
    base: Url,
    agent: Agent,
}

impl Repository {
    fn join(&self, location: &str) -> Result<Url, RepositoryError> {
        self.base.join(location).map_err(|error| RepositoryError::Unreachable(location.to_owned(), error.to_string()))
    }

    /// A file of metadata that must be there.
    fn require(&self, url: &Url) -> Result<Vec<u8>, RepositoryError> {
        self.fetch(url)?.ok_or_else(|| RepositoryError::NotFound(url.to_string()))
    }

    /// A file of metadata, or `None` when the server has none.
    fn fetch(&self, url: &Url) -> Result<Option<Vec<u8>>, RepositoryError> {
        let unreadable = |error| RepositoryError::Unreadable(url.to_string(), error);
        let mut bytes = Vec::new();
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| unreadable(io::ErrorKind::InvalidInput.into()))?;
            return match std::fs::File::open(path) {
                Ok(file) => {
                    file.take(MAX_METADATA).read_to_end(&mut bytes).map_err(unreadable)?;
                    Ok(Some(bytes))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(unreadable(error)),
            };
        }
        let response = self.agent.get(url.as_str()).call();
        let response = response.map_err(|error| RepositoryError::Unreachable(url.to_string(), error.to_string()))?;
        match response.status().as_u16() {
            200 => {}
            403 | 404 | 410 => return Ok(None),
            // A signature that a server fails to send is not one that it does not have.
            status => return Err(RepositoryError::Unreachable(url.to_string(), format!("HTTP status {status}"))),
        }
        response.into_body().into_reader().take(MAX_METADATA).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Some(bytes))
    }

    /// The digests of a package; the inner error is a message about one that the server does not hand out.
    #[allow(clippy::type_complexity, reason = "a result in a result, taken apart at once")]
    fn package_digests(&self, url: &Url) -> Result<Result<Vec<(String, String)>, String>, RepositoryError> {
        let damaged = |error| RepositoryError::Package(url.to_string(), error);
        let mut bytes = Vec::new();
        let mut wanted = FIRST_RANGE;
        loop {
            let response = match self.range(url, bytes.len(), wanted)? {
                Ok(response) => response,
                Err(warning) => return Ok(Err(warning)),
            };
            let before = bytes.len();
            match response {
                Piece::Range(mut body) => {
                    let limit = (wanted - before) as u64;
                    body.by_ref().take(limit).read_to_end(&mut bytes).map_err(|e| damaged(e.into()))?;
                }
                Piece::Whole(mut body) => {
                    bytes.clear();
                    return read_header(&mut body, bytes).map(Ok).map_err(damaged);
                }
            }
            match extent(&bytes).map_err(damaged)? {
                Extent::Complete(_) => return file_digests(&bytes).map(Ok).map_err(damaged),
                Extent::AtLeast(_) if bytes.len() == before => return Err(damaged(HeaderError::Short)),
                Extent::AtLeast(more) => wanted = more,
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "a result in a result, taken apart at once")]
    fn range(&self, url: &Url, from: usize, to: usize) -> Result<Result<Piece, String>, RepositoryError> {
        if url.scheme() == "file" {
            let file = url.to_file_path().map_err(|()| io::ErrorKind::InvalidInput.into());
            return Ok(match file.and_then(std::fs::File::open) {
                Ok(file) => Ok(Piece::Whole(Box::new(file))),
                Err(error) => Err(format!("Error trying to open {url}: {error}")),
            });
        }
        let range = format!("bytes={from}-{}", to - 1);
        let response = self.agent.get(url.as_str()).header("Range", range).call();
        let response = response.map_err(|error| RepositoryError::Unreachable(url.to_string(), error.to_string()))?;
        let reader = |body: Body| Box::new(body.into_reader());
        Ok(match response.status().as_u16() {
            206 => Ok(Piece::Range(reader(response.into_body()))),
            200 => Ok(Piece::Whole(reader(response.into_body()))),
            status => Err(format!("Error trying to open {url}: HTTP status {status}")),
        })
    }
}

/// What a server sent of a package.
enum Piece {
    /// The bytes that were asked for.
    Range(Box<dyn Read>),
    /// All of it, from the first byte.
    Whole(Box<dyn Read>),
}

/// Reads a package from its first byte, as far as its headers go.
fn read_header(body: &mut dyn Read, mut bytes: Vec<u8>) -> Result<Vec<(String, String)>, HeaderError> {
    let mut wanted = FIRST_RANGE;
    loop {
        let missing = wanted - bytes.len();
        body.take(missing as u64).read_to_end(&mut bytes)?;
        match extent(&bytes)? {
            Extent::Complete(_) => return file_digests(&bytes),
            Extent::AtLeast(_) if bytes.len() < wanted => return Err(HeaderError::Short),
            Extent::AtLeast(more) => wanted = more,
        }
    }
}

/// A client that trusts the system's authorities.
fn agent() -> Agent {
    let given = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let bundles = given.into_iter().chain(SYSTEM_BUNDLES.map(std::path::PathBuf::from));
    let text = bundles.filter_map(|path| std::fs::read(path).ok()).next().unwrap_or_default();
    let roots = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    let roots: Vec<_> = roots.map(|certificate| Certificate::from_der(&certificate).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .build()
        .new_agent()
}
