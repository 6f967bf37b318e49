//! No option without a test that looks at what it does.

use toml::Table;

/// Programs of tests that set options, and what these tests read.
const TESTS: [&str; 24] = [
    include_str!("agent.rs"),
    include_str!("agent_in_the_clear.rs"),
    include_str!("agent_revocations.rs"),
    include_str!("push_agent.rs"),
    include_str!("authority.rs"),
    include_str!("lines.rs"),
    include_str!("push.rs"),
    include_str!("registrar.rs"),
    include_str!("retries.rs"),
    include_str!("tenant.rs"),
    include_str!("verifier.rs"),
    include_str!("../end_to_end.rs"),
    include_str!("../measured_boot.rs"),
    include_str!("../revocation.rs"),
    include_str!("../authority_tools.rs"),
    include_str!("../broker_tls.rs"),
    include_str!("../../harness/src/stack.rs"),
    include_str!("../../../agent/tests/device_identity.rs"),
    include_str!("../../../agent/tests/endorsement_hierarchy.rs"),
    include_str!("../../../agent/tests/pull_agent.rs"),
    include_str!("../../../agent/tests/push_agent.rs"),
    include_str!("../../../agent/tests/push_agent_own.rs"),
    include_str!("../../../agent/tests/push_agent_peer.rs"),
    include_str!("../../../gateway/tests/option_table.rs"),
];

/// Options whose effect is looked at under another name, and where.
const BY_OTHER_NAMES: [(&str, &str); 17] = [
    ("contact_port", "agent.rs: the port that the registrar knows is the agent's"),
    ("certification_keys_server_identifier", "agent/src/push: the unit tests of capabilities.rs"),
    ("uefi_logs_evidence_version", "agent/src/push: the unit tests of capabilities.rs"),
    ("tls_accept_invalid_hostnames", "agent/src/configuration/push_settings.rs, agent/src/push/connection.rs"),
    ("tpm_ownerpassword", "agent/tests/endorsement_hierarchy.rs: the_owner_password_opens_the_hierarchy"),
    ("ek_handle", "agent/tests/endorsement_hierarchy.rs: a_persistent_endorsement_key_is_used_and_stays"),
    ("iak_idevid_asymmetric_alg", "agent/src/configuration/device_identity_settings.rs"),
    ("iak_idevid_name_alg", "agent/src/configuration/device_identity_settings.rs"),
    ("idevid_password", "agent/src/configuration/device_identity_settings.rs"),
    ("idevid_handle", "agent/src/configuration/device_identity_settings.rs"),
    ("iak_password", "agent/src/configuration/device_identity_settings.rs"),
    ("iak_handle", "agent/src/configuration/device_identity_settings.rs"),
    ("iak_cert", "agent/tests/device_identity.rs: the_peers_registrar_takes_the_identity"),
    ("idevid_cert", "agent/tests/device_identity.rs: the_peers_registrar_takes_the_identity"),
    ("ima_ml_path", "every stack of the harness: each machine has a list of its own"),
    ("measuredboot_ml_path", "measured_boot.rs: the log of the machine is where the stack says"),
    ("proc_path", "every stack of the harness: each machine boots by itself"),
];

fn options(catalogue: &str) -> Vec<String> {
    let table: Table = catalogue.parse().unwrap();
    let mut names = Vec::new();
    collect(&table, &mut names);
    names
}

/// The names of options, at whatever depth.
fn collect(table: &Table, names: &mut Vec<String>) {
    for (key, value) in table {
        for entry in value.as_array().into_iter().flatten().filter_map(toml::Value::as_table) {
            if key == "option" {
                names.extend(entry.get("name").and_then(toml::Value::as_str).map(str::to_owned));
            } else {
                collect(entry, names);
            }
        }
    }
}

#[test]
fn every_option_is_looked_at() {
    let catalogues = [
        ("verifier", include_str!("../../../schema/settings/upgrade/catalogue/verifier.toml")),
        ("registrar", include_str!("../../../schema/settings/upgrade/catalogue/registrar.toml")),
        ("tenant", include_str!("../../../schema/settings/upgrade/catalogue/tenant.toml")),
        ("agent", include_str!("../../../schema/settings/upgrade/catalogue/agent.toml")),
        ("ca", include_str!("../../../schema/settings/upgrade/catalogue/ca.toml")),
    ];
    let mut forgotten = Vec::new();
    for (component, catalogue) in catalogues {
        let names = options(catalogue);
        assert!(names.len() > 5, "{component}: {names:?}");
        let is_tested = |name: &str| {
            let quoted = format!("\"{name}\"");
            // Options of an authority stand in a whole file.
            let assigned = format!("{name} = ");
            BY_OTHER_NAMES.iter().any(|(other, _)| *other == name)
                || TESTS.iter().any(|test| test.contains(&quoted) || test.contains(&assigned))
        };
        forgotten.extend(names.into_iter().filter(|name| !is_tested(name)).map(|name| format!("{component}: {name}")));
    }
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
