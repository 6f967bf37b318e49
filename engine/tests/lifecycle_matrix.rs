//! The transition matrix: every phase against every kind of input, as one reviewed text. Inputs that a phase drops are left
//! out of it.

use keylime_engine::ima::ImaState;
use keylime_engine::lifecycle::{
    ApiVersion, Effect, Ending, Entropy, Extent, Facts, Growth, Input, OperationalState, Phase, PullSettings,
    PullState, PullTerms, QuoteAlgorithms, QuoteReply, Resume, RetryBackoff, ShareReply, Ticket, Verdict, VersionReply,
    transition,
};
use keylime_engine::time::{Now, Timestamp};
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::failure::{PcrFailure, QuoteFailure};
use keylime_engine::verdict::{Failure, Failures, SeverityPolicy};
use std::fmt::Write;
use std::time::Duration;

const TICKET: Ticket = Ticket(7);

#[test]
fn every_phase_against_every_input() {
    let settings = settings();
    let now = Now { at: Timestamp(1_000_000), wall_seconds: 1_700_000_000 };
    let mut table = String::new();
    for (phase_name, phase) in phases() {
        for (input_name, input) in inputs() {
            let facts = Facts { attestation_count: 1, ..Facts::unattested(ApiVersion { major: 2, minor: 3 }) };
            let mut state = PullState::starting(facts, now.at);
            state.phase = phase;
            state.shown = OperationalState::GetQuote;
            state.ticket = TICKET;
            state.retries = 1;
            let terms = PullTerms { settings: &settings, has_share: true };
            let (after, effects) = transition(state.clone(), input, terms, now, &Entropy([9; Entropy::LEN]));
            let is_refused = matches!(effects.as_slice(), [] | [Effect::DropStale]);
            assert!(after == state || !is_refused, "{phase_name}: {input_name} changes the state without an effect");
            if is_refused {
                continue;
            }
            let effects: Vec<&str> = effects.iter().map(Effect::name).collect();
            let (to, shown) = (name_of(after.phase), after.shown.text());
            writeln!(table, "{phase_name:<18} {input_name:<21} -> {to:<18} {shown:<19} {}", effects.join(", "))
                .unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

fn settings() -> PullSettings {
    let labels = ["low", "high"].map(String::from).to_vec();
    let rules = [("pcr_validation.*".to_owned(), "low".to_owned()), (".*".to_owned(), "high".to_owned())];
    PullSettings {
        quote_interval: Duration::from_secs(2),
        request_timeout: Duration::from_mins(1),
        backoff: RetryBackoff { base_seconds: 2.0, growth: Growth::Exponential },
        max_retries: 5,
        severity: SeverityPolicy::new(labels, &rules).unwrap(),
    }
}

fn phases() -> Vec<(&'static str, Phase)> {
    let nonce = Entropy([0; Entropy::LEN]).quote_nonce();
    vec![
        ("Resting", Phase::Resting),
        ("AwaitingEvidence", Phase::AwaitingEvidence { ticket: TICKET, nonce }),
        ("Appraising", Phase::Appraising { ticket: TICKET, nonce }),
        ("AwaitingVersion", Phase::AwaitingVersion { ticket: TICKET, then: Resume::Quote }),
        ("DeliveringShare", Phase::DeliveringShare { ticket: TICKET }),
        ("BackingOff(quote)", Phase::BackingOff { then: Resume::Quote }),
        ("BackingOff(share)", Phase::BackingOff { then: Resume::Share }),
        ("Terminating", Phase::Terminating),
        ("Ended(failed)", Phase::Ended(Ending::Failed)),
        ("Ended(invalid)", Phase::Ended(Ending::InvalidQuote)),
        ("Ended(stopped)", Phase::Ended(Ending::Stopped)),
        ("Ended(deleted)", Phase::Ended(Ending::Deleted)),
    ]
}

fn name_of(phase: Phase) -> &'static str {
    let same = |known: &Phase| match (known, &phase) {
        (Phase::BackingOff { then: a }, Phase::BackingOff { then: b }) => a == b,
        (Phase::Ended(a), Phase::Ended(b)) => a == b,
        _ => std::mem::discriminant(known) == std::mem::discriminant(&phase),
    };
    phases().into_iter().find(|(_, known)| same(known)).map_or("?", |(name, _)| name)
}

fn inputs() -> Vec<(&'static str, Input)> {
    let judged = |verdict| Input::Appraised(TICKET, Box::new(verdict));
    let failed = |failure| {
        judged(Verdict::Failed { failures: Failures::one(failure), ima: ImaState::default(), extent: Extent::Rejected })
    };
    let passed = Verdict::Passed {
        clock: ClockInfo { clock: 9, ..ClockInfo::default() },
        ima: ImaState { next_entry: 3, ..ImaState::default() },
        payload_key: Some("key".into()),
        algorithms: QuoteAlgorithms::default(),
    };
    vec![
        ("deadline", Input::DeadlineReached),
        ("deferred", Input::Deferred(Duration::from_millis(50))),
        ("quote: evidence", Input::QuoteReplied(TICKET, QuoteReply::Evidence)),
        ("quote: unreachable", Input::QuoteReplied(TICKET, QuoteReply::Unreachable)),
        ("quote: version", Input::QuoteReplied(TICKET, QuoteReply::VersionUnsupported)),
        ("quote: refused", Input::QuoteReplied(TICKET, QuoteReply::Refused(404))),
        ("quote: unreadable", Input::QuoteReplied(TICKET, QuoteReply::Unreadable("x".into()))),
        ("quote: stale", Input::QuoteReplied(Ticket(6), QuoteReply::Evidence)),
        ("verdict: passed", judged(passed)),
        ("verdict: tolerated", failed(Failure::Pcr(PcrFailure::MissingDataPcr))),
        ("verdict: fatal", failed(Failure::Quote(QuoteFailure::NoPubkey))),
        ("verdict: rebooted", judged(Verdict::BoottimeChanged { ima: ImaState::default() })),
        ("verdict: unreadable", judged(Verdict::Unreadable("x".into()))),
        ("version: offers", Input::VersionReplied(TICKET, VersionReply::Offers(vec!["2.4".into()]))),
        ("version: nothing", Input::VersionReplied(TICKET, VersionReply::Offers(Vec::new()))),
        ("version: unreachable", Input::VersionReplied(TICKET, VersionReply::Unreachable)),
        ("version: refused", Input::VersionReplied(TICKET, VersionReply::Refused("x".into()))),
        ("share: accepted", Input::ShareReplied(TICKET, ShareReply::Accepted)),
        ("share: unreachable", Input::ShareReplied(TICKET, ShareReply::Unreachable)),
        ("share: version", Input::ShareReplied(TICKET, ShareReply::VersionUnsupported)),
        ("share: refused", Input::ShareReplied(TICKET, ShareReply::Refused(403))),
        ("share: unusable", Input::ShareReplied(TICKET, ShareReply::Unusable("x".into()))),
        ("policy changed", Input::PolicyChanged),
        ("stop", Input::StopRequested),
        ("reactivate", Input::ReactivateRequested),
        ("delete", Input::DeleteRequested),
        ("unusable", Input::Unusable("x".into())),
        ("row: gone", Input::RowChanged(None)),
        ("row: terminated", Input::RowChanged(Some(OperationalState::Terminated))),
        ("row: stopped", Input::RowChanged(Some(OperationalState::TenantFailed))),
    ]
}
