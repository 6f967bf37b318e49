//! Keylime's own getters were run on `data/config_getters.json`; ours must agree, apart from what it takes on top.

use keylime_settings::{Component, Config};
use serde_json::Value;

/// Values that Keylime refuses and that are taken here, because its documentation prints them or their meaning is plain.
fn is_extension(case: &Value) -> bool {
    let quoted_number = case["message"].as_str().is_some_and(|m| m.contains("'\"8881\"'") || m.contains("'\"99\"'"));
    let bare_list =
        case["getter"] == "getlist" && case["message"].as_str().is_some_and(|m| m.starts_with("Failed to get list"));
    // A missing or empty list is `None`, and the caller has its default.
    let absent_list = case["getter"] == "getlist"
        && (case["option"] == "empty" || case["option"] == "missing" || case["env_value"] == "");
    quoted_number || bare_list || absent_list
}

fn ours(config: &Config, case: &Value) -> Result<Value, String> {
    let option = case["option"].as_str().unwrap();
    let fallback = &case["fallback"];
    match case["getter"].as_str().unwrap() {
        "get" => Ok(Value::from(config.get_or("tenant", option, fallback.as_str().unwrap_or("")))),
        "getint" => {
            config.int("tenant", option, fallback.as_i64().unwrap_or(-1)).map(Value::from).map_err(|e| e.to_string())
        }
        "getfloat" => config
            .float("tenant", option, fallback.as_f64().unwrap_or(-1.0))
            .map(Value::from)
            .map_err(|e| e.to_string()),
        "getboolean" => config
            .boolean("tenant", option, fallback.as_bool().unwrap_or(false))
            .map(Value::from)
            .map_err(|e| e.to_string()),
        "getlist" => config.list("tenant", option).map(Value::from).map_err(|e| e.to_string()),
        other => panic!("unknown getter {other}"),
    }
}

#[test]
fn getters_agree_with_the_reference() {
    let data: Value = serde_json::from_str(include_str!("data/config_getters.json")).unwrap();
    let mut compared = 0;
    for case in data["cases"].as_array().unwrap() {
        let variable = format!("KEYLIME_TENANT_{}", case["option"].as_str().unwrap().to_uppercase());
        let env: Vec<(&str, &str)> = case["env_value"].as_str().map(|v| (variable.as_str(), v)).into_iter().collect();
        let config = Config::from_parts(Component::Tenant, data["ini"].as_str().unwrap(), &env).unwrap();
        let result = ours(&config, case);
        if is_extension(case) && case.get("exception").is_some() {
            continue;
        }
        match case.get("exception") {
            Some(_) => assert!(result.is_err(), "{case}: {result:?}"),
            None => assert_eq!(result.as_ref().ok(), Some(&case["result"]), "{case}"),
        }
        compared += 1;
    }
    assert!(compared >= 30, "only {compared} cases compared");
}

#[test]
fn sections_other_than_the_main_one_are_part_of_the_variable() {
    let env = [("KEYLIME_VERIFIER_REVOCATIONS_ZMQ_IP", "::1"), ("KEYLIME_VERIFIER_PORT", "1")];
    let config =
        Config::from_parts(Component::Verifier, "[verifier]\nport = 2\n[revocations]\nzmq_ip = x\n", &env).unwrap();
    assert_eq!(config.get("revocations", "zmq_ip").as_deref(), Some("::1"));
    assert_eq!(config.int("verifier", "port", 0), Ok(1));
}

#[test]
fn lists_may_be_printed_as_the_documentation_prints_them() {
    let text = "[tenant]\na = sha512, sha384\nb = ['x']\nc = ('x', 'y')\n";
    let config = Config::from_parts(Component::Tenant, text, &[]).unwrap();
    assert_eq!(config.string_list("tenant", "a", &[]).unwrap(), ["sha512", "sha384"]);
    assert_eq!(config.string_list("tenant", "b", &[]).unwrap(), ["x"]);
    assert_eq!(config.string_list("tenant", "c", &[]).unwrap(), ["x", "y"]);
    assert_eq!(config.string_list("tenant", "d", &["z"]).unwrap(), ["z"]);
}

/// The samples of the documentation, as printed: 2.2.6 (a user's `tenant.conf`) and 2.2.11 (comments after values).
#[test]
fn the_documentation_s_samples_work_as_printed() {
    let sample = "[tenant]\ntls_dir = ~/keylime-certs/\nclient_cert = admin1.example.com-cert.crt\n\
                  client_key = admin1.example.com-private.pem\ntrusted_server_ca = [cacert.crt]\n";
    let config = Config::from_parts(Component::Tenant, sample, &[]).unwrap();
    let home = std::env::var("HOME").unwrap();
    assert_eq!(config.place("tenant", "tls_dir"), Some(format!("{home}/keylime-certs/")));
    assert_eq!(config.place("tenant", "client_cert").as_deref(), Some("admin1.example.com-cert.crt"));
    assert_eq!(config.string_list("tenant", "trusted_server_ca", &[]).unwrap(), ["cacert.crt"]);
    let sample = "[registrar]\ntls_dir = default           # Uses /var/lib/keylime/cv_ca\n\
                  server_key = default       # Uses server-private.pem\ntrusted_client_ca = default # Uses [cacert.crt]\n";
    let config = Config::from_parts(Component::Registrar, sample, &[]).unwrap();
    for option in ["tls_dir", "server_key", "trusted_client_ca"] {
        assert_eq!(config.place("registrar", option).as_deref(), Some("default"), "{option}");
    }
    let env = [
        ("KEYLIME_VERIFIER_VERIFIER_SERVER_KEY", "a"),
        ("KEYLIME_VERIFIER_PORT", "1"),
        ("KEYLIME_VERIFIER_VERIFIER_PORT", "2"),
    ];
    let config = Config::from_parts(Component::Verifier, "[verifier]\nip = ::\n", &env).unwrap();
    assert_eq!(
        (config.get("verifier", "server_key").as_deref(), config.int("verifier", "port", 0)),
        (Some("a"), Ok(1))
    );
}
