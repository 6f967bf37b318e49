//! Keylime's tables at revision a59cc9366774, as its migrations leave them on each engine (`verifier-db.md` §3,
//! `registrar.md` §5). The migrations' types are the ones that count; Keylime's classes declare some of them shorter.

use super::table_definition::{ColumnDefinition, ColumnKind::*, TableDefinition, column, required};

/// The verifier's tables, referenced ones first.
pub(super) const VERIFIER: &[TableDefinition] =
    &[ALLOWLISTS, MBPOLICIES, VERIFIERMAIN, ATTESTATIONS, EVIDENCE_ITEMS, SESSIONS];

/// The registrar's table.
pub(super) const REGISTRAR: &[TableDefinition] = &[REGISTRARMAIN];

const ALLOWLISTS: TableDefinition = TableDefinition {
    name: "allowlists",
    columns: &[
        column("id", Serial),
        required("name", Varchar(255)),
        column("tpm_policy", Text),
        column("ima_policy", LongText),
        column("checksum", Varchar(128)),
        column("generator", Integer),
    ],
    primary_key: &["id"],
    constraints: &["CONSTRAINT uniq_allowlists0name UNIQUE (name)"],
    indexes: &[("ix_allowlists_checksum", "checksum")],
};

const MBPOLICIES: TableDefinition = TableDefinition {
    name: "mbpolicies",
    columns: &[column("id", Serial), required("name", Varchar(255)), column("mb_policy", LongText)],
    primary_key: &["id"],
    constraints: &["CONSTRAINT uniq_mbpolicies_name UNIQUE (name)"],
    indexes: &[],
};

const VERIFIERMAIN: TableDefinition = TableDefinition {
    name: "verifiermain",
    columns: &[
        required("agent_id", Varchar(80)),
        column("v", Varchar(45)),
        column("ip", Varchar(255)),
        column("port", Integer),
        column("operational_state", Integer),
        column("public_key", Varchar(500)),
        column("tpm_policy", Text),
        column("meta_data", LongText),
        column("revocation_key", Varchar(2800)),
        column("tpm_version", Integer),
        column("accept_tpm_hash_algs", Text),
        column("accept_tpm_encryption_algs", Text),
        column("accept_tpm_signing_algs", Text),
        column("hash_alg", Varchar(10)),
        column("enc_alg", Varchar(10)),
        column("sign_alg", Varchar(10)),
        column("ima_sign_verification_keys", Varchar(1000)),
        column("verifier_id", Varchar(100)),
        column("verifier_ip", Varchar(255)),
        column("verifier_port", Integer),
        column("boottime", Integer),
        column("ima_pcrs", Text),
        column("pcr10", Blob),
        column("next_ima_ml_entry", Integer),
        column("severity_level", Integer),
        column("last_event_id", Varchar(100)),
        column("learned_ima_keyrings", Text),
        column("supported_version", Varchar(50)),
        column("ak_tpm", Varchar(500)),
        column("mtls_cert", Varchar(2084)),
        column("attestation_count", Integer),
        column("ima_policy_id", Integer),
        column("tpm_clockinfo", Text),
        column("last_received_quote", Integer),
        column("last_successful_attestation", Integer),
        column("mb_policy_id", Integer),
        column("accept_attestations", BooleanTrue),
        column("consecutive_attestation_failures", Integer),
    ],
    primary_key: &["agent_id"],
    constraints: &[
        "CONSTRAINT fk_verifiermain_mbpolicies FOREIGN KEY (mb_policy_id) REFERENCES mbpolicies (id)",
        "CONSTRAINT fk_verifiermain_allowlists FOREIGN KEY (ima_policy_id) REFERENCES allowlists (id)",
    ],
    indexes: &[],
};

const ATTESTATIONS: TableDefinition = TableDefinition {
    name: "attestations",
    columns: &[
        required("agent_id", Varchar(80)),
        required("index", Integer),
        ColumnDefinition { name: "stage", kind: Varchar(25), suffix: " NOT NULL DEFAULT 'awaiting_evidence'" },
        ColumnDefinition { name: "evaluation", kind: Varchar(10), suffix: " NOT NULL DEFAULT 'pending'" },
        column("failure_reason", Varchar(25)),
        required("system_info__boot_time", Varchar(32)),
        required("capabilities_received_at", Varchar(32)),
        column("challenges_expire_at", Varchar(32)),
        column("evidence_received_at", Varchar(32)),
        column("verification_completed_at", Varchar(32)),
    ],
    primary_key: &["agent_id", "index"],
    constraints: &["FOREIGN KEY (agent_id) REFERENCES verifiermain (agent_id)"],
    indexes: &[],
};

const EVIDENCE_ITEMS: TableDefinition = TableDefinition {
    name: "evidence_items",
    columns: &[
        column("id", Serial),
        required("agent_id", Varchar(80)),
        required("attestation_index", Integer),
        required("evidence_class", Varchar(20)),
        required("evidence_type", Varchar(30)),
        column("capabilities__component_version", Varchar(20)),
        column("capabilities__evidence_version", Varchar(20)),
        column("capabilities__signature_schemes", Text),
        column("capabilities__hash_algorithms", Text),
        column("capabilities__available_subjects", Text),
        column("capabilities__certification_keys", Text),
        column("capabilities__entry_count", Integer),
        column("capabilities__supports_partial_access", Boolean),
        column("capabilities__appendable", Boolean),
        column("capabilities__formats", Text),
        column("capabilities__meta", Text),
        column("chosen_parameters__challenge", Blob),
        column("chosen_parameters__signature_scheme", Varchar(20)),
        column("chosen_parameters__hash_algorithm", Varchar(20)),
        column("chosen_parameters__selected_subjects", Text),
        column("chosen_parameters__certification_key", Text),
        column("chosen_parameters__starting_offset", Integer),
        column("chosen_parameters__entry_count", Integer),
        column("chosen_parameters__format", Varchar(255)),
        column("chosen_parameters__meta", Text),
        column("data__subject_data", Text),
        column("data__message", Blob),
        column("data__signature", Blob),
        column("data__entry_count", Integer),
        column("data__entries", LongText),
        column("data__meta", Text),
        column("results__certified_entry_count", Integer),
        column("results__meta", Text),
    ],
    primary_key: &["id"],
    constraints: &[r#"FOREIGN KEY (agent_id, attestation_index) REFERENCES attestations (agent_id, "index")"#],
    indexes: &[],
};

const SESSIONS: TableDefinition = TableDefinition {
    name: "sessions",
    columns: &[
        required("session_id", Varchar(36)),
        required("token_hash", Varchar(64)),
        required("token_salt", Varchar(32)),
        column("agent_id", Varchar(80)),
        column("active", Boolean),
        column("nonce", TinyBlob),
        column("hash_algorithm", Varchar(15)),
        column("signing_scheme", Varchar(15)),
        column("ak_attest", Blob),
        column("ak_sign", Blob),
        column("nonce_created_at", Varchar(32)),
        column("nonce_expires_at", Varchar(32)),
        column("pop_received_at", Varchar(32)),
        column("token_expires_at", Varchar(32)),
    ],
    primary_key: &["session_id"],
    constraints: &[],
    indexes: &[("ix_sessions_agent_id", "agent_id")],
};

const REGISTRARMAIN: TableDefinition = TableDefinition {
    name: "registrarmain",
    columns: &[
        required("agent_id", Varchar(80)),
        column("key", Varchar(45)),
        column("ekcert", Text),
        column("virtual", Boolean),
        column("active", Boolean),
        column("provider_keys", Text),
        column("regcount", Integer),
        column("aik_tpm", Varchar(500)),
        column("ek_tpm", Varchar(500)),
        column("ip", Varchar(15)),
        column("port", Integer),
        column("mtls_cert", Text),
        column("iak_tpm", Varchar(500)),
        column("idevid_tpm", Varchar(500)),
        column("iak_cert", Varchar(2048)),
        column("idevid_cert", Varchar(2048)),
    ],
    primary_key: &["agent_id"],
    constraints: &[],
    indexes: &[],
};
