//! HTTP edge and server binaries: keylime_verifier and keylime_registrar.
