//! The step machine of an enrolment, with replies in every order that matters.

use std::time::Duration;

use keylime_engine::identity::payload_key;
use keylime_tenant::address::Address;
use keylime_tenant::cli::{AttestationModel, DerivationCheck};
use keylime_tenant::ek_trust::Endorsement;
use keylime_tenant::enrollment::Enrollment;
use keylime_tenant::enrollment_step::{AgentLocation, Event, Material, Plan, Purpose, Step};
use keylime_tenant::http::{HttpError, Reply};
use keylime_tenant::payload::{self, Payload};
use keylime_tenant::registrar_client::Registration;
use keylime_tenant::retry_delay::{Growth, RetryPolicy};
use keylime_tenant::settings::{AcceptedAlgorithms, AgentMtls};
use serde_json::{Value, json};

const VERIFIER: &str = "Verifier (127.0.0.1:8881)";

fn vector() -> Value {
    serde_json::from_str(include_str!("data/identity_quote.json")).unwrap()
}

fn plan(change: impl FnOnce(&mut Plan)) -> Plan {
    let vector = vector();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut plan = Plan {
        agent_id: vector["uuid"].as_str().unwrap().to_owned(),
        purpose: Purpose::New,
        model: AttestationModel::Pull,
        derivation: DerivationCheck::Skip,
        given_ip: None,
        given_port: None,
        verifier_side_ip: None,
        forced_version: None,
        agent_mtls: AgentMtls::Enabled,
        accepted: AcceptedAlgorithms {
            hash: names(&["sha256"]),
            encryption: names(&["rsa"]),
            signing: names(&["rsassa"]),
        },
        retry: RetryPolicy { interval_seconds: 2.0, growth: Growth::Exponential, max_failures: 3 },
        nonce: vector["nonce"].as_str().unwrap().to_owned(),
        challenge: "abcdefghij0123456789".to_owned(),
    };
    change(&mut plan);
    plan
}

fn registration(change: impl FnOnce(&mut Value)) -> Event {
    let vector = vector();
    let mut members = json!({
        "aik_tpm": vector["aik_tpm"], "ek_tpm": vector["ek_tpm"], "regcount": 1, "ip": "10.0.0.1", "port": 9002,
        "mtls_cert": "-----BEGIN CERTIFICATE-----", "ekcert": null,
    });
    change(&mut members);
    let members = members.as_object().unwrap().clone();
    Event::Registration(Some(Box::new(Registration::from_members(members).unwrap())))
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply { status, body: body.to_string().into_bytes() }
}

fn versions() -> Event {
    Event::Versions(Ok(reply(200, &json!({"results": {"supported_versions": ["2.1", "2.5"]}}))))
}

fn quote() -> Event {
    Event::Quote(Ok(reply(200, &json!({"code": 200, "results": vector()["response"]}))))
}

fn unreachable() -> HttpError {
    HttpError::Transport { url: "https://10.0.0.1:9002".into(), reason: "connection refused".into() }
}

struct Run {
    machine: Enrollment,
}

impl Run {
    fn new(change: impl FnOnce(&mut Plan)) -> Self {
        Self { machine: Enrollment::new(plan(change)) }
    }

    fn next(&mut self, event: Event) -> Step {
        self.machine.advance(event, VERIFIER).unwrap()
    }

    fn fails(&mut self, event: Event) -> String {
        self.machine.advance(event, VERIFIER).unwrap_err().to_string()
    }

    /// To the point where the material is asked for.
    fn until_material(mut self) -> Self {
        assert_eq!(self.next(Event::Started), Step::FetchRegistration);
        assert_eq!(self.next(registration(|_| {})), Step::FetchVersions);
        assert_eq!(self.next(versions()), Step::PrepareMaterial);
        self
    }

    /// To the point where the agent is asked for its quote.
    fn until_quote(self, payload: Payload) -> Self {
        let mut run = self.until_material();
        let material = Material { payload, ..Material::default() };
        assert_eq!(run.next(Event::Material(Box::new(material))), Step::FetchQuote);
        run
    }
}

fn sealed() -> Payload {
    Payload { key: Some(payload::random_key().unwrap()), ciphertext: Some("Yw==".into()), ..Payload::default() }
}

#[test]
fn a_pull_enrolment_goes_through_every_check() {
    let payload = sealed();
    let k = payload.key.as_ref().unwrap().k().to_vec();
    let mut run = Run::new(|plan| plan.derivation = DerivationCheck::Await).until_quote(payload);
    assert_eq!(run.machine.version(), "2.5");
    assert_eq!(run.next(quote()), Step::CheckEndorsement);
    let Step::DeliverShare(body) = run.next(Event::Endorsement(Endorsement::Accepted)) else { panic!("no share") };
    assert_eq!(body["auth_tag"], payload_key::tag(&k, &run.machine.plan().agent_id));
    assert_eq!(run.next(Event::ShareDelivered(reply(200, &json!({})))), Step::Enrol);
    assert_eq!(run.next(Event::Enrolled(reply(200, &json!({})))), Step::FetchStatus);
    assert_eq!(run.next(Event::Unknown), Step::Wait(Duration::from_secs(2)));
    assert_eq!(run.next(Event::Waited), Step::FetchStatus);
    assert_eq!(run.next(Event::Known(AttestationModel::Pull)), Step::FetchProof);
    assert_eq!(run.next(Event::Proof(Ok(reply(400, &json!({}))))), Step::Wait(Duration::from_secs(2)));
    assert_eq!(run.next(Event::Waited), Step::FetchProof);
    let proof = payload_key::tag(&k, "abcdefghij0123456789");
    assert_eq!(run.next(Event::Proof(Ok(reply(200, &json!({"results": {"hmac": proof}}))))), Step::Done);
}

#[test]
fn without_payload_no_share_is_sent_and_the_body_has_every_member() {
    let mut run = Run::new(|plan| plan.verifier_side_ip = Some("192.0.2.1".into())).until_quote(Payload::default());
    run.next(quote());
    assert_eq!(run.next(Event::Endorsement(Endorsement::Accepted)), Step::Enrol);
    let body = run.machine.body(&Address::new("127.0.0.1", "8881"));
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    let expected = [
        "v",
        "cloudagent_ip",
        "cloudagent_port",
        "verifier_ip",
        "verifier_port",
        "tpm_policy",
        "runtime_policy",
        "runtime_policy_name",
        "runtime_policy_key",
        "mb_policy",
        "mb_policy_name",
        "ima_sign_verification_keys",
        "metadata",
        "revocation_key",
        "accept_tpm_hash_algs",
        "accept_tpm_encryption_algs",
        "accept_tpm_signing_algs",
        "ak_tpm",
        "mtls_cert",
        "supported_version",
    ];
    assert_eq!(members, expected);
    assert_eq!((&body["v"], &body["cloudagent_ip"]), (&Value::Null, &json!("192.0.2.1")));
    assert_eq!((&body["cloudagent_port"], &body["verifier_port"]), (&json!(9002), &json!("8881")));
    assert_eq!((&body["metadata"], &body["supported_version"]), (&json!("{}"), &json!("2.5")));
    run.next(Event::Enrolled(reply(200, &json!({}))));
    assert_eq!(run.next(Event::Known(AttestationModel::Pull)), Step::Done);
}

#[test]
fn a_push_agent_is_never_contacted() {
    let mut run = Run::new(|plan| {
        plan.model = AttestationModel::Push;
        plan.derivation = DerivationCheck::Await;
    });
    run.next(Event::Started);
    let disabled = registration(|members| {
        members["mtls_cert"] = json!("disabled");
        members["ip"] = Value::Null;
        members["port"] = Value::Null;
    });
    assert_eq!(run.next(disabled), Step::PrepareMaterial);
    let material = Material { payload: sealed(), ..Material::default() };
    assert_eq!(run.next(Event::Material(Box::new(material))), Step::Enrol);
    assert_eq!(run.machine.body(&Address::new("v", "1"))["supported_version"], "2.6");
    run.next(Event::Enrolled(reply(200, &json!({}))));
    assert_eq!(run.next(Event::Known(AttestationModel::Push)), Step::Done);
}

#[test]
fn a_verifier_of_the_other_model_is_named() {
    let enrolled = |own: AttestationModel| {
        let mut run = Run::new(|plan| plan.model = own);
        run.next(Event::Started);
        run.next(registration(|members| members["mtls_cert"] = json!("disabled")));
        if own == AttestationModel::Pull {
            run.next(versions());
        }
        run.next(Event::Material(Box::default()));
        if own == AttestationModel::Pull {
            run.next(quote());
            run.next(Event::Endorsement(Endorsement::Accepted));
        }
        run.next(Event::Enrolled(reply(200, &json!({}))));
        run
    };
    let polled = enrolled(AttestationModel::Push).fails(Event::Known(AttestationModel::Pull));
    assert!(polled.contains("mode = pull") && polled.contains("--push-model"), "{polled}");
    let waited_for = enrolled(AttestationModel::Pull).fails(Event::Known(AttestationModel::Push));
    assert!(waited_for.contains("mode = push"), "{waited_for}");
}

#[test]
fn agents_without_certificate_are_spoken_to_as_they_registered() {
    let mut run = Run::new(|_| {});
    run.next(Event::Started);
    assert_eq!(run.next(registration(|members| members["mtls_cert"] = Value::Null)), Step::PrepareMaterial);
    assert_eq!((run.machine.version(), run.machine.agent_certificate()), ("1.0", None));

    let mut run = Run::new(|plan| plan.forced_version = Some("2.2".into()));
    run.next(Event::Started);
    assert_eq!(run.next(registration(|members| members["mtls_cert"] = json!("disabled"))), Step::FetchVersions);
    assert_eq!(run.machine.agent_certificate(), None);
    run.next(versions());
    assert_eq!(run.machine.version(), "2.2");
}

#[test]
fn an_unknown_agent_or_one_without_common_version_ends_the_enrolment() {
    let mut run = Run::new(|_| {});
    run.next(Event::Started);
    let id = run.machine.plan().agent_id.clone();
    assert_eq!(run.fails(Event::Registration(None)), format!("Agent ${id} data not found in the Registrar."));

    let mut run = Run::new(|_| {});
    run.next(Event::Started);
    run.next(registration(|_| {}));
    let foreign = reply(200, &json!({"results": {"supported_versions": ["9.0"]}}));
    assert!(run.fails(Event::Versions(Ok(foreign))).contains("has no compatible API version"));

    let mut run = Run::new(|_| {});
    run.next(Event::Started);
    run.next(registration(|_| {}));
    let refused = HttpError::UnknownAuthority { url: "https://10.0.0.1:9002/version".into() };
    assert!(run.fails(Event::Versions(Err(refused))).starts_with("Keylime agent does not recognize mTLS certificate"));
}

#[test]
fn a_quote_that_is_not_good_gets_no_share() {
    let wrong_nonce = "AbCdEfGhIjKlMnOp0124";
    let mut run = Run::new(|plan| plan.nonce = wrong_nonce.into()).until_quote(sealed());
    assert!(run.fails(quote()).ends_with(&format!("is invalid for nonce: {wrong_nonce}")));

    let mut run = Run::new(|plan| plan.accepted.hash = vec!["sha512".into()]).until_quote(sealed());
    assert!(run.fails(quote()).ends_with("(10.0.0.1:9002) is using an unaccepted hash algorithm: sha256"));

    let mut run = Run::new(|_| {}).until_quote(sealed());
    run.next(quote());
    assert!(run.fails(Event::Endorsement(Endorsement::Refused)).contains("is invalid for nonce"));

    let mut run = Run::new(|_| {}).until_quote(sealed());
    assert!(run.fails(Event::Quote(Ok(reply(200, &json!({"results": {}}))))).ends_with("no quote"));
    let mut run = Run::new(|_| {}).until_quote(sealed());
    let refusal = run.fails(Event::Quote(Ok(reply(400, &json!({"status": "a\nb"})))));
    assert!(refusal.starts_with("TPM Quote command response: 400 ") && refusal.ends_with("a\\nb"), "{refusal}");
}

#[test]
fn an_agent_that_is_away_is_tried_again_a_few_times() {
    let mut run = Run::new(|_| {}).until_quote(Payload::default());
    assert_eq!(run.next(Event::Quote(Err(unreachable()))), Step::Wait(Duration::from_secs(2)));
    assert_eq!(run.next(Event::Waited), Step::FetchQuote);
    let busy = Reply { status: 503, body: b"busy".to_vec() };
    assert_eq!(run.next(Event::Quote(Ok(busy))), Step::Wait(Duration::from_secs(4)));
    assert_eq!(run.next(Event::Waited), Step::FetchQuote);
    assert!(run.fails(Event::Quote(Err(unreachable()))).starts_with("Tenant cannot establish connection to Agent"));
}

#[test]
fn an_update_removes_first_and_stays_where_the_verifier_found_the_agent() {
    let mut run = Run::new(|plan| {
        plan.purpose = Purpose::Replacement;
        plan.given_port = Some("31902".into());
    })
    .until_material();
    assert_eq!(run.next(Event::Material(Box::default())), Step::RemoveEarlier);
    let found = AgentLocation { ip: Some("10.0.0.2".into()), port: Some(json!(31896)) };
    assert_eq!(run.next(Event::Removed(found)), Step::FetchQuote);
    assert!(run.machine.agent_name().ends_with("(10.0.0.2:31896)"));
}

#[test]
fn refusals_of_the_verifier_are_explained() {
    let enrolled = |status: u16, body: &Value| {
        let mut run = Run::new(|_| {}).until_quote(Payload::default());
        run.next(quote());
        run.next(Event::Endorsement(Endorsement::Accepted));
        run.fails(Event::Enrolled(reply(status, body)))
    };
    let conflict = enrolled(409, &json!({}));
    assert!(conflict.starts_with("Verifier (127.0.0.1:8881) responded indicating a conflict for agent Agent "));
    assert!(conflict.ends_with("Run \"delete\" or \"update\" first."));
    assert!(enrolled(400, &json!({"status": "no"})).ends_with("{'status': 'no'}"));
    assert!(enrolled(504, &json!({})).contains("timed out"));

    let mut run = Run::new(|_| {}).until_quote(Payload::default());
    run.next(quote());
    run.next(Event::Endorsement(Endorsement::Accepted));
    run.next(Event::Enrolled(reply(200, &json!({}))));
    for _ in 0..2 {
        assert!(matches!(run.next(Event::Unknown), Step::Wait(_)));
        run.next(Event::Waited);
    }
    assert!(run.fails(Event::Unknown).contains("was not added to"));
}

#[test]
fn an_enrolment_without_proof_is_stopped_before_it_fails() {
    let at_proof = || {
        let mut run = Run::new(|plan| plan.derivation = DerivationCheck::Await).until_quote(sealed());
        run.next(quote());
        run.next(Event::Endorsement(Endorsement::Accepted));
        run.next(Event::ShareDelivered(reply(200, &json!({}))));
        run.next(Event::Enrolled(reply(200, &json!({}))));
        assert_eq!(run.next(Event::Known(AttestationModel::Pull)), Step::FetchProof);
        run
    };
    let mut run = at_proof();
    assert_eq!(run.next(Event::Proof(Err(unreachable()))), Step::StopAttestation);
    assert!(run.fails(Event::Stopped).contains("connection refused"));

    let mut run = at_proof();
    assert_eq!(run.next(Event::Proof(Ok(reply(200, &json!({"results": {}}))))), Step::StopAttestation);

    let mut run = at_proof();
    let wrong = json!({"results": {"hmac": "00"}});
    for _ in 0..2 {
        assert!(matches!(run.next(Event::Proof(Ok(reply(200, &wrong)))), Step::Wait(_)));
        run.next(Event::Waited);
    }
    assert_eq!(run.next(Event::Proof(Ok(reply(200, &wrong)))), Step::StopAttestation);
    assert!(run.fails(Event::Stopped).ends_with("(expected length 96, received 2)"));
}

/// The registrar is asked once; the key that made the accepted quote is the key the verifier is told to trust.
#[test]
fn cve_2022_1053_the_enrolled_key_is_the_one_that_was_checked() {
    let mut run = Run::new(|_| {}).until_quote(Payload::default());
    assert_eq!(run.next(quote()), Step::CheckEndorsement);
    let mut step = run.next(Event::Endorsement(Endorsement::Accepted));
    for _ in 0..4 {
        assert_ne!(step, Step::FetchRegistration, "nothing may be fetched anew once it was checked");
        match step {
            Step::DeliverShare(_) => step = run.next(Event::ShareDelivered(reply(200, &json!({})))),
            _ => break,
        }
    }
    assert_eq!(step, Step::Enrol);
    let body = run.machine.body(&Address { host: "127.0.0.1".into(), port: "8881".into() });
    assert_eq!(body["ak_tpm"], vector()["aik_tpm"]);

    // Another key in the registration, and the same quote ends the enrolment.
    let mut run = Run::new(|_| {});
    run.next(Event::Started);
    let other = "ARgAAQALAAUAcgAAABAAFAALCAAAAAAAAQCVuPOnhlo6wwsv5v0HnFreHnD5mKjosBWwZ1ETtE0o3ODHGEghI1mpdb3rJUFPmBZwEnh+HzZobfopZSBUlNxmlEIaH6BRuXeXAc53XEhvMFypZg9MxC4tpgvcosFLjzsrTf5yNQTLmK7PN5N2dujwXKRA7x66TkDoz+KSkGYJntaUPQmBAH129A40gDBWzrURs1ByvOm9BetZZMMsZQt9Ih/LiUh0mQDd7l0iA+5EQI4yewptRaK8i2RgepKktlUmUgluyMFZIy/PJCsoX3OoIXVYQuG01GJJpDUQqcNDKsDvF0RmTi/Hvx0a0BqsRaWqG61HB9mrYeOgb6hVRoc9";
    run.next(registration(|members| members["aik_tpm"] = json!(other)));
    run.next(versions());
    run.next(Event::Material(Box::default()));
    run.fails(quote());
}
