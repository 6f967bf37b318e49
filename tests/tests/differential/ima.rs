//! Measurement lists of one agent, one after the other.

use crate::chance::{Chance, cases};
use crate::peer::Peer;
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::measurement_list::EntryReader;
use keylime_engine::ima::{ImaContext, ImaOptions, ImaState, KeyringUse, appraise_with};
use keylime_engine::policy::CompiledRuntimePolicy;
use keylime_engine::verdict::Failure;
use serde_json::{Value, json};
use std::path::Path;

/// Lines of the project's vectors: keys, signatures, device-mapper events and all that is odd.
fn recorded_lines() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/agreement/ima");
    let mut lines = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("vectors").flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read(&file).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        lines.extend(text.split('\n').filter(|line| (1..4000).contains(&line.len())).map(str::to_owned));
    }
    lines
}

const NAMES: [&str; 8] =
    ["/usr/bin/a", "/usr/bin/b", "/tmp/x", "boot_aggregate", "/a b", "é", "/usr/lib/c.so", "/opt/d"];
const EXCLUDES: [&str; 6] = ["/tmp/.*", "/opt", "^/usr/lib", "(?i)/USR/BIN/B$", "boot", "["];
const TEMPLATES: [&str; 3] = ["ima", "ima-ng", "ima-sig"];

fn policy(chance: &mut Chance) -> Value {
    let mut digests = serde_json::Map::new();
    for name in NAMES {
        if !chance.once_in(3) {
            let list: Vec<String> = (0..=chance.below(2)).map(|_| known_digest(chance)).collect();
            digests.insert(name.to_owned(), json!(list));
        }
    }
    let excludes: Vec<&str> = (0..chance.below(3)).map(|_| chance.pick(&EXCLUDES)).collect();
    json!({
        "meta": {"version": 1, "generator": 3}, "release": 0,
        "digests": digests, "excludes": excludes, "keyrings": {".ima": [known_digest(chance)]},
        "ima": {
            "ignored_keyrings": if chance.once_in(3) { json!(["*"]) } else { json!([]) },
            "log_hash_alg": chance.pick(&["sha1", "sha1", "sha256", "sha384"]),
            "dm_policy": null,
        },
        "ima-buf": {}, "verification-keys": "",
    })
}

/// One of a few, so that lists and policies meet.
fn known_digest(chance: &mut Chance) -> String {
    let value = u8::try_from(chance.below(4)).unwrap_or(0);
    hex::encode([value; 32])[..*chance.pick(&[&40_usize, &64, &64, &64])].to_owned()
}

fn line(chance: &mut Chance, recorded: &[String], log_hash: HashAlgorithm) -> String {
    let made = match chance.below(4) {
        0 => recorded[chance.below(recorded.len())].clone(),
        _ => {
            let template = chance.pick(&TEMPLATES);
            let digest = known_digest(chance);
            let algorithm = if digest.len() == 40 { "sha1" } else { "sha256" };
            let name = chance.pick(&NAMES);
            match template {
                "ima" => format!("10 {} ima {} {name}", "0".repeat(40), &digest[..40]),
                "ima-sig" => {
                    let signature = if chance.once_in(2) { String::new() } else { format!("0302{}", chance.hex(20)) };
                    format!("10 00 ima-sig {algorithm}:{digest} {name} {signature}")
                }
                other => format!("10 00 {other} {algorithm}:{digest} {name}"),
            }
        }
    };
    let made = if chance.once_in(12) { chance.edited(&made, "0123456789abcdef :\t\r%/") } else { made };
    if chance.once_in(10) { made } else { with_right_hash(&made, log_hash) }
}

/// The line with the template hash its fields have; a line that cannot be read stays as it is.
fn with_right_hash(line: &str, log_hash: HashAlgorithm) -> String {
    let mut reader = EntryReader::default();
    let Ok(entry) = reader.read(line) else { return line.to_owned() };
    let hash = log_hash.digest(&[entry.template_data]).to_hex();
    let Some((pcr, rest)) = line.split_once(' ') else { return line.to_owned() };
    let Some((_, fields)) = rest.split_once(' ') else { return line.to_owned() };
    format!("{pcr} {hash} {fields}")
}

#[test]
fn measurement_lists_are_judged_alike() {
    let mut chance = Chance::of_run("measurement lists");
    let mut peer = Peer::start();
    let recorded = recorded_lines();
    let (mut compared, mut excused) = (0, 0);
    for number in 0..cases(3000) {
        let policy = policy(&mut chance);
        let log_hash = policy["ima"]["log_hash_alg"].as_str().and_then(HashAlgorithm::from_name).expect("known");
        let bank = chance.pick(&[&HashAlgorithm::Sha1, &HashAlgorithm::Sha256, &HashAlgorithm::Sha384]);
        let compiled = CompiledRuntimePolicy::compile(&policy.to_string()).expect("a policy");
        let (mut ours, mut steps) = (Vec::new(), Vec::new());
        let mut state = ImaState::default();
        for _ in 0..=chance.below(3) {
            let lines: Vec<String> = (0..chance.below(8)).map(|_| line(&mut chance, &recorded, log_hash)).collect();
            let list = lines.join("\n") + if chance.once_in(4) { "" } else { "\n" };
            let quoted = quoted(&mut chance, &list, &state, &compiled, *bank);
            let context = context(&compiled, *bank, quoted.as_deref());
            let appraisal = appraise_with(&list, &state, &context, KeyringUse::Considered);
            ours.push(answer(&appraisal));
            state = appraisal.state;
            steps.push(json!({ "list": list, "quoted": quoted.map(hex::encode) }));
        }
        let question = json!({ "ask": "ima_lists", "policy": policy.to_string(), "bank": bank.name(), "steps": steps });
        let theirs = peer.ask(&question);
        for (step, (ours, theirs)) in ours.iter().zip(theirs.as_array().expect("answers")).enumerate() {
            let list = steps[step]["list"].as_str().unwrap_or_default();
            if is_deviation(list, ours, theirs) {
                excused += 1;
                // What follows depends on what is remembered.
                break;
            }
            assert_eq!(ours, theirs, "case {number} step {step}: {question}");
            compared += 1;
        }
    }
    println!("measurement lists: {compared} compared, {excused} excused");
    assert!(compared > excused, "{compared} compared, {excused} excused");
}

/// A value the list replays to on the way, or another. Without any the reference remembers a progress that no quote made.
fn quoted(
    chance: &mut Chance,
    list: &str,
    state: &ImaState,
    policy: &CompiledRuntimePolicy,
    bank: HashAlgorithm,
) -> Option<Vec<u8>> {
    match chance.below(6) {
        0 => hex::decode(chance.hex(bank.digest_len())).ok(),
        _ => {
            let lines: Vec<&str> = list.split('\n').collect();
            let covered = if chance.once_in(3) { chance.below(lines.len() + 1) } else { lines.len() };
            let part = lines[..covered].join("\n");
            let replay = appraise_with(&part, state, &context(policy, bank, None), KeyringUse::Considered);
            Some(replay.running.as_bytes().to_vec())
        }
    }
}

fn context<'a>(policy: &'a CompiledRuntimePolicy, bank: HashAlgorithm, quoted: Option<&'a [u8]>) -> ImaContext<'a> {
    ImaContext {
        policy,
        tenant_keyring: None,
        bank,
        quoted_pcr10: quoted,
        boot_aggregates: &[],
        options: ImaOptions::default(),
    }
}

fn answer(appraisal: &keylime_engine::ima::ImaAppraisal) -> Value {
    let failures: Vec<String> =
        appraisal.failures.iter().map(|failure| Failure::Ima(failure.clone()).event_id()).collect();
    let register = appraisal.state.pcr10.map(|value| value.to_hex()).filter(|hex| hex.bytes().any(|b| b != b'0'));
    json!({
        "failures": failures,
        "running": appraisal.running.to_hex(),
        "next": appraisal.state.next_entry,
        "register": register,
        "progress": appraisal.state.progress,
    })
}

/// Differences that are meant.
fn is_deviation(list: &str, ours: &Value, theirs: &Value) -> bool {
    // Where the reference raises an exception, a list fails.
    if theirs["exception"] == true {
        return ours["failures"] != json!([]);
    }
    // The kernel's newer templates are read in the kernel's format; the reference cannot read them.
    ["ima-ngv2", "ima-sigv2", "ima-modsig", "evm-sig"].iter().any(|template| list.contains(template))
}
