//! Certificate authority, keystore, certificate packages and TLS contexts.
//!
//! [`authority`] keeps a CA directory that Keylime's own `keylime_ca` can read and write as well; [`tls`] turns
//! certificates and keys into rustls configurations with Keylime's rules: client certificates are optional at servers,
//! host names are never compared, signatures and chains always are. [`payload_cipher`] is the AES-GCM envelope that
//! keystores and agent payloads share.
//!
//! Private keys and passwords never reach a log line or an error text.

#![forbid(unsafe_code)]

pub mod authority;
mod keystore;
pub mod payload_cipher;
mod private_file;
pub mod private_key;
pub mod tls;

pub use keystore::KeystoreError;

/// Makes aws-lc-rs the process-wide provider of rustls; harmless when it was called before.
///
/// Every `main` calls it before its first connection, so that a library that asks rustls for the default provider
/// finds one.
pub fn install_crypto_provider() {
    // The only failure is that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
