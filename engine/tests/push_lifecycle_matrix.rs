//! The transition matrix of push agents: every phase against every kind of input, as one reviewed text. Inputs that a phase
//! drops are left out of it.

mod push_fixture;

use keylime_engine::appraise::PushVerdict;
use keylime_engine::evidence::attestation::{AttestationIndex, FailureReason, Stage, WallMicros};
use keylime_engine::ima::ImaState;
use keylime_engine::lifecycle::push_state::Open;
use keylime_engine::lifecycle::{
    AgentKind, Ending, Entropy, Occurrence, OperationalState, Presence, PushEffect, PushFacts, PushInput, PushPhase,
    PushState, PushTerms, Submission, Ticket, Trail, push_transition,
};
use keylime_engine::time::{Now, Timestamp};
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::failure::QuoteFailure;
use keylime_engine::verdict::{Failure, Failures};
use push_fixture::{Enrolment, evidence, offer, settings};
use std::fmt::Write;
use std::sync::Arc;

const TICKET: Ticket = Ticket(7);
const NOW: Now = Now { at: Timestamp(1_000_000), wall_seconds: 1_700_000_000 };
const ENTROPY: Entropy = Entropy([9; Entropy::LEN]);

#[test]
fn every_phase_against_every_input() {
    let enrolment = Enrolment::new();
    let negotiation = enrolment.terms();
    let (good_offer, sent) = (Ok(offer(5, 4)), evidence(&[9; 16], 4));
    let mut table = String::new();
    for (phase_name, phase) in phases() {
        for (input_name, input) in inputs(&good_offer, &negotiation, &sent) {
            let before = state(phase.clone());
            let (after, effects) = push_transition(before.clone(), input, terms(&settings()), NOW, &ENTROPY);
            let is_refused = matches!(effects.as_slice(), [] | [PushEffect::DropStale]);
            assert!(
                after == before || !is_refused || input_name == "faulted",
                "{phase_name}: {input_name} changes the state without an effect"
            );
            if is_refused && after == before {
                continue;
            }
            let effects: Vec<String> = effects.iter().map(PushEffect::name).collect();
            writeln!(
                table,
                "{phase_name:<17} {input_name:<19} -> {:<17} {}",
                name_of(&after.phase),
                effects.join(", ")
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

fn terms(settings: &keylime_engine::lifecycle::PushSettings) -> PushTerms<'_> {
    PushTerms { settings, kind: AgentKind::Push, wall: WallMicros(1_700_000_000_000_000) }
}

fn state(phase: PushPhase) -> PushState {
    let facts = PushFacts { attestation_count: 1, last_received_quote: 1_699_999_000, ..PushFacts::default() };
    let trail = Trail { next_index: AttestationIndex(1), ..Trail::default() };
    let mut state = PushState::taken_up(facts, trail, Presence::Heard);
    if matches!(phase, PushPhase::Appraising { .. }) {
        state.trail.latest = Some((AttestationIndex(0), Stage::EvaluatingEvidence));
    }
    state.phase = phase;
    state.ticket = TICKET;
    state.timeout = Some(NOW.at);
    state
}

fn open_at(expires: Timestamp) -> Open {
    let enrolment = Enrolment::new();
    let fresh = PushState::taken_up(PushFacts::default(), Trail::default(), Presence::Heard);
    let input_offer = Ok(offer(5, 4));
    let settings = settings();
    let input = PushInput::Open(&input_offer, &enrolment.terms());
    let (state, _) = push_transition(fresh, input, terms(&settings), NOW, &ENTROPY);
    match state.phase {
        PushPhase::AwaitingEvidence(open) => Open { expires, ..open },
        other => panic!("not open: {other:?}"),
    }
}

fn phases() -> Vec<(&'static str, PushPhase)> {
    let open = open_at(NOW.at.after(std::time::Duration::from_secs(60)));
    let received = Arc::clone(&open.attestation);
    vec![
        ("Idle", PushPhase::Idle),
        ("AwaitingEvidence", PushPhase::AwaitingEvidence(open.clone())),
        ("Awaiting(expired)", PushPhase::AwaitingEvidence(open_at(NOW.at))),
        ("Storing", PushPhase::Storing { ticket: TICKET, open, received: Arc::clone(&received) }),
        ("Appraising", PushPhase::Appraising { ticket: TICKET, attestation: received }),
        ("Ended(stopped)", PushPhase::Ended(Ending::Stopped)),
        ("Ended(deleted)", PushPhase::Ended(Ending::Deleted)),
    ]
}

fn name_of(phase: &PushPhase) -> &'static str {
    match phase {
        PushPhase::Idle => "Idle",
        PushPhase::AwaitingEvidence(Open { receipt: Occurrence::First, .. }) => "AwaitingEvidence",
        PushPhase::AwaitingEvidence(Open { receipt: Occurrence::Again, .. }) => "Awaiting(again)",
        PushPhase::Storing { .. } => "Storing",
        PushPhase::Appraising { .. } => "Appraising",
        PushPhase::Ended(Ending::Stopped) => "Ended(stopped)",
        PushPhase::Ended(Ending::Deleted) => "Ended(deleted)",
        PushPhase::Ended(Ending::Failed | Ending::InvalidQuote | Ending::Saved) => "Ended(other)",
    }
}

fn inputs<'a>(
    offer: &'a Result<keylime_engine::evidence::offer::Offer, Vec<keylime_engine::evidence::field_error::FieldError>>,
    negotiation: &'a keylime_engine::evidence::negotiation::NegotiationTerms<'a>,
    sent: &'a serde_json::Value,
) -> Vec<(&'static str, PushInput<'a>)> {
    let judged = |verdict| PushInput::Appraised(TICKET, Box::new(verdict));
    let passed = PushVerdict::Passed { clock: ClockInfo::default(), ima: ImaState::default(), certified_entries: 4 };
    let failed = PushVerdict::Failed {
        failures: Failures::one(Failure::Quote(QuoteFailure::NoPubkey)),
        reason: FailureReason::BrokenEvidenceChain,
        clock: None,
    };
    let submit = |index, evidence| PushInput::Submit(Submission { index, evidence });
    vec![
        ("open", PushInput::Open(offer, negotiation)),
        ("submit", submit(None, Some(Some(sent)))),
        ("submit: other", submit(Some("9"), Some(Some(sent)))),
        ("submit: nothing", submit(Some("0"), None)),
        ("submit: malformed", submit(None, Some(None))),
        ("stored", PushInput::Stored(TICKET)),
        ("stored: stale", PushInput::Stored(Ticket(6))),
        ("not stored", PushInput::NotStored(TICKET)),
        ("verdict: passed", judged(passed)),
        ("verdict: failed", judged(failed)),
        ("verdict: outdated", judged(PushVerdict::Outdated)),
        ("verdict: stale", PushInput::Appraised(Ticket(6), Box::new(PushVerdict::Outdated))),
        ("faulted", PushInput::Faulted(TICKET)),
        ("policy changed", PushInput::PolicyChanged),
        ("deadline", PushInput::DeadlineReached),
        ("stop", PushInput::StopRequested),
        ("reactivate", PushInput::ReactivateRequested),
        ("delete", PushInput::DeleteRequested),
        ("row: gone", PushInput::RowChanged(None)),
        ("row: stopped", PushInput::RowChanged(Some(OperationalState::TenantFailed))),
        ("row: terminated", PushInput::RowChanged(Some(OperationalState::Terminated))),
    ]
}
