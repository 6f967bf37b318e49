//! Between a stored row and the engine's view of a registration.

use crate::ports::RegistrationRecord;
use keylime_engine::identity::registration::Registration;

/// The part of a row that the engine decides about.
pub(super) fn registration(record: &RegistrationRecord) -> Registration {
    Registration {
        challenge: record.key.clone(),
        aik_tpm: record.aik_tpm.clone(),
        ek_tpm: record.ek_tpm.clone(),
        ekcert: record.ekcert.clone(),
        iak_tpm: record.iak_tpm.clone(),
        iak_cert: record.iak_cert.clone(),
        idevid_tpm: record.idevid_tpm.clone(),
        idevid_cert: record.idevid_cert.clone(),
        mtls_cert: record.mtls_cert.clone(),
        ip: record.ip.clone(),
        port: record.port,
        regcount: record.regcount,
        active: record.active,
    }
}

/// The row for a registration; columns that only older releases wrote are kept.
pub(super) fn record(
    agent_id: &str,
    registration: Registration,
    stored: Option<&RegistrationRecord>,
) -> RegistrationRecord {
    RegistrationRecord {
        agent_id: agent_id.to_owned(),
        key: registration.challenge,
        aik_tpm: registration.aik_tpm,
        ek_tpm: registration.ek_tpm,
        ekcert: registration.ekcert,
        iak_tpm: registration.iak_tpm,
        iak_cert: registration.iak_cert,
        idevid_tpm: registration.idevid_tpm,
        idevid_cert: registration.idevid_cert,
        mtls_cert: registration.mtls_cert,
        ip: registration.ip,
        port: registration.port,
        regcount: registration.regcount,
        active: registration.active,
        is_virtual: stored.and_then(|row| row.is_virtual),
        provider_keys: stored.and_then(|row| row.provider_keys.clone()),
    }
}
