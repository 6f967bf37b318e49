//! What may be changed of an enrolled agent.

use super::{AgentRecord, NewBootPolicy, NewRuntimePolicy, PolicyChoice};

/// Changes of an enrolled agent; what is `None` stays as it is. Identity, key share and what attestation has found are no
/// part of it: who has another key is another agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the fields are the members of verifier-v2.md §3.1")]
pub struct AgentAmendment {
    pub ip: Option<String>,
    pub port: Option<u16>,
    /// PEM, or `disabled`.
    pub mtls_cert: Option<String>,
    pub tpm_policy: Option<String>,
    pub meta_data: Option<String>,
    pub ima_sign_verification_keys: Option<String>,
    pub revocation_key: Option<String>,
    pub accept_tpm_hash_algs: Option<Vec<String>>,
    pub accept_tpm_encryption_algs: Option<Vec<String>>,
    pub accept_tpm_signing_algs: Option<Vec<String>>,
    pub runtime_policy: Option<PolicyChoice<NewRuntimePolicy>>,
    pub boot_policy: Option<PolicyChoice<NewBootPolicy>>,
}

impl AgentAmendment {
    /// Makes the changes in a row, apart from the policies, whose ids the store knows.
    pub fn apply(&self, record: &mut AgentRecord) {
        if let Some(ip) = &self.ip {
            record.ip = Some(ip.clone());
        }
        if let Some(port) = self.port {
            record.port = Some(i32::from(port));
        }
        if let Some(certificate) = &self.mtls_cert {
            record.mtls_cert = Some(certificate.clone());
        }
        for (change, column) in [
            (&self.tpm_policy, &mut record.tpm_policy),
            (&self.meta_data, &mut record.meta_data),
            (&self.ima_sign_verification_keys, &mut record.ima_sign_verification_keys),
            (&self.revocation_key, &mut record.revocation_key),
        ] {
            if let Some(text) = change {
                column.clone_from(text);
            }
        }
        for (change, column) in [
            (&self.accept_tpm_hash_algs, &mut record.accept_tpm_hash_algs),
            (&self.accept_tpm_encryption_algs, &mut record.accept_tpm_encryption_algs),
            (&self.accept_tpm_signing_algs, &mut record.accept_tpm_signing_algs),
        ] {
            if let Some(names) = change {
                column.clone_from(names);
            }
        }
    }
}
