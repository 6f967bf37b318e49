//! Properties of list appraisal and policies that hold for any input.

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ima::device_mapper::{EventKind, grammar::parse_event};
use keylime_engine::ima::key_reading::read_key;
use keylime_engine::ima::measurement_list::EntryReader;
use keylime_engine::ima::{
    ImaAppraisal, ImaContext, ImaOptions, ImaState, Keyring, KeyringUse, appraise, appraise_with,
};
use keylime_engine::policy::python_regex::PythonRegex;
use keylime_engine::policy::report::{Finding, Unmatchable, lint};
use keylime_engine::policy::{CompiledRuntimePolicy, SignatureRule, verify_upload};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn context<'a>(policy: &'a CompiledRuntimePolicy, quoted: Option<&'a [u8]>) -> ImaContext<'a> {
    ImaContext {
        policy,
        tenant_keyring: None,
        bank: HashAlgorithm::Sha256,
        quoted_pcr10: quoted,
        boot_aggregates: &[],
        options: ImaOptions::default(),
    }
}

/// A line whose template hash is right.
fn honest_line(name: &str, digest: &str) -> String {
    let fields = format!("ima-ng sha256:{digest} {name}");
    let mut reader = EntryReader::default();
    let hash = HashAlgorithm::Sha1.digest(&[reader.read(&format!("10 00 {fields}")).unwrap().template_data]);
    format!("10 {} {fields}\n", hash.to_hex())
}

fn policy_of(digests: &BTreeMap<String, Vec<String>>) -> Value {
    json!({
        "meta": { "version": 1, "generator": 0 },
        "release": 0,
        "digests": digests,
        "excludes": [],
        "keyrings": {},
        "ima": { "ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null },
        "ima-buf": {},
        "verification-keys": "",
    })
}

/// Text that looks like a measurement list, honest in parts.
fn list_like() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("10".to_owned()),
        "[0-9a-f]{0,64}",
        Just("0".repeat(40)),
        "(ima|ima-ng|ima-sig|ima-buf|ima-ngv2|ima-sigv2|ima-modsig|evm-sig)",
        "(sha1|sha256|ima:sha256|)?:[0-9a-f]{0,64}",
        "[ -~]{0,20}",
        "\\PC{0,10}",
        Just("security.ima|security.evm".to_owned()),
        "0302[0-9a-f]{0,40}",
    ];
    let line = prop::collection::vec(field, 0..10).prop_map(|fields| fields.join(" "));
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_has_a_verdict(list in prop_oneof![list_like(), ".*", "(?s).*"], quoted in prop::collection::vec(any::<u8>(), 0..40)) {
        for policy in [CompiledRuntimePolicy::empty(), CompiledRuntimePolicy::absent()] {
            for keyrings in [KeyringUse::Considered, KeyringUse::Ignored] {
                let appraisal = appraise_with(&list, &ImaState::default(), &context(&policy, Some(&quoted)), keyrings);
                prop_assert_eq!(appraisal.running.as_bytes().len(), 32);
                for failure in &appraisal.failures {
                    prop_assert!(!failure.id().is_empty() && !failure.detail().is_empty());
                    prop_assert!(failure.context().is_object());
                }
                // A verdict that fails leaves nothing behind.
                prop_assert!(appraisal.failures.is_empty() || appraisal.state == ImaState::default());
            }
        }
    }

    #[test]
    fn a_list_in_pieces_is_the_list(names in prop::collection::vec("/[a-z/ ]{1,30}", 1..12), cut in any::<prop::sample::Index>()) {
        let digests: Vec<String> = names.iter().map(|name| HashAlgorithm::Sha256.digest(&[name.as_bytes()]).to_hex()).collect();
        let lines: Vec<String> = names.iter().zip(&digests).map(|(name, digest)| honest_line(name, digest)).collect();
        let table = names.iter().cloned().zip(digests.iter().map(|digest| vec![digest.clone()])).collect();
        let policy = CompiledRuntimePolicy::compile(&policy_of(&table).to_string()).unwrap();
        let running = |lines: &[String]| -> Digest {
            appraise(&lines.concat(), &ImaState::default(), &context(&policy, None)).running
        };
        let whole = running(&lines);
        let cut = cut.index(lines.len() + 1);
        let first = running(&lines[..cut]);

        // The quote is older than the list: the rest stays pending, and is judged with the next list.
        let quote = context(&policy, Some(first.as_bytes()));
        let ImaAppraisal { failures, state, running } = appraise(&lines.concat(), &ImaState::default(), &quote);
        prop_assert_eq!(failures, vec![]);
        prop_assert_eq!(state.next_entry, cut as u64);
        prop_assert_eq!(running, whole);

        let quote = context(&policy, Some(whole.as_bytes()));
        let rest = appraise(&lines[cut..].concat(), &state, &quote);
        prop_assert_eq!(rest.failures, vec![]);
        prop_assert_eq!(rest.state.next_entry, lines.len() as u64);
        prop_assert_eq!(rest.running, whole);
    }

    #[test]
    fn a_changed_character_never_passes(name in "/[a-z]{1,20}", place in any::<prop::sample::Index>(), other in "[0-9a-z /:]") {
        let digest = HashAlgorithm::Sha256.digest(&[name.as_bytes()]).to_hex();
        let line = honest_line(&name, &digest);
        let policy = policy_of(&BTreeMap::from([(name, vec![digest])]));
        let policy = CompiledRuntimePolicy::compile(&policy.to_string()).unwrap();
        let quoted = appraise(&line, &ImaState::default(), &context(&policy, None)).running;
        let place = place.index(line.len() - 1);
        let changed = format!("{}{other}{}", &line[..place], &line[place + 1..]);
        prop_assume!(changed != line);
        let appraisal = appraise(&changed, &ImaState::default(), &context(&policy, Some(quoted.as_bytes())));
        prop_assert!(!appraisal.failures.is_empty(), "{changed}");
    }

    #[test]
    fn a_compiled_policy_allows_what_it_lists(
        table in prop::collection::btree_map("\\PC{0,20}", prop::collection::vec("([0-9a-f]{2}){20,32}", 1..4), 0..40),
        probe in prop::collection::vec(any::<u8>(), 20..33),
    ) {
        let text = policy_of(&table).to_string();
        prop_assert!(verify_upload(text.as_bytes(), None, SignatureRule::NotRequired).is_ok());
        let policy = CompiledRuntimePolicy::compile(&text).unwrap();
        prop_assert_eq!(policy.bad_exclude(), None);
        let report = lint(&text).unwrap();
        prop_assert_eq!(report.holds.paths, table.len());
        prop_assert_eq!(report.holds.digests, table.values().map(Vec::len).sum::<usize>());
        for finding in report.findings {
            if let Finding::UnmatchableDigest { reason, .. } = finding {
                prop_assert_eq!(reason, Unmatchable::Length);
            }
        }
        for (name, digests) in table.iter().filter(|(name, _)| !name.contains('\n')) {
            for digest in digests.iter().chain([&hex::encode(&probe)]) {
                let failures = appraise(&honest_line(name, digest), &ImaState::default(), &context(&policy, None)).failures;
                prop_assert_eq!(failures.is_empty(), digests.contains(digest), "{} {}", name, digest);
            }
        }
    }

    #[test]
    fn readers_take_anything(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC*", json in "[\\[\\]{}\",:a-z0-9 .-]*") {
        let _ = read_key(&bytes);
        let _ = Keyring::from_json(&text);
        let _ = Keyring::from_json(&json);
        let _ = CompiledRuntimePolicy::compile(&json);
        let _ = verify_upload(&bytes, Some(&bytes), SignatureRule::Required);
        let _ = verify_upload(json.as_bytes(), None, SignatureRule::NotRequired);
        for kind in EventKind::ALL {
            let _ = parse_event(kind, &text);
        }
    }

    #[test]
    fn patterns_compile_or_are_refused(pattern in "[\\[\\](){}|*+?.^$\\\\a-cPwdsbB<>=!:,0-9i#&~-]{0,24}", text in "[a-c\n]{0,12}") {
        if let Ok(regex) = PythonRegex::prefix_match(&pattern) {
            let _ = regex.is_match(&text);
        }
    }
}
