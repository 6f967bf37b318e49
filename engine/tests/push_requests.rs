//! Requests of push agents: whatever a client sends is an offer, evidence, or messages about it; never a panic.

mod push_fixture;

use keylime_engine::evidence::attestation::{Challenge, Chosen};
use keylime_engine::evidence::negotiation::{KnownList, negotiate};
use keylime_engine::evidence::offer::{BootTime, Offer};
use keylime_engine::evidence::submission::read_evidence;
use keylime_engine::lifecycle::push_state::PushFacts;
use keylime_engine::lifecycle::{
    AgentKind, Entropy, Presence, PushInput, PushPhase, PushState, PushTerms, Trail, push_transition,
};
use keylime_engine::time::Now;
use proptest::prelude::*;
use push_fixture::{Enrolment, evidence, offer, offered, settings};
use serde_json::{Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z_0-9/+=]{0,12}".prop_map(Value::from),
        prop_oneof!["certification", "log", "tpm_quote", "ima_log", "rsa", "sha256", "2.0"].prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((member(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "evidence_class",
        "evidence_type",
        "capabilities",
        "component_version",
        "hash_algorithms",
        "signature_schemes",
        "available_subjects",
        "certification_keys",
        "key_class",
        "key_algorithm",
        "key_size",
        "public",
        "entry_count",
        "supports_partial_access",
        "formats",
        "data",
        "message",
        "signature",
        "subject_data",
        "entries",
        "sha256",
        "10",
    ])
    .prop_map(str::to_owned)
}

/// Puts `value` somewhere into a well-formed document.
fn graft(document: &mut Value, path: usize, value: Value) {
    let mut pointers = Vec::new();
    fn walk(value: &Value, path: String, pointers: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, inner) in members {
                    walk(inner, format!("{path}/{name}"), pointers);
                }
            }
            Value::Array(items) => {
                for (index, inner) in items.iter().enumerate() {
                    walk(inner, format!("{path}/{index}"), pointers);
                }
            }
            _ => {}
        }
        pointers.push(path);
    }
    walk(document, String::new(), &mut pointers);
    let pointer = pointers[path % pointers.len()].clone();
    if let Some(place) = document.pointer_mut(&pointer) {
        *place = value;
    }
}

proptest! {
    #[test]
    fn every_offer_is_read_or_told_what_is_wrong(place in any::<usize>(), value in any_json(), entries in 0_u64..9) {
        let mut sent = offered(entries);
        graft(&mut sent, place, value);
        let enrolment = Enrolment::new();
        match Offer::read(Some(&sent), BootTime::At(5)) {
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| error.path.starts_with("evidence")));
            }
            Ok(offer) => {
                let known = KnownList { boot_time: Some(5), entries: 3 };
                match negotiate(&offer, &enrolment.terms(), known, Challenge::new([1; 16])) {
                    Err(errors) => prop_assert!(!errors.is_empty()),
                    Ok(negotiated) => {
                        prop_assert_eq!(negotiated.items.len(), 2);
                        let Chosen::Quote(quote) = &negotiated.items[0].chosen else { panic!() };
                        let selected: Vec<_> = quote.selected_subjects.iter().filter(|(_, pcrs)| pcrs.is_some()).collect();
                        prop_assert_eq!(selected.len(), 1, "exactly the bank that is signed with");
                    }
                }
            }
        }
    }

    #[test]
    fn every_evidence_is_read_or_told_what_is_wrong(place in any::<usize>(), value in any_json()) {
        let enrolment = Enrolment::new();
        let fresh = PushState::taken_up(PushFacts::default(), Trail::default(), Presence::Heard);
        let (settings, opening) = (settings(), Ok(offer(5, 2)));
        let terms = PushTerms { settings: &settings, kind: AgentKind::Push, wall: Default::default() };
        let input = PushInput::Open(&opening, &enrolment.terms());
        let (state, _) = push_transition(fresh, input, terms, Now::default(), &Entropy([3; Entropy::LEN]));
        let PushPhase::AwaitingEvidence(open) = state.phase else { panic!() };
        let mut sent = evidence(&[3; 16], 2);
        graft(&mut sent, place, value);
        match read_evidence(Some(&sent), &open.attestation) {
            Ok(collected) => prop_assert_eq!(collected.len(), open.attestation.items.len()),
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }
}

#[test]
fn an_elliptic_key_and_the_documented_flat_list_are_taken() {
    let p256 = json!([
        {"evidence_class": "CERTIFICATION", "evidence_type": "tpm_quote", "capabilities": {
            "component_version": "2.0", "hash_algorithms": ["sha256"], "signature_schemes": ["ecdsa"],
            "available_subjects": [0, 10],
            "certification_keys": [{"key_class": "asymmetric", "key_algorithm": "ecc", "key_size": 256,
                "server_identifier": "ak", "allowable_signature_schemes": ["ecdsa"]}]}},
        {"evidence_class": "log", "evidence_type": "ima_log", "capabilities": {
            "entry_count": 1, "supports_partial_access": true, "formats": ["text/plain"]}}
    ]);
    let enrolment = Enrolment::new();
    let offer = Offer::read(Some(&p256), BootTime::At(5)).unwrap();
    let negotiated = negotiate(&offer, &enrolment.terms(), KnownList::default(), Challenge::new([1; 16])).unwrap();
    let Chosen::Quote(quote) = &negotiated.items[0].chosen else { panic!() };
    assert_eq!(quote.signature_scheme.name(), "ecdsa");
    assert_eq!(quote.selected_subjects, [("sha256".into(), Some(vec![10]))]);
}
