//! The invariants of the lifecycle, checked after every step of random histories.

use keylime_engine::ima::ImaState;
use keylime_engine::lifecycle::{
    ApiVersion, Durability, Effect, Entropy, Extent, Facts, Growth, Input, KeyRequest, OperationalState, Phase,
    PullSettings, PullState, PullTerms, QuoteAlgorithms, QuoteNonce, QuoteReply, RetryBackoff, ShareReply, Ticket,
    Verdict, VersionReply, transition,
};
use keylime_engine::time::{Now, Timestamp};
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::failure::{PcrFailure, QuoteFailure};
use keylime_engine::verdict::{Failure, Failures, SeverityPolicy};
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::Duration;

/// What a random history is made of; tickets are chosen when it is applied.
#[derive(Debug, Clone)]
enum Event {
    Deadline,
    Deferred,
    Quote(QuoteReply),
    Passed,
    Tolerated,
    Fatal,
    Rebooted,
    Unreadable,
    Version(VersionReply),
    Share(ShareReply),
    PolicyChanged,
    Stop,
    Reactivate,
    Delete,
    RowChanged(Option<OperationalState>),
    /// The same answer again, or one to an older request.
    Stale,
}

fn events() -> impl Strategy<Value = Event> {
    let quote = prop_oneof![
        8 => Just(QuoteReply::Evidence),
        2 => Just(QuoteReply::Unreachable),
        1 => Just(QuoteReply::VersionUnsupported),
        1 => Just(QuoteReply::Refused(404)),
    ];
    let share = prop_oneof![4 => Just(ShareReply::Accepted), 2 => Just(ShareReply::Unreachable), 1 => Just(ShareReply::Refused(400))];
    let version = prop_oneof![
        3 => Just(VersionReply::Offers(vec!["2.6".into()])),
        1 => Just(VersionReply::Offers(vec!["2.1".into()])),
        1 => Just(VersionReply::Unreachable),
    ];
    prop_oneof![
        30 => Just(Event::Deadline),
        2 => Just(Event::Deferred),
        30 => quote.prop_map(Event::Quote),
        25 => Just(Event::Passed),
        8 => Just(Event::Tolerated),
        2 => Just(Event::Fatal),
        3 => Just(Event::Rebooted),
        1 => Just(Event::Unreadable),
        5 => version.prop_map(Event::Version),
        8 => share.prop_map(Event::Share),
        3 => Just(Event::PolicyChanged),
        1 => Just(Event::Stop),
        4 => Just(Event::Reactivate),
        1 => Just(Event::Delete),
        1 => Just(Event::RowChanged(Some(OperationalState::TenantFailed))),
        5 => Just(Event::Stale),
    ]
}

struct World {
    settings: PullSettings,
    state: PullState,
    now: Now,
    deadline: Option<Timestamp>,
    step: u64,
    nonces: HashSet<QuoteNonce>,
    /// Nonces whose evidence was handed to an appraisal.
    appraised: HashSet<QuoteNonce>,
    /// Whether an appraisal passed since attestation last began or a policy changed while it ran.
    passed_since_start: bool,
}

impl World {
    fn new() -> Self {
        let labels = ["low", "high"].map(String::from).to_vec();
        let rules = [("pcr_validation.*".to_owned(), "low".to_owned()), (".*".to_owned(), "high".to_owned())];
        let now = Now { at: Timestamp(1_000_000), wall_seconds: 1000 };
        Self {
            settings: PullSettings {
                quote_interval: Duration::from_secs(2),
                request_timeout: Duration::from_secs(60),
                backoff: RetryBackoff { base_seconds: 2.0, growth: Growth::Exponential },
                max_retries: 2,
                severity: SeverityPolicy::new(labels, &rules).unwrap(),
            },
            state: PullState::starting(Facts::unattested(ApiVersion { major: 2, minor: 5 }), now.at),
            now,
            deadline: Some(now.at),
            step: 0,
            nonces: HashSet::new(),
            appraised: HashSet::new(),
            passed_since_start: false,
        }
    }

    fn input(&mut self, event: &Event) -> Input {
        let ticket = match self.state.phase {
            Phase::AwaitingEvidence { ticket, .. }
            | Phase::Appraising { ticket, .. }
            | Phase::AwaitingVersion { ticket, .. }
            | Phase::DeliveringShare { ticket } => ticket,
            Phase::Resting | Phase::BackingOff { .. } | Phase::Terminating | Phase::Ended(_) => self.state.ticket,
        };
        let failed = |failure| Verdict::Failed {
            failures: Failures::one(failure),
            ima: ImaState::default(),
            extent: Extent::Judged(QuoteAlgorithms::default()),
        };
        let appraised = |verdict| Input::Appraised(ticket, Box::new(verdict));
        match event {
            Event::Deadline => {
                if let Some(deadline) = self.deadline {
                    self.now.at = self.now.at.max(deadline);
                }
                Input::DeadlineReached
            }
            Event::Deferred => Input::Deferred(Duration::from_millis(50)),
            Event::Quote(reply) => Input::QuoteReplied(ticket, reply.clone()),
            Event::Passed => appraised(Verdict::Passed {
                clock: ClockInfo { clock: self.step + 1, ..ClockInfo::default() },
                ima: ImaState { next_entry: self.state.facts.ima.next_entry + 1, ..ImaState::default() },
                payload_key: (self.state.key_request == KeyRequest::Ask).then(|| "key".into()),
                algorithms: QuoteAlgorithms::default(),
            }),
            Event::Tolerated => appraised(failed(Failure::Pcr(PcrFailure::MissingDataPcr))),
            Event::Fatal => appraised(failed(Failure::Quote(QuoteFailure::NoPubkey))),
            Event::Rebooted => {
                appraised(Verdict::BoottimeChanged { ima: ImaState { boottime: 5, ..ImaState::default() } })
            }
            Event::Unreadable => appraised(Verdict::Unreadable("x".into())),
            Event::Version(reply) => Input::VersionReplied(ticket, reply.clone()),
            Event::Share(reply) => Input::ShareReplied(ticket, reply.clone()),
            Event::PolicyChanged => Input::PolicyChanged,
            Event::Stop => Input::StopRequested,
            Event::Reactivate => Input::ReactivateRequested,
            Event::Delete => Input::DeleteRequested,
            Event::RowChanged(stored) => Input::RowChanged(*stored),
            Event::Stale => Input::QuoteReplied(Ticket(ticket.0.wrapping_sub(1)), QuoteReply::Evidence),
        }
    }

    fn apply(&mut self, event: &Event) -> Result<(), TestCaseError> {
        self.step += 1;
        self.now.at = self.now.at.after(Duration::from_millis(7));
        self.now.wall_seconds += 1;
        let input = self.input(event);
        let mut entropy = [0; Entropy::LEN];
        for (n, byte) in entropy.iter_mut().enumerate() {
            *byte = u8::try_from(self.step.wrapping_mul(6_364_136_223_846_793_005).rotate_left(n as u32 * 5) & 0x7f)
                .unwrap();
        }
        let before = self.state.clone();
        let terms = PullTerms { settings: &self.settings, has_share: true };
        let (after, effects) = transition(before.clone(), input.clone(), terms, self.now, &Entropy(entropy));
        self.check(&before, &input, &after, &effects)?;
        self.state = after;
        Ok(())
    }

    fn check(
        &mut self,
        before: &PullState,
        input: &Input,
        after: &PullState,
        effects: &[Effect],
    ) -> Result<(), TestCaseError> {
        let judged = match (input, before.phase) {
            (Input::Appraised(ticket, verdict), Phase::Appraising { ticket: awaited, .. }) if *ticket == awaited => {
                Some(&**verdict)
            }
            _ => None,
        };
        self.check_nonces(effects)?;
        self.check_deadline(after, effects)?;

        // INV-2
        if matches!(judged, Some(Verdict::Passed { .. })) {
            self.passed_since_start = true;
        }
        if matches!(input, Input::ReactivateRequested) && after.phase != before.phase {
            self.passed_since_start = false;
        }
        if matches!(after.shown, OperationalState::GetQuote | OperationalState::ProvideV) {
            prop_assert!(self.passed_since_start, "INV-2: shown as attested without an appraisal");
        }

        // INV-3
        if after.facts.ima.next_entry > before.facts.ima.next_entry {
            prop_assert!(matches!(judged, Some(Verdict::Passed { .. })), "INV-3: learned state advanced on {input:?}");
        }

        // INV-4
        let notices = effects.iter().filter(|e| matches!(e, Effect::Persist { notice: Some(_), .. })).count();
        let evidence_failed = matches!(judged, Some(Verdict::Failed { .. }));
        let was_failing = before.shown == OperationalState::InvalidQuote;
        if evidence_failed && !was_failing {
            prop_assert_eq!(notices, 1, "INV-4: a transition into failure is announced once");
        }
        if after.shown != OperationalState::InvalidQuote && after.shown != OperationalState::Failed {
            prop_assert_eq!(notices, 0, "INV-4: nothing failed");
        }
        for effect in effects {
            if let Effect::Persist { durability, notice: Some(_) } = effect {
                prop_assert_eq!(*durability, Durability::Durable, "a notice is durable with its cause");
            }
        }

        // INV-6
        if matches!(input, Input::Deferred(_) | Input::PolicyChanged) {
            prop_assert_eq!(after.shown, before.shown, "INV-6: the verifier's own trouble is no verdict");
            prop_assert_eq!(after.facts.attestation_count, before.facts.attestation_count);
            prop_assert_eq!(after.retries, before.retries, "INV-6: and no fault of the agent");
        }
        Ok(())
    }

    /// INV-1
    fn check_nonces(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::RequestEvidence { nonce, .. } => {
                    prop_assert!(self.nonces.insert(*nonce), "INV-1: a nonce was given out twice");
                }
                Effect::Appraise { nonce, .. } => {
                    prop_assert!(self.nonces.contains(nonce), "INV-1: appraised against an unknown nonce");
                    prop_assert!(self.appraised.insert(*nonce), "INV-1: a nonce was accepted twice");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// INV-5
    fn check_deadline(&mut self, after: &PullState, effects: &[Effect]) -> Result<(), TestCaseError> {
        let set = effects.iter().filter(|e| matches!(e, Effect::SetDeadline { .. })).count();
        prop_assert!(set <= 1, "INV-5: two deadlines in one transition");
        for effect in effects {
            match effect {
                Effect::SetDeadline { at, .. } => self.deadline = Some(*at),
                Effect::StopAttesting => self.deadline = None,
                _ => {}
            }
        }
        let attesting = !matches!(after.phase, Phase::Ended(_));
        prop_assert_eq!(self.deadline.is_some(), attesting, "INV-5: a deadline exactly while attesting");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_over_random_histories(history in prop::collection::vec(events(), 1..120)) {
        let mut world = World::new();
        for event in &history {
            world.apply(event)?;
        }
    }
}
