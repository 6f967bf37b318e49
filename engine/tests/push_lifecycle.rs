//! The life of push agents, step by step: refusals, verdicts, pruning, silence, restarts.

mod push_fixture;

use keylime_engine::appraise::PushVerdict;
use keylime_engine::evidence::attestation::{AttestationIndex, Evaluation, FailureReason, Stage, WallMicros};
use keylime_engine::ima::ImaState;
use keylime_engine::lifecycle::push_restore::{RestoredPush, StoredAttestation, restore_push};
use keylime_engine::lifecycle::push_transition::{FailureRecovery, KEPT_FAILURES, PushSettings};
use keylime_engine::lifecycle::{
    AgentKind, Entropy, Presence, PushEffect, PushFacts, PushInput, PushPhase, PushState, PushTerms, Refusal,
    Submission, Ticket, TimeoutRecovery, Trail, push_transition,
};
use keylime_engine::time::{Now, Timestamp};
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::failure::PcrFailure;
use keylime_engine::verdict::{Failure, Failures};
use push_fixture::{Enrolment, challenge, evidence, offer, settings};
use std::collections::BTreeSet;

/// One agent, its settings and its clock.
struct Life {
    state: PushState,
    settings: PushSettings,
    enrolment: Enrolment,
    millis: u64,
    random: u8,
    stored: BTreeSet<AttestationIndex>,
    notices: usize,
    extensions: usize,
    challenges: BTreeSet<Vec<u8>>,
}

impl Life {
    fn new(settings: PushSettings) -> Self {
        Self {
            state: PushState::taken_up(PushFacts::default(), Trail::default(), Presence::Heard),
            settings,
            enrolment: Enrolment::new(),
            millis: 1_700_000_000_000,
            random: 0,
            stored: BTreeSet::new(),
            notices: 0,
            extensions: 0,
            challenges: BTreeSet::new(),
        }
    }

    fn now(&self) -> Now {
        Now { at: Timestamp(self.millis), wall_seconds: i64::try_from(self.millis / 1000).unwrap() }
    }

    fn pass_time(&mut self, millis: u64) {
        self.millis += millis;
    }

    fn step(&mut self, input: PushInput<'_>) -> Vec<PushEffect> {
        self.random = self.random.wrapping_add(1);
        let wall = WallMicros(i64::try_from(self.millis).unwrap() * 1000);
        let terms = PushTerms { settings: &self.settings, kind: AgentKind::Push, wall };
        let entropy = Entropy([self.random; Entropy::LEN]);
        let (state, effects) = push_transition(self.state.clone(), input, terms, self.now(), &entropy);
        self.state = state;
        for effect in &effects {
            match effect {
                PushEffect::Conclude(conclusion) => {
                    self.stored.insert(conclusion.attestation.index);
                    self.notices += usize::from(conclusion.notice.is_some());
                    for index in &conclusion.prune {
                        assert!(self.stored.remove(index), "{index} was not there to prune");
                    }
                }
                PushEffect::ExtendToken => self.extensions += 1,
                PushEffect::AnswerOpened(attestation) => {
                    assert!(self.challenges.insert(challenge(attestation)), "a challenge was used before");
                }
                _ => {}
            }
        }
        effects.into_vec()
    }

    fn open(&mut self, boot: i64, entries: u64) -> Vec<PushEffect> {
        let offer = Ok(offer(boot, entries));
        let enrolment = std::mem::replace(&mut self.enrolment, Enrolment::new());
        let effects = self.step(PushInput::Open(&offer, &enrolment.terms()));
        self.enrolment = enrolment;
        effects
    }

    fn submit(&mut self, nonce: &[u8], lines: u64) -> Vec<PushEffect> {
        let evidence = evidence(nonce, lines);
        self.step(PushInput::Submit(Submission { index: None, evidence: Some(Some(&evidence)) }))
    }

    fn ticket(&self) -> Ticket {
        self.state.ticket
    }

    /// A whole attestation with this verdict, after the interval.
    fn attest(&mut self, boot: i64, verdict: PushVerdict) -> AttestationIndex {
        self.pass_time(2000);
        let opened = self.open(boot, 4);
        let PushEffect::AnswerOpened(attestation) = &opened[0] else { panic!("{opened:?}") };
        self.submit(&challenge(attestation), 4);
        self.step(PushInput::Stored(self.ticket()));
        self.step(PushInput::Appraised(self.ticket(), Box::new(verdict)));
        self.step(PushInput::Concluded(attestation.index));
        attestation.index
    }

    fn refusal(effects: &[PushEffect]) -> &'static str {
        match effects {
            [PushEffect::Refuse(refusal)] => refusal.name(),
            _ => "none",
        }
    }
}

fn passed() -> PushVerdict {
    let ima = ImaState { boottime: 5, ..ImaState::default() };
    PushVerdict::Passed { clock: ClockInfo::default(), ima, certified_entries: 4 }
}

fn failed() -> PushVerdict {
    PushVerdict::Failed {
        failures: Failures::one(Failure::Pcr(PcrFailure::MissingDataPcr)),
        reason: FailureReason::PolicyViolation,
        clock: None,
    }
}

#[test]
fn evidence_is_taken_once() {
    let mut life = Life::new(settings());
    let opened = life.open(5, 4);
    let PushEffect::AnswerOpened(attestation) = &opened[0] else { panic!("{opened:?}") };
    let nonce = challenge(attestation);
    assert!(matches!(life.submit(&nonce, 4)[0], PushEffect::StoreEvidence(..)));
    assert_eq!(Life::refusal(&life.submit(&nonce, 4)), "evidence_immutable");
    life.step(PushInput::Stored(life.ticket()));
    assert_eq!(Life::refusal(&life.submit(&nonce, 4)), "evidence_immutable");
    assert_eq!(Life::refusal(&life.open(5, 4)), "verification_in_progress");
    life.step(PushInput::Appraised(life.ticket(), Box::new(passed())));
    assert_eq!(Life::refusal(&life.submit(&nonce, 4)), "evidence_immutable");
    assert_eq!(Life::refusal(&life.open(5, 4)), "premature");
}

#[test]
fn a_newer_attestation_takes_the_place_of_an_open_one() {
    let mut life = Life::new(settings());
    let first = life.open(5, 4);
    let PushEffect::AnswerOpened(first) = &first[0] else { panic!() };
    life.open(5, 4);
    let old = evidence(&challenge(first), 4);
    let late = life.step(PushInput::Submit(Submission { index: Some("0"), evidence: Some(Some(&old)) }));
    assert_eq!(Life::refusal(&late), "not_latest");
}

#[test]
fn late_evidence_is_refused_even_when_the_wall_clock_was_set_back() {
    let mut life = Life::new(PushSettings { challenge_lifetime: std::time::Duration::from_secs(10), ..settings() });
    let opened = life.open(5, 4);
    let PushEffect::AnswerOpened(attestation) = &opened[0] else { panic!() };
    life.pass_time(10_000);
    assert_eq!(Life::refusal(&life.submit(&challenge(attestation), 4)), "challenges_expired");
}

#[test]
fn evidence_that_was_not_stored_may_be_sent_again() {
    let mut life = Life::new(settings());
    let opened = life.open(5, 4);
    let PushEffect::AnswerOpened(attestation) = &opened[0] else { panic!() };
    let nonce = challenge(attestation);
    life.submit(&nonce, 4);
    assert_eq!(Life::refusal(&life.step(PushInput::NotStored(life.ticket()))), "busy");
    assert_eq!(life.submit(&nonce, 4)[0].name(), "StoreEvidence(again)");
}

#[test]
fn the_interval_is_rounded_half_to_even() {
    let mut life = Life::new(settings());
    life.attest(5, passed());
    for (after, expected) in [(0, 2), (499, 2), (500, 2), (501, 1), (1000, 1), (1499, 1), (1500, 0)] {
        let mut later = Life { state: life.state.clone(), millis: life.millis + after, ..Life::new(settings()) };
        let effects = later.open(5, 4);
        let seconds = match effects.as_slice() {
            [PushEffect::Refuse(Refusal::Premature { retry_after })] => *retry_after,
            _ => 0,
        };
        assert_eq!(seconds, expected, "after {after} ms");
    }
}

#[test]
fn only_the_first_since_boot_and_the_latest_pass_are_kept() {
    let mut life = Life::new(settings());
    for _ in 0..6 {
        life.attest(5, passed());
    }
    assert_eq!(life.stored.iter().map(|index| index.0).collect::<Vec<_>>(), [0, 5]);
    life.attest(9, passed());
    life.attest(9, passed());
    life.attest(9, passed());
    // Of each boot the first stays, and the latest of all.
    assert_eq!(life.stored.iter().map(|index| index.0).collect::<Vec<_>>(), [0, 6, 8]);
    life.attest(9, failed());
    life.attest(9, passed());
    assert_eq!(life.stored.iter().map(|index| index.0).collect::<Vec<_>>(), [0, 6, 8, 9, 10]);
}

#[test]
fn failures_are_announced_once_and_a_bounded_number_is_kept() {
    let mut life = Life::new(PushSettings { failure_recovery: FailureRecovery::Manual, ..settings() });
    life.attest(5, passed());
    for _ in 0..40 {
        life.attest(5, failed());
    }
    assert_eq!((life.notices, life.state.facts.consecutive_failures), (1, 40));
    assert_eq!(life.stored.len(), KEPT_FAILURES + 1);
    life.attest(5, passed());
    life.attest(5, failed());
    assert_eq!((life.notices, life.state.facts.consecutive_failures), (1, 41), "a good one makes up for nothing");

    let mut life = Life::new(settings());
    for verdict in [failed(), passed(), failed()] {
        life.attest(5, verdict);
    }
    assert_eq!((life.notices, life.state.facts.consecutive_failures, life.extensions), (2, 1, 1));
}

#[test]
fn silence_is_its_own_status_and_ends_with_the_next_verdict() {
    let mut life = Life::new(settings());
    life.attest(5, passed());
    life.pass_time(10_000);
    let effects: Vec<String> = life.step(PushInput::DeadlineReached).iter().map(PushEffect::name).collect();
    assert_eq!(effects, ["Persist", "NoteSilence", "ClearDeadline"]);
    assert_eq!((life.state.presence, life.notices, life.state.facts.consecutive_failures), (Presence::Silent, 0, 0));
    life.attest(5, passed());
    assert_eq!(life.state.presence, Presence::Heard);
}

#[test]
fn with_manual_recovery_a_silent_agent_has_to_be_reactivated() {
    let mut life = Life::new(PushSettings { timeout_recovery: TimeoutRecovery::Manual, ..settings() });
    life.attest(5, passed());
    life.pass_time(10_000);
    life.step(PushInput::DeadlineReached);
    assert_eq!(Life::refusal(&life.open(5, 4)), "attestations_disabled");
    life.step(PushInput::ReactivateRequested);
    assert!(matches!(life.open(5, 4)[0], PushEffect::AnswerOpened(_)));
}

#[test]
fn evidence_under_appraisal_is_not_silence() {
    let mut life = Life::new(settings());
    life.attest(5, passed());
    life.pass_time(2000);
    let opened = life.open(5, 4);
    let PushEffect::AnswerOpened(attestation) = &opened[0] else { panic!() };
    life.submit(&challenge(attestation), 4);
    life.step(PushInput::Stored(life.ticket()));
    life.pass_time(20_000);
    let effects = life.step(PushInput::DeadlineReached);
    assert_eq!(effects.iter().map(PushEffect::name).collect::<Vec<_>>(), ["SetDeadline(silence_timeout)"]);
}

#[test]
fn a_restart_gives_a_whole_window_and_takes_up_evidence_that_was_not_judged() {
    let settings = settings();
    let now = Now { at: Timestamp(5_000_000), wall_seconds: 1_700_100_000 };
    let facts = PushFacts {
        last_received_quote: 1_700_000_000,
        ima: ImaState { next_entry: 9, boottime: 5, ..ImaState::default() },
        ..PushFacts::default()
    };
    let at = |index, stage| StoredAttestation {
        index: AttestationIndex(index),
        stage,
        boot_time: Some(5_000_000),
        evidence_received: Some(WallMicros(1_700_099_999_000_000)),
    };
    let stored = [
        at(1, Stage::Complete(Evaluation::Pass)),
        at(0, Stage::Complete(Evaluation::Pass)),
        at(2, Stage::EvaluatingEvidence),
    ];
    let restored = restore_push(Some(3), facts.clone(), Presence::Heard, &stored, &settings, now);
    let RestoredPush::State(state, pending) = restored else { panic!() };
    assert_eq!(pending, Some(AttestationIndex(2)));
    assert_eq!(state.timeout, Some(now.at.after(settings.silence())));
    assert_eq!((state.trail.next_index, state.facts.ima.next_entry), (AttestationIndex(3), 9));
    assert_eq!(state.phase, PushPhase::Idle);

    let silent = restore_push(Some(3), facts.clone(), Presence::Silent, &stored[..2], &settings, now);
    let RestoredPush::State(silent, None) = silent else { panic!() };
    assert_eq!((silent.timeout, silent.presence), (None, Presence::Silent));
    assert_eq!(silent.trail.next_index, AttestationIndex(2));

    let rebooted = PushFacts { ima: ImaState { boottime: 4, ..facts.ima.clone() }, ..facts };
    let RestoredPush::State(state, _) = restore_push(None, rebooted, Presence::Heard, &stored, &settings, now) else {
        panic!()
    };
    assert_eq!(state.facts.ima.next_entry, 0, "a position that belongs to no known boot is forgotten");
}
