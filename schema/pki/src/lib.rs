//! Certificate authority, keystore, certificate packages and TLS contexts.
