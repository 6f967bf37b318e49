//! Push agents through the whole verifier on paused time: software TPMs sign, the engine judges, the database is in memory.

mod support;

use keylime_actors::ports::{AgentAmendment, NewRuntimePolicy, PolicyChoice, TokenExtension};
use keylime_actors::runtime::clock::TokioClock;
use keylime_actors::runtime::entropy::SystemEntropy;
use keylime_actors::verifier::{
    AgentTls, AmendError, AttestationModel, AttestationStatus, EngineAppraiser, EnrolAgent, PushError, PushOptions,
    Selector, VerifierHandle, VerifierOptions, VerifierPorts, start,
};
use keylime_bench::push_machine::{PushMachine, Wanted};
use keylime_engine::evidence::attestation::{Attestation, Evaluation, FailureReason, Stage};
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::{Refusal, TimeoutRecovery};
use keylime_schema::wire::v3::attestation_request::{evidence_of, read_offer};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use support::memory_store::MemoryStore;
use support::scripted_fleet::ScriptedFleet;
use support::{EPOCH_MILLIS, PlainComposer, enrolment, options, pass, scenario};

const GOOD: &str = "/usr/bin/good";
const LATER: &str = "/usr/bin/later";

/// A verifier for push agents.
struct Site {
    store: Arc<MemoryStore>,
    handle: VerifierHandle,
    extended: Arc<Extended>,
}

#[derive(Default)]
struct Extended(Mutex<Vec<AgentId>>);

impl TokenExtension for Extended {
    fn extend(&self, agent_id: &AgentId) {
        self.0.lock().push(agent_id.clone());
    }
}

impl Site {
    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::default()), PushOptions::default())
    }

    /// A verifier on this database, as after a restart.
    fn on(store: Arc<MemoryStore>, push: PushOptions) -> Self {
        let ports = VerifierPorts {
            store: store.clone(),
            transport: Arc::new(ScriptedFleet::default()),
            composer: Arc::new(PlainComposer),
            appraiser: Arc::new(EngineAppraiser::default()),
            clock: Arc::new(TokioClock::starting_at(EPOCH_MILLIS)),
            entropy: Arc::new(SystemEntropy),
        };
        let options = VerifierOptions { model: AttestationModel::Push, push, ..options() };
        let handle = start(options, AgentTls::Disabled, ports).unwrap();
        let extended = Arc::new(Extended::default());
        handle.extend_tokens_with(extended.clone());
        Self { store, handle, extended }
    }

    async fn enrol(&self, name: &str, machine: &PushMachine) -> AgentId {
        let request = enrolment_of(name, machine);
        let agent_id = request.agent_id.clone();
        self.handle.enrol(request).await.unwrap();
        agent_id
    }

    async fn open(&self, agent_id: &AgentId, machine: &PushMachine) -> Result<Arc<Attestation>, PushError> {
        let body = machine.capabilities();
        let attributes = body.pointer("/data/attributes").unwrap().as_object().unwrap();
        self.handle.open_attestation(agent_id, read_offer(attributes)).await
    }

    async fn submit(&self, agent_id: &AgentId, body: &Value) -> Result<Arc<Attestation>, PushError> {
        let attributes = body.pointer("/data/attributes").unwrap().as_object().unwrap();
        let evidence = Some(evidence_of(attributes).cloned());
        self.handle.submit_evidence(agent_id, None, evidence).await.map(|accepted| accepted.attestation)
    }

    /// A whole attestation; answers its stage once it is judged.
    async fn attest(&self, agent_id: &AgentId, machine: &mut PushMachine) -> Stage {
        let opened = self.open(agent_id, machine).await.unwrap();
        let body = machine.evidence(&wanted(&opened)).unwrap();
        self.submit(agent_id, &body).await.unwrap();
        pass(0.1).await;
        let judged = self.handle.attestation(agent_id, Selector::Index(opened.index)).await.unwrap();
        judged.unwrap().unwrap().stage
    }

    async fn status(&self, agent_id: &AgentId) -> AttestationStatus {
        self.handle.status(agent_id).await.unwrap().unwrap().attestation_status
    }
}

fn wanted(opened: &Attestation) -> Wanted {
    let parameters = opened.quote_parameters().unwrap();
    let selected = parameters.selected_subjects.iter().find_map(|(_, pcrs)| pcrs.as_ref()).unwrap();
    Wanted {
        challenge: parameters.challenge.as_bytes().to_vec(),
        pcrs: keylime_engine::tpm::pcr_mask::PcrMask::of(selected.iter().map(|pcr| u8::try_from(*pcr).unwrap())),
        ima_offset: Some(usize::try_from(opened.ima_offset()).unwrap()),
    }
}

fn enrolment_of(name: &str, machine: &PushMachine) -> EnrolAgent {
    let digests: serde_json::Map<String, Value> = ["boot_aggregate", GOOD, LATER]
        .into_iter()
        .map(|path| {
            let digest = if path == "boot_aggregate" { [0; 32] } else { [7; 32] };
            (path.to_owned(), serde_json::json!([hex::encode(digest)]))
        })
        .collect();
    let text = serde_json::json!({
        "meta": {"version": 1, "generator": 3}, "release": 0, "digests": digests, "excludes": [], "keyrings": {},
        "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null}, "ima-buf": {},
        "verification-keys": "",
    })
    .to_string();
    EnrolAgent {
        ip: None,
        port: None,
        ak_tpm: machine.ak(),
        accept_tpm_signing_algs: vec!["rsassa".to_owned(), "ecdsa".to_owned()],
        runtime_policy: PolicyChoice::StoredOrNew(NewRuntimePolicy {
            name: name.to_owned(),
            text: Some(text.as_str().into()),
            checksum: format!("checksum of {name}"),
            generator: 3,
            tpm_policy: None,
        }),
        ..enrolment(name)
    }
}

fn name_of(error: PushError) -> &'static str {
    match error {
        PushError::Refused(refusal) => refusal.name(),
        PushError::NotEnrolled => "not_enrolled",
        PushError::Store(_) => "store",
    }
}

const PASS: Stage = Stage::Complete(Evaluation::Pass);

#[test]
fn a_good_machine_passes_incrementally_and_its_token_lives_on() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(1).unwrap());
        machine.run(GOOD, &[7; 32]);
        let agent = site.enrol("agent", &machine).await;
        assert_eq!(site.status(&agent).await, AttestationStatus::Pending);
        assert_eq!(site.attest(&agent, &mut machine).await, PASS);
        assert_eq!(site.status(&agent).await, AttestationStatus::Pass);
        assert_eq!(site.extended.0.lock().as_slice(), std::slice::from_ref(&agent));
        pass(2.0).await;
        machine.run(LATER, &[7; 32]);
        let opened = site.open(&agent, &machine).await.unwrap();
        assert_eq!(opened.ima_offset(), 2, "only the new entry is asked for");
        let body = machine.evidence(&wanted(&opened)).unwrap();
        site.submit(&agent, &body).await.unwrap();
        pass(2.0).await;
        assert_eq!(site.store.attestations_of(&agent)[1].stage, PASS);
        machine.reboot();
        assert_eq!(site.attest(&agent, &mut machine).await, PASS, "a real reboot is no failure");
        assert_eq!(site.store.row(&agent).unwrap().attestation_count, 3);
        assert!(site.store.outbox().is_empty());
    });
}

#[test]
fn an_unknown_program_fails_and_is_announced_once() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(2).unwrap());
        let agent = site.enrol("agent", &machine).await;
        assert_eq!(site.attest(&agent, &mut machine).await, PASS);
        machine.run("/usr/bin/evil", &[9; 32]);
        for _ in 0..3 {
            pass(2.0).await;
            let failed = Stage::Complete(Evaluation::Fail(FailureReason::PolicyViolation));
            assert_eq!(site.attest(&agent, &mut machine).await, failed);
        }
        let outbox = site.store.outbox();
        assert_eq!(outbox.len(), 1);
        assert!(outbox[0].body.starts_with("ima."), "{}", outbox[0].body);
        assert_eq!(site.status(&agent).await, AttestationStatus::Fail);
        assert_eq!(site.store.row(&agent).unwrap().consecutive_attestation_failures, 3);
        assert_eq!(site.extended.0.lock().len(), 1, "a failure prolongs no token");
    });
}

#[test]
fn replayed_foreign_and_tampered_evidence_fails() {
    scenario(|| async {
        let site = Site::new();
        let (mut machine, mut other) = (PushMachine::from_seed(3).unwrap(), PushMachine::from_seed(4).unwrap());
        let agent = site.enrol("agent", &machine).await;
        let opened = site.open(&agent, &machine).await.unwrap();
        let first = machine.evidence(&wanted(&opened)).unwrap();
        site.submit(&agent, &first).await.unwrap();
        let again = site.submit(&agent, &first).await.unwrap_err();
        assert_eq!(name_of(again), "evidence_immutable");
        let broken = Stage::Complete(Evaluation::Fail(FailureReason::BrokenEvidenceChain));
        pass(2.0).await;

        let opened = site.open(&agent, &machine).await.unwrap();
        let mut replayed = first.clone();
        replayed["data"]["attributes"]["evidence_collected"][1]["data"]["entries"] = "".into();
        site.submit(&agent, &replayed).await.unwrap();
        pass(2.0).await;
        assert_eq!(site.store.attestations_of(&agent).last().unwrap().stage, broken, "replayed {}", opened.index);

        let opened = site.open(&agent, &machine).await.unwrap();
        let foreign = other.evidence(&wanted(&opened)).unwrap();
        site.submit(&agent, &foreign).await.unwrap();
        pass(2.0).await;
        assert_eq!(site.store.attestations_of(&agent).last().unwrap().stage, broken, "signed by another TPM");

        let opened = site.open(&agent, &machine).await.unwrap();
        let mut short = machine.evidence(&wanted(&opened)).unwrap();
        let message = &mut short["data"]["attributes"]["evidence_collected"][0]["data"]["message"];
        let text = message.as_str().unwrap();
        *message = text[..text.len() / 8 * 4].into();
        let refused = site.submit(&agent, &short).await.unwrap_err();
        assert_eq!(name_of(refused), "invalid", "cut off");
        let whole = machine.evidence(&wanted(&opened)).unwrap();
        site.submit(&agent, &whole).await.unwrap();
        pass(0.1).await;
        assert_eq!(site.store.attestations_of(&agent).last().unwrap().stage, PASS, "the challenge was not used up");
    });
}

#[test]
fn refusals_come_in_their_order() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(5).unwrap());
        let unknown = AgentId::parse("nobody").unwrap();
        pass(0.1).await;
        assert_eq!(name_of(site.open(&unknown, &machine).await.unwrap_err()), "not_enrolled");
        let agent = site.enrol("agent", &machine).await;
        let nothing = serde_json::json!({"data": {"attributes": {}}});
        assert_eq!(name_of(site.submit(&agent, &nothing).await.unwrap_err()), "no_attestation");
        site.attest(&agent, &mut machine).await;
        let early = site.open(&agent, &machine).await.unwrap_err();
        assert!(matches!(early, PushError::Refused(Refusal::Premature { retry_after: 2 })), "{early:?}");
        pass(2.0).await;
        let first = site.open(&agent, &machine).await.unwrap();
        let second = site.open(&agent, &machine).await.unwrap();
        assert_eq!(second.index, first.index.next(), "the second of two negotiations takes the first one's place");
        let late = machine.evidence(&wanted(&first)).unwrap();
        let index = first.index.to_string();
        let evidence = Some(evidence_of(late["data"]["attributes"].as_object().unwrap()).cloned());
        let error = site.handle.submit_evidence(&agent, Some(&index), evidence).await.unwrap_err();
        assert_eq!(name_of(error), "not_latest");
        pass(1800.0).await;
        let late = machine.evidence(&wanted(&second)).unwrap();
        assert_eq!(name_of(site.submit(&agent, &late).await.unwrap_err()), "challenges_expired");
    });
}

#[test]
fn two_first_attestations_at_once_conflict_while_policies_are_read() {
    scenario(|| async {
        let (site, machine) = (Site::new(), PushMachine::from_seed(6).unwrap());
        let agent = site.enrol("agent", &machine).await;
        let (one, two) = futures_util::join!(site.open(&agent, &machine), site.open(&agent, &machine));
        let outcomes = [one, two].map(|outcome| outcome.map_err(name_of).err());
        assert!(outcomes.contains(&None), "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, None | Some("conflict"))), "{outcomes:?}");
    });
}

#[test]
fn a_silent_agent_times_out_without_a_notice_and_comes_back() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(7).unwrap());
        let agent = site.enrol("agent", &machine).await;
        pass(60.0).await;
        assert_eq!(site.status(&agent).await, AttestationStatus::Pending, "never attested is not silent");
        site.attest(&agent, &mut machine).await;
        pass(9.0).await;
        assert_eq!(site.status(&agent).await, AttestationStatus::Pass);
        pass(2.0).await;
        assert_eq!(site.status(&agent).await, AttestationStatus::Timeout);
        assert!(!site.store.row(&agent).unwrap().accept_attestations);
        assert!(site.store.outbox().is_empty());
        assert_eq!(site.attest(&agent, &mut machine).await, PASS);
        assert_eq!(site.status(&agent).await, AttestationStatus::Pass);
    });
}

#[test]
fn with_manual_recovery_a_silent_agent_waits_for_reactivation() {
    scenario(|| async {
        let manual = PushOptions { timeout_recovery: TimeoutRecovery::Manual, ..PushOptions::default() };
        let site = Site::on(Arc::new(MemoryStore::default()), manual);
        let mut machine = PushMachine::from_seed(8).unwrap();
        let agent = site.enrol("agent", &machine).await;
        site.attest(&agent, &mut machine).await;
        pass(11.0).await;
        assert_eq!(name_of(site.open(&agent, &machine).await.unwrap_err()), "attestations_disabled");
        site.handle.reactivate(&agent).await.unwrap();
        assert_eq!(site.attest(&agent, &mut machine).await, PASS);
        pass(11.0).await;
        assert_eq!(name_of(site.open(&agent, &machine).await.unwrap_err()), "attestations_disabled");
        site.handle.delete(&agent).await.unwrap();
        let agent = site.enrol("agent", &machine).await;
        assert_eq!(site.attest(&agent, &mut machine).await, PASS, "enrolled anew");
    });
}

#[test]
fn a_restart_gives_silent_agents_a_window_and_judges_what_was_taken() {
    scenario(|| async {
        let store = Arc::new(MemoryStore::default());
        let site = Site::on(Arc::clone(&store), PushOptions::default());
        let mut machine = PushMachine::from_seed(9).unwrap();
        let agent = site.enrol("agent", &machine).await;
        site.attest(&agent, &mut machine).await;
        pass(2.0).await;
        machine.run("/usr/bin/evil", &[9; 32]);
        let opened = site.open(&agent, &machine).await.unwrap();
        let body = machine.evidence(&wanted(&opened)).unwrap();
        let before = store.row(&agent).unwrap();
        let accepted = site.submit(&agent, &body).await.unwrap();
        // The verifier dies before the verdict is stored, and stays away for an hour.
        site.handle.shutdown(Duration::from_secs(1)).await;
        store.change_attestation(&agent, (*accepted).clone());
        store.insert(before);
        store.clear_outbox();
        pass(3600.0).await;
        let site = Site::on(Arc::clone(&store), PushOptions::default());
        pass(1.0).await;
        let judged = store.attestations_of(&agent).pop().unwrap();
        assert_eq!(judged.stage, Stage::Complete(Evaluation::Fail(FailureReason::PolicyViolation)));
        assert_eq!(store.outbox().len(), 1, "the failure was announced after all");
        pass(8.0).await;
        assert_eq!(site.status(&agent).await, AttestationStatus::Fail);
        assert!(store.row(&agent).unwrap().accept_attestations, "it still has its window");
        let stale = site.submit(&agent, &body).await.unwrap_err();
        assert_eq!(name_of(stale), "evidence_immutable");
        pass(10.0).await;
        assert!(!store.row(&agent).unwrap().accept_attestations);
    });
}

#[test]
fn open_challenges_are_not_honoured_after_a_restart() {
    scenario(|| async {
        let store = Arc::new(MemoryStore::default());
        let site = Site::on(Arc::clone(&store), PushOptions::default());
        let mut machine = PushMachine::from_seed(10).unwrap();
        let agent = site.enrol("agent", &machine).await;
        let opened = site.open(&agent, &machine).await.unwrap();
        let body = machine.evidence(&wanted(&opened)).unwrap();
        site.handle.shutdown(Duration::from_secs(1)).await;
        let site = Site::on(store, PushOptions::default());
        pass(0.5).await;
        assert_eq!(name_of(site.submit(&agent, &body).await.unwrap_err()), "no_attestation");
        let reopened = site.open(&agent, &machine).await.unwrap();
        assert_eq!(reopened.index, opened.index);
        site.submit(&agent, &body).await.unwrap();
        pass(0.1).await;
        let broken = Stage::Complete(Evaluation::Fail(FailureReason::BrokenEvidenceChain));
        assert_eq!(site.store.attestations_of(&agent)[0].stage, broken, "the old challenge is worth nothing");
    });
}

#[test]
fn nothing_is_opened_or_taken_while_the_database_is_away() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(11).unwrap());
        let agent = site.enrol("agent", &machine).await;
        site.attest(&agent, &mut machine).await;
        pass(2.0).await;
        let opened = site.open(&agent, &machine).await.unwrap();
        let body = machine.evidence(&wanted(&opened)).unwrap();
        site.store.set_away(true);
        assert_eq!(name_of(site.submit(&agent, &body).await.unwrap_err()), "busy");
        assert_eq!(name_of(site.open(&agent, &machine).await.unwrap_err()), "busy");
        pass(60.0).await;
        site.store.set_away(false);
        pass(10.0).await;
        site.submit(&agent, &body).await.unwrap();
        pass(0.1).await;
        assert_eq!(site.store.attestations_of(&agent).last().unwrap().stage, PASS, "the same evidence is still good");
        assert_eq!(site.status(&agent).await, AttestationStatus::Pass);
    });
}

#[test]
fn a_verdict_that_cannot_be_stored_is_kept_until_the_database_is_back() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(17).unwrap());
        let agent = site.enrol("agent", &machine).await;
        site.attest(&agent, &mut machine).await;
        pass(2.0).await;
        machine.run("/usr/bin/evil", &[9; 32]);
        let opened = site.open(&agent, &machine).await.unwrap();
        let body = machine.evidence(&wanted(&opened)).unwrap();
        site.submit(&agent, &body).await.unwrap();
        site.store.set_away(true);
        pass(60.0).await;
        let taken = site.store.attestations_of(&agent).pop().unwrap();
        assert_eq!((taken.index, taken.stage), (opened.index, Stage::EvaluatingEvidence));
        assert!(site.store.outbox().is_empty(), "nothing is announced that is not stored");
        site.store.set_away(false);
        pass(10.0).await;
        let judged = site.store.attestations_of(&agent).pop().unwrap();
        assert_eq!(judged.stage, Stage::Complete(Evaluation::Fail(FailureReason::PolicyViolation)));
        assert_eq!(site.store.outbox().len(), 1);
        assert_eq!(site.status(&agent).await, AttestationStatus::Fail);
    });
}

#[test]
fn a_thousand_agents_at_once() {
    scenario(|| async {
        let site = Site::new();
        let mut machines = Vec::new();
        let machine = PushMachine::from_seed(12).unwrap();
        for number in 0..1000 {
            machines
                .push((site.enrol(&format!("agent-{number}"), &machine).await, PushMachine::from_seed(12).unwrap()));
        }
        let attests = machines.iter_mut().map(|(agent, machine)| site.attest(agent, machine));
        let stages = futures_util::future::join_all(attests).await;
        assert!(stages.iter().all(|stage| *stage == PASS));
        assert_eq!(site.handle.live_agents(), 1000);
        pass(60.0).await;
        let mut timed_out = 0;
        for (agent, _) in &machines {
            timed_out += usize::from(site.status(agent).await == AttestationStatus::Timeout);
        }
        assert_eq!(timed_out, 1000);
        assert!(site.store.outbox().is_empty(), "silence revokes nobody");
    });
}

#[test]
fn evidence_under_a_changed_policy_is_judged_by_the_new_one_or_asked_for_anew() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(13).unwrap());
        let agent = site.enrol("agent", &machine).await;
        let opened = site.open(&agent, &machine).await.unwrap();
        let body = machine.evidence(&wanted(&opened)).unwrap();
        let strict = NewRuntimePolicy {
            name: "agent".to_owned(),
            text: Some(r#"{"meta":{"version":1,"generator":3},"release":0,"digests":{},"excludes":[],"keyrings":{},"ima":{"ignored_keyrings":[],"log_hash_alg":"sha1","dm_policy":null},"ima-buf":{},"verification-keys":""}"#.into()),
            checksum: "strict".to_owned(),
            generator: 3,
            tpm_policy: None,
        };
        let agents = site.handle.store().update_runtime_policy(strict).await.unwrap();
        site.handle.policy_changed(agents).await;
        site.submit(&agent, &body).await.unwrap();
        pass(0.1).await;
        let failed = Stage::Complete(Evaluation::Fail(FailureReason::PolicyViolation));
        assert_eq!(site.store.attestations_of(&agent).pop().map(|attestation| attestation.stage), Some(failed));
        assert_eq!(site.handle.attestation(&agent, Selector::Latest).await.unwrap().unwrap().unwrap().stage, failed);
    });
}

#[test]
fn agents_are_served_as_they_were_enrolled() {
    scenario(|| async {
        let store = Arc::new(MemoryStore::default());
        let ports = VerifierPorts {
            store: store.clone(),
            transport: Arc::new(ScriptedFleet::default()),
            composer: Arc::new(PlainComposer),
            appraiser: Arc::new(EngineAppraiser::default()),
            clock: Arc::new(TokioClock::starting_at(EPOCH_MILLIS)),
            entropy: Arc::new(SystemEntropy),
        };
        let options =
            VerifierOptions { model: AttestationModel::Both, quote_interval: Duration::from_secs(2), ..options() };
        let handle = start(options, AgentTls::Disabled, ports).unwrap();
        let machine = PushMachine::from_seed(14).unwrap();
        handle.enrol(enrolment("pulled")).await.unwrap();
        handle.enrol(enrolment_of("pushing", &machine)).await.unwrap();
        let body = machine.capabilities();
        let offer = || read_offer(body.pointer("/data/attributes").unwrap().as_object().unwrap());
        let pulled = AgentId::parse("pulled").unwrap();
        let refused = handle.open_attestation(&pulled, offer()).await.unwrap_err();
        assert_eq!(name_of(refused), "attestations_disabled");
        handle.open_attestation(&AgentId::parse("pushing").unwrap(), offer()).await.unwrap();
        assert_eq!(handle.live_agents(), 2);
    });
}

#[test]
fn a_changed_agent_is_asked_by_its_new_terms_and_not_blamed_for_the_old_ones() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(15).unwrap());
        let agent = site.enrol("agent", &machine).await;
        let opened = site.open(&agent, &machine).await.unwrap();
        let body = machine.evidence(&wanted(&opened)).unwrap();
        let policy = format!(r#"{{"23": ["{}"]}}"#, "00".repeat(32));
        let changes = AgentAmendment { tpm_policy: Some(policy.clone()), ..AgentAmendment::default() };
        site.handle.amend(&agent, changes).await.unwrap();
        assert_eq!(site.store.row(&agent).unwrap().tpm_policy, policy);
        site.submit(&agent, &body).await.unwrap();
        pass(0.1).await;
        assert!(
            site.store.attestations_of(&agent).is_empty(),
            "the evidence was not judged by what it was not asked for"
        );
        assert!(site.store.outbox().is_empty());
        let opened = site.open(&agent, &machine).await.unwrap();
        let selected = opened.quote_parameters().unwrap().selected_subjects.iter().find_map(|(_, pcrs)| pcrs.as_ref());
        assert!(selected.unwrap().contains(&23), "{selected:?}");
    });
}

#[test]
fn a_change_of_the_runtime_policy_is_what_the_next_evidence_is_judged_by() {
    scenario(|| async {
        let (site, mut machine) = (Site::new(), PushMachine::from_seed(16).unwrap());
        let agent = site.enrol("agent", &machine).await;
        assert_eq!(site.attest(&agent, &mut machine).await, PASS);
        let strict = NewRuntimePolicy {
            name: "agent".to_owned(),
            text: Some(r#"{"meta":{"version":1,"generator":3},"release":0,"digests":{},"excludes":[],"keyrings":{},"ima":{"ignored_keyrings":[],"log_hash_alg":"sha1","dm_policy":null},"ima-buf":{},"verification-keys":""}"#.into()),
            checksum: "strict".to_owned(),
            generator: 3,
            tpm_policy: None,
        };
        let changes = AgentAmendment { runtime_policy: Some(PolicyChoice::Own(strict)), ..AgentAmendment::default() };
        site.handle.amend(&agent, changes).await.unwrap();
        pass(2.0).await;
        machine.run(GOOD, &[7; 32]);
        let failed = Stage::Complete(Evaluation::Fail(FailureReason::PolicyViolation));
        assert_eq!(site.attest(&agent, &mut machine).await, failed);
        let broken = AgentAmendment { tpm_policy: Some("no json".to_owned()), ..AgentAmendment::default() };
        assert!(matches!(site.handle.amend(&agent, broken).await, Err(AmendError::Invalid(_))));
        let nobody = AgentId::parse("nobody").unwrap();
        assert!(matches!(site.handle.amend(&nobody, AgentAmendment::default()).await, Err(AmendError::Command(_))));
    });
}
