//! The life of pull agents, on paused time: attestation, key share, failures, retries, versions.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::verifier::{AttestationStatus, EnrolError};
use std::time::Duration;
use support::scripted_fleet::Act;
use support::{World, enrolment, pass, scenario};

#[test]
fn a_good_agent_is_attested_at_every_interval_with_growing_entries() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("good").await;
        assert_eq!(world.status(&agent).await.attestation_status, AttestationStatus::Pending);
        pass(5.0).await;
        assert_eq!(
            world.fleet.paths(&agent),
            [
                "/v2.5/quotes/integrity?mask=0x400&partial=0&ima_ml_entry=0",
                "/v2.5/quotes/integrity?mask=0x400&partial=1&ima_ml_entry=2",
                "/v2.5/quotes/integrity?mask=0x400&partial=1&ima_ml_entry=4",
            ]
        );
        let asked = world.fleet.asked(&agent);
        assert_eq!(asked[2].at - asked[1].at, Duration::from_secs(2), "the cadence does not drift");
        let status = world.status(&agent).await;
        assert_eq!((status.operational_state, status.attestation_count), (Some(3), 3));
        assert_eq!(status.attestation_status, AttestationStatus::Pass);
        assert_eq!((&*status.hash_alg, &*status.enc_alg), ("sha256", "rsa"));
    });
}

#[test]
fn the_first_good_quote_is_stored_soon_and_later_ones_within_seconds() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("lazy").await;
        pass(0.5).await;
        let row = world.row(&agent).unwrap();
        assert_eq!((row.operational_state, row.attestation_count), (Some(3), 1));
        assert_eq!((row.next_ima_ml_entry, row.ima_pcrs), (2, vec![10]));
        pass(13.0).await;
        let row = world.row(&agent).unwrap();
        assert!(row.attestation_count >= 5, "{}", row.attestation_count);
        assert!(world.store.batches() <= 4, "unchanged states are written together: {}", world.store.batches());
    });
}

#[test]
fn the_key_share_is_delivered_after_the_first_good_quote() {
    scenario(|| async {
        let world = World::new();
        let private = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        world.fleet.set_payload_key(&pem_of(&private));
        let mut request = enrolment("share");
        request.v = Some(STANDARD.encode([0x76; 32]));
        let agent = world.enrol_with(request).await;
        pass(1.0).await;
        let asked = world.fleet.asked(&agent);
        assert_eq!(asked[1].path, "/v2.5/keys/vkey");
        let body: serde_json::Value = serde_json::from_str(asked[1].body.as_deref().unwrap()).unwrap();
        let ciphertext = STANDARD.decode(body["encrypted_key"].as_str().unwrap()).unwrap();
        let private = aws_lc_rs::rsa::OaepPrivateDecryptingKey::new(private).unwrap();
        let mut share = vec![0; private.min_output_size()];
        let share = private.decrypt(&aws_lc_rs::rsa::OAEP_SHA1_MGF1SHA1, &ciphertext, &mut share, None).unwrap();
        assert_eq!(share, [0x76; 32]);
        assert_eq!(world.status(&agent).await.operational_state, Some(3));
        pass(2.0).await;
        let keys = world.fleet.paths(&agent).iter().filter(|path| path.contains("keys")).count();
        assert_eq!(keys, 1, "delivered once");
    });
}

#[test]
fn a_refused_or_never_taken_key_share_fails_the_agent() {
    scenario(|| async {
        let world = World::new();
        let private = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        world.fleet.set_payload_key(&pem_of(&private));
        for (name, act, repeats, event, notices) in [
            ("refused", Act::Respond(403, "{}"), 1, "internal.verifier.no_v", 0),
            ("never", Act::Silent, 6, "internal.verifier.not_reachable_v", 1),
        ] {
            let mut request = enrolment(name);
            request.v = Some(STANDARD.encode([1; 32]));
            let agent = request.agent_id.clone();
            world.fleet.script(&agent, std::iter::once(Act::Quote("good")).chain(std::iter::repeat_n(act, repeats)));
            let agent = world.enrol_with(request).await;
            pass(100.0).await;
            let status = world.status(&agent).await;
            assert_eq!((status.operational_state, status.last_event_id.as_deref()), (Some(7), Some(event)));
            let outbox = world.store.outbox();
            let own: Vec<_> = outbox.iter().filter(|row| row.agent_id == agent).collect();
            assert_eq!(own.len(), notices);
            assert!(own.iter().all(|row| row.kind == "comm_error"));
        }
    });
}

#[test]
fn failed_evidence_ends_attestation_with_one_notice() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("bad").await;
        pass(3.0).await;
        world.fleet.habit(&agent, Act::Quote("forged"));
        pass(20.0).await;
        let status = world.status(&agent).await;
        assert_eq!(status.operational_state, Some(9));
        assert_eq!(status.attestation_status, AttestationStatus::Fail);
        assert_eq!(status.last_event_id.as_deref(), Some("qoute_validation.quote_validation"));
        assert!(!status.failure_details.is_empty());
        assert_eq!(world.row(&agent).unwrap().operational_state, Some(9));
        let outbox = world.store.outbox();
        assert_eq!(outbox.len(), 1);
        assert_eq!((&*outbox[0].kind, &*outbox[0].severity_label), ("revocation", "high"));
        world.fleet.forget_requests();
        pass(60.0).await;
        assert!(world.fleet.asked(&agent).is_empty(), "a failed agent is not asked any more");
    });
}

#[test]
fn a_tolerated_failure_keeps_the_agent_attested_and_recovers() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("tolerated").await;
        pass(3.0).await;
        world.fleet.habit(&agent, Act::Quote("tolerated"));
        pass(10.0).await;
        let status = world.status(&agent).await;
        assert_eq!((status.operational_state, status.severity_level), (Some(9), Some(0)));
        assert_eq!(world.store.outbox().len(), 1, "the same severity is announced once");
        assert!(world.fleet.asked(&agent).len() <= 8, "asked at the interval, not in a tight loop");
        world.fleet.habit(&agent, Act::Quote("good"));
        pass(3.0).await;
        assert_eq!(world.status(&agent).await.operational_state, Some(3));
        world.fleet.habit(&agent, Act::Quote("tolerated"));
        pass(3.0).await;
        assert_eq!(world.store.outbox().len(), 2, "a failure after recovery is a new event");
    });
}

#[test]
fn an_unreachable_agent_is_tried_again_with_growing_pauses_then_given_up() {
    scenario(|| async {
        let world = World::new();
        let attested = world.enrol("attested").await;
        pass(1.0).await;
        let unknown = support::enrolment("never-seen").agent_id;
        world.fleet.habit(&attested, Act::Silent);
        world.fleet.habit(&unknown, Act::Silent);
        world.enrol("never-seen").await;
        world.fleet.forget_requests();
        pass(90.0).await;
        let asked = world.fleet.asked(&attested);
        assert_eq!(asked.len(), 6, "one request and five retries");
        for (n, pair) in asked.windows(2).enumerate() {
            let pause = (pair[1].at - pair[0].at).as_secs_f64();
            let nominal = 2_f64.powi(i32::try_from(n).unwrap() + 1);
            assert!((nominal..nominal * 1.1 + 0.1).contains(&pause), "pause {n} of {pause} s");
        }
        assert!(asked[1..].iter().all(|a| a.path.contains("partial=0")), "retries ask for the payload key");
        for agent in [&attested, &unknown] {
            let status = world.status(agent).await;
            assert_eq!(status.operational_state, Some(7));
            assert_eq!(status.last_event_id.as_deref(), Some("internal.verifier.not_reachable"));
        }
        let outbox = world.store.outbox();
        assert_eq!(outbox.len(), 1, "only of an agent that was attested before");
        assert_eq!((&outbox[0].agent_id, &*outbox[0].kind), (&attested, "comm_error"));
    });
}

#[test]
fn a_reachable_agent_within_the_retries_goes_on_as_if_nothing_happened() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("blip").await;
        pass(1.0).await;
        world.fleet.script(&agent, [Act::Silent, Act::Respond(500, ""), Act::Respond(599, "")]);
        pass(30.0).await;
        let status = world.status(&agent).await;
        assert_eq!(status.operational_state, Some(3));
        assert!(status.failure_details.is_empty());
        assert!(world.store.outbox().is_empty());
    });
}

#[test]
fn versions_are_renegotiated_without_downgrade() {
    scenario(|| async {
        let world = World::new();
        let refusal = Act::Respond(400, r#"{"code":400,"status":"API version not supported: v2.5","results":{}}"#);
        let offer = Act::Respond(200, r#"{"results":{"supported_version":"2.4","supported_versions":["2.1","2.4"]}}"#);
        let young = enrolment("young").agent_id;
        world.fleet.script(&young, [refusal.clone(), offer.clone()]);
        world.enrol("young").await;
        pass(5.0).await;
        let paths = world.fleet.paths(&young);
        assert_eq!(paths[1], "/version");
        assert!(paths[2].starts_with("/v2.4/quotes/integrity"));
        assert_eq!(world.status(&young).await.operational_state, Some(3));
        assert_eq!(world.row(&young).unwrap().supported_version, "2.4");

        let attested = world.enrol("attested").await;
        pass(1.0).await;
        world.fleet.script(&attested, [refusal, offer]);
        pass(5.0).await;
        let status = world.status(&attested).await;
        assert_eq!(status.operational_state, Some(7), "an attested agent cannot go back");
        assert_eq!(status.last_event_id.as_deref(), Some("internal.verifier.version_not_supported"));
    });
}

#[test]
fn refusals_end_attestation_without_a_notice() {
    scenario(|| async {
        let world = World::new();
        for (name, act, event) in [
            ("not-found", Act::Respond(404, "{}"), "internal.verifier.no_quote"),
            ("garbage", Act::Respond(400, "<html>"), "internal.verifier.exception"),
        ] {
            let id = enrolment(name).agent_id;
            world.fleet.script(&id, [act]);
            let agent = world.enrol(name).await;
            pass(1.0).await;
            let status = world.status(&agent).await;
            assert_eq!((status.operational_state, status.last_event_id.as_deref()), (Some(7), Some(event)));
        }
        assert!(world.store.outbox().is_empty());
    });
}

#[test]
fn an_enrolment_that_cannot_be_attested_with_is_refused() {
    scenario(|| async {
        let world = World::new();
        let mut request = enrolment("no-mask");
        request.tpm_policy = "{}".to_owned();
        assert!(matches!(world.handle.enrol(request).await, Err(EnrolError::Invalid(_))));
        world.enrol("twice").await;
        assert!(matches!(world.handle.enrol(enrolment("twice")).await, Err(EnrolError::AgentExists)));
        assert_eq!(world.handle.live_agents(), 1);
    });
}

fn pem_of(key: &aws_lc_rs::rsa::PrivateDecryptingKey) -> String {
    use aws_lc_rs::encoding::AsDer;
    let der = key.public_key().as_der().unwrap();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
}
