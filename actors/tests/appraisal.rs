//! Real evidence through the whole verifier: software TPMs answer with signed quotes, the engine judges them.

mod support;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_actors::ports::{
    AgentCall, AgentReply, EvidenceTransport, NewRuntimePolicy, PolicyChoice, Unreachable, VerifierStore as _,
};
use keylime_actors::runtime::clock::TokioClock;
use keylime_actors::runtime::entropy::SystemEntropy;
use keylime_actors::verifier::{
    AgentTls, AttestationStatus, EngineAppraiser, EnrolAgent, VerifierHandle, VerifierPorts, start,
};
use keylime_bench::soft_tpm::{AttestationPair, EndorsementPair, SoftTpm};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ids::AgentId;
use keylime_engine::tpm::pcr_mask::PcrMask;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use support::memory_store::MemoryStore;
use support::{EPOCH_MILLIS, PlainComposer, enrolment, options, pass, scenario};

const PAYLOAD_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n";

/// A machine: a TPM and its measurement list.
struct Machine {
    tpm: SoftTpm,
    entries: Vec<String>,
    /// When set, every later request is answered with this quote again.
    replay: Option<String>,
}

impl Machine {
    fn new(seed: u8) -> Self {
        let endorsement = Arc::new(EndorsementPair::p256_from_seed(&[seed; 32]).unwrap());
        let attestation = Arc::new(AttestationPair::p256_from_seed(&[seed.wrapping_add(100); 32]).unwrap());
        let tpm = SoftTpm::new(endorsement, attestation, &[HashAlgorithm::Sha256]);
        let mut machine = Self { tpm, entries: Vec::new(), replay: None };
        machine.run("boot_aggregate", &[0; 32]);
        machine
    }

    /// Measures a file as the kernel does with template `ima-ng` and a SHA-256 bank.
    fn run(&mut self, path: &str, content_digest: &[u8; 32]) {
        let mut data = Vec::new();
        let digest_field = [b"sha256:\0".as_slice(), content_digest].concat();
        let path_field = [path.as_bytes(), b"\0"].concat();
        for field in [digest_field, path_field] {
            data.extend_from_slice(&u32::try_from(field.len()).unwrap().to_le_bytes());
            data.extend_from_slice(&field);
        }
        let template = HashAlgorithm::Sha1.digest(&[&data]);
        self.tpm.extend(HashAlgorithm::Sha256, 10, &HashAlgorithm::Sha256.digest(&[&data])).unwrap();
        self.entries.push(format!("10 {} ima-ng sha256:{} {path}\n", template.to_hex(), hex::encode(content_digest)));
    }

    fn answer(&mut self, path: &str) -> String {
        let parameter = |name: &str| {
            let start = path.find(&format!("{name}=")).unwrap() + name.len() + 1;
            path[start..].split('&').next().unwrap().to_owned()
        };
        let from = parameter("ima_ml_entry").parse::<usize>().unwrap();
        let from = if from <= self.entries.len() { from } else { 0 };
        let mask = PcrMask::from_hex(&parameter("mask")).unwrap();
        self.tpm.advance_clock(10);
        let quote = match &self.replay {
            Some(quote) => quote.clone(),
            None => self.tpm.pull_quote(HashAlgorithm::Sha256, mask, &parameter("nonce"), PAYLOAD_KEY).unwrap(),
        };
        let mut results = serde_json::json!({
            "quote": quote, "hash_alg": "sha256", "enc_alg": "rsa", "sign_alg": "ecdsa",
            "ima_measurement_list": self.entries[from..].concat(), "ima_measurement_list_entry": from,
        });
        if parameter("partial") == "0" {
            results["pubkey"] = PAYLOAD_KEY.into();
        }
        serde_json::json!({ "code": 200, "status": "Success", "results": results }).to_string()
    }
}

#[derive(Default)]
struct Machines(Mutex<HashMap<AgentId, Machine>>);

#[async_trait]
impl EvidenceTransport for Machines {
    async fn send(&self, call: AgentCall) -> AgentReply {
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        match self.0.lock().get_mut(&call.agent_id) {
            Some(machine) => AgentReply::Response { status: 200, body: machine.answer(&call.path).into() },
            None => AgentReply::Unreachable(Unreachable::Timeout),
        }
    }

    fn forget(&self, _: &AgentId) {}
}

struct Site {
    store: Arc<MemoryStore>,
    machines: Arc<Machines>,
    handle: VerifierHandle,
}

impl Site {
    fn new() -> Self {
        Self::with_interval(std::time::Duration::from_secs(2))
    }

    fn with_interval(quote_interval: std::time::Duration) -> Self {
        Self::on(Arc::default(), Arc::default(), quote_interval)
    }

    /// A verifier on this database, as after a restart.
    fn on(store: Arc<MemoryStore>, machines: Arc<Machines>, quote_interval: std::time::Duration) -> Self {
        let ports = VerifierPorts {
            store: store.clone(),
            transport: machines.clone(),
            composer: Arc::new(PlainComposer),
            appraiser: Arc::new(EngineAppraiser::default()),
            clock: Arc::new(TokioClock::starting_at(EPOCH_MILLIS)),
            entropy: Arc::new(SystemEntropy),
        };
        let options = keylime_actors::verifier::VerifierOptions {
            quote_interval,
            severity: keylime_engine::verdict::SeverityPolicy::default(),
            ..options()
        };
        Self { store, machines, handle: start(options, AgentTls::Disabled, ports).unwrap() }
    }

    async fn enrol(&self, name: &str, machine: Machine, request: impl FnOnce(&mut EnrolAgent)) -> AgentId {
        let mut enrol = enrolment(name);
        enrol.ak_tpm = STANDARD.encode(machine.tpm.attestation().public());
        enrol.accept_tpm_signing_algs = vec!["ecdsa".to_owned()];
        let paths = ["boot_aggregate", "/usr/bin/good", "/usr/bin/later"];
        enrol.runtime_policy = PolicyChoice::New(allowing(name, &paths));
        request(&mut enrol);
        let agent_id = enrol.agent_id.clone();
        self.machines.0.lock().insert(agent_id.clone(), machine);
        self.handle.enrol(enrol).await.unwrap();
        agent_id
    }

    fn on_machine(&self, agent_id: &AgentId, change: impl FnOnce(&mut Machine)) {
        change(self.machines.0.lock().get_mut(agent_id).unwrap());
    }

    async fn expect(&self, agent_id: &AgentId, state: u8, event: Option<&str>) {
        let status = self.handle.status(agent_id).await.unwrap().unwrap();
        let found = (status.operational_state, status.last_event_id.as_deref());
        assert_eq!(found, (Some(state), event), "{:?}", status.failure_details);
    }
}

/// A policy under which every path may have the all-zero digest.
fn allowing(name: &str, paths: &[&str]) -> NewRuntimePolicy {
    let mut digests = String::new();
    for path in paths {
        let separator = if digests.is_empty() { "" } else { "," };
        write!(digests, r#"{separator}"{path}":["{}"]"#, "00".repeat(32)).unwrap();
    }
    let text = format!(
        r#"{{"meta":{{"version":1,"generator":3}},"release":0,"digests":{{{digests}}},"excludes":[],"keyrings":{{}},
        "ima":{{"ignored_keyrings":[],"log_hash_alg":"sha1","dm_policy":null}},"ima-buf":{{}},"verification-keys":""}}"#
    );
    NewRuntimePolicy {
        name: name.to_owned(),
        checksum: HashAlgorithm::Sha256.digest(&[text.as_bytes()]).to_hex(),
        text: Some(text.into()),
        generator: 3,
        tpm_policy: None,
    }
}

#[test]
fn an_honest_machine_passes_while_its_list_grows() {
    scenario(|| async {
        let site = Site::new();
        let agent = site.enrol("honest", Machine::new(1), |_| {}).await;
        pass(3.0).await;
        site.on_machine(&agent, |machine| machine.run("/usr/bin/good", &[0; 32]));
        pass(5.0).await;
        site.expect(&agent, 3, None).await;
        let status = site.handle.status(&agent).await.unwrap().unwrap();
        assert_eq!(status.attestation_status, AttestationStatus::Pass);
        assert_eq!(status.attestation_count, 4);
        assert_eq!((&*status.hash_alg, &*status.sign_alg), ("sha256", "ecdsa"));
    });
}

#[test]
fn a_long_interval_packs_keys_and_attests_all_the_same() {
    scenario(|| async {
        let site = Site::with_interval(std::time::Duration::from_secs(600));
        let honest = site.enrol("honest", Machine::new(1), |_| {}).await;
        let foreign = site.enrol("foreign", Machine::new(4), |_| {}).await;
        site.on_machine(&foreign, |machine| *machine = Machine::new(99));
        pass(1300.0).await;
        site.expect(&honest, 3, None).await;
        assert_eq!(site.handle.status(&honest).await.unwrap().unwrap().attestation_count, 3);
        site.expect(&foreign, 9, Some("qoute_validation.quote_validation")).await;
    });
}

#[test]
fn an_unknown_file_is_caught_at_the_next_quote_and_announced_once() {
    scenario(|| async {
        let site = Site::new();
        let agent = site.enrol("caught", Machine::new(2), |_| {}).await;
        pass(3.0).await;
        site.on_machine(&agent, |machine| machine.run("/tmp/evil", &[7; 32]));
        pass(2.5).await;
        site.expect(&agent, 9, Some("ima.validation.ima-ng.not_in_allowlist")).await;
        let outbox = site.store.outbox();
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox[0].kind, "revocation");
        let status = site.handle.status(&agent).await.unwrap().unwrap();
        assert!(status.failure_details[0].contains("/tmp/evil"), "{:?}", status.failure_details);
        let explanation = &status.explanations[0];
        assert_eq!(explanation.subject.as_deref(), Some("/tmp/evil"));
        assert_eq!(explanation.policy_entry.as_deref(), Some("runtime_policy/digests/~1tmp~1evil"));
        assert_eq!(explanation.found, Some("07".repeat(32)));
        assert!(explanation.line.is_some() && explanation.remedy.is_some());

        site.handle.shutdown(std::time::Duration::from_secs(5)).await;
        let later = Site::on(site.store.clone(), site.machines.clone(), std::time::Duration::from_secs(2));
        pass(3.0).await;
        let after_restart = later.handle.status(&agent).await.unwrap().unwrap();
        assert_eq!(after_restart.explanations, status.explanations);
        later.on_machine(&agent, |machine| {
            *machine = Machine::new(2);
            machine.tpm.advance_clock(1_000_000);
        });
        later.handle.reactivate(&agent).await.unwrap();
        pass(3.0).await;
        later.expect(&agent, 3, status.last_event_id.as_deref()).await;
        assert_eq!(later.handle.status(&agent).await.unwrap().unwrap().explanations, []);
        pass(60.0).await;
        assert!(
            later.store.explanations(agent.as_str()).await.unwrap().is_empty(),
            "a pass takes them from the database"
        );
    });
}

#[test]
fn forged_stale_and_foreign_quotes_fail() {
    scenario(|| async {
        let site = Site::new();
        let replayed = site.enrol("replayed", Machine::new(3), |_| {}).await;
        let foreign = site.enrol("foreign", Machine::new(4), |_| {}).await;
        let rewound = site.enrol("rewound", Machine::new(5), |_| {}).await;
        pass(3.0).await;
        site.on_machine(&replayed, |machine| {
            let mask = PcrMask::from_hex("0x400").unwrap();
            let old = machine.tpm.pull_quote(HashAlgorithm::Sha256, mask, "AAAAAAAAAAAAAAAAAAAA", PAYLOAD_KEY);
            machine.replay = Some(old.unwrap());
        });
        site.on_machine(&foreign, |machine| {
            let entries = std::mem::take(&mut machine.entries);
            *machine = Machine { entries, ..Machine::new(99) };
        });
        site.on_machine(&rewound, |machine| {
            // Another TPM with the same key, whose clock starts anew.
            *machine = Machine::new(5);
        });
        pass(3.0).await;
        for agent in [&replayed, &foreign, &rewound] {
            site.expect(agent, 9, Some("qoute_validation.quote_validation")).await;
        }
        assert_eq!(site.store.outbox().len(), 3);
    });
}

#[test]
fn a_reboot_starts_the_list_anew_without_a_failure() {
    scenario(|| async {
        let site = Site::new();
        let agent = site.enrol("rebooted", Machine::new(6), |_| {}).await;
        site.on_machine(&agent, |machine| machine.run("/usr/bin/good", &[0; 32]));
        pass(3.0).await;
        site.on_machine(&agent, |machine| {
            machine.tpm.reset();
            machine.entries.clear();
            machine.run("boot_aggregate", &[0; 32]);
        });
        pass(5.0).await;
        site.expect(&agent, 3, None).await;
    });
}

#[test]
fn a_narrowed_policy_judges_what_comes_after_it() {
    scenario(|| async {
        let site = Site::new();
        let agent = site.enrol("narrowed", Machine::new(7), |_| {}).await;
        pass(3.0).await;
        let narrowed = allowing("narrowed", &["boot_aggregate"]);
        let users = site.handle.store().update_runtime_policy(narrowed).await.unwrap();
        site.handle.policy_changed(users).await;
        site.on_machine(&agent, |machine| machine.run("/usr/bin/later", &[0; 32]));
        pass(3.0).await;
        site.expect(&agent, 9, Some("ima.validation.ima-ng.not_in_allowlist")).await;
    });
}

#[test]
fn what_cannot_be_judged_never_passes() {
    scenario(|| async {
        let site = Site::new();
        let boot = site
            .enrol("boot", Machine::new(8), |request| {
                request.boot_policy = PolicyChoice::StoredOrNew(keylime_actors::ports::NewBootPolicy {
                    name: "boot".to_owned(),
                    text: Some("no policy".into()),
                });
            })
            .await;
        let policy = site
            .enrol("policy", Machine::new(9), |request| {
                let mut broken = allowing("policy", &[]);
                broken.text = Some("{".into());
                request.runtime_policy = PolicyChoice::New(broken);
            })
            .await;
        let algorithm = site
            .enrol("algorithm", Machine::new(10), |request| request.accept_tpm_hash_algs = vec!["sha512".to_owned()])
            .await;
        pass(3.0).await;
        for (agent, state) in [(&boot, [7, 9]), (&policy, [7, 7]), (&algorithm, [9, 9])] {
            let status = site.handle.status(agent).await.unwrap().unwrap();
            assert!(state.contains(&status.operational_state.unwrap()), "{agent}: {:?}", status.operational_state);
            assert_eq!(status.attestation_count, 0);
            assert_eq!(status.attestation_status, AttestationStatus::Fail);
        }
    });
}
