//! The push agent's life as a pure machine (seed 3.2.3): the outcome of a step goes in, the next step comes out.

use std::time::Duration;

use crate::configuration::settings::BackoffSettings;

/// Longest wait a `Retry-After` can ask for; a block of the verifier's session limit lasts no longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Longest wait between two attestations the verifier can ask for.
const MAX_NEXT_ATTESTATION: Duration = Duration::from_secs(24 * 3600);
/// Shortest wait after anything that went wrong.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest random addition to a `Retry-After`, which spreads agents that were told the same second.
const MAX_SPREAD: Duration = Duration::from_secs(5);
/// After so many refusals in a row of an agent the verifier does not know, registration is repeated: a registrar that lost
/// its records, or an administrator who enrolled another key, is healed by it.
const REFUSALS_BEFORE_REGISTRATION: u32 = 5;

/// Where the agent is in its life; the names of the seed's diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet registered.
    Unregistered,
    /// Registered; the verifier is asked next.
    Registered,
    /// A session is opened, capabilities are offered.
    Negotiating,
    /// Evidence is collected and delivered.
    Attesting,
    /// The last attestation was accepted; the next one is waited for.
    Waiting,
    /// Registration failed and is repeated after a wait.
    RegistrationFailed,
    /// An attestation failed; the next attempt starts with negotiation after a wait.
    AttestationFailed,
}

/// What the shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Register and activate at the registrar.
    Register,
    /// Prove possession of the attestation key and keep the token.
    Authenticate,
    /// Offer capabilities.
    Negotiate,
    /// Collect the evidence negotiated last and deliver it.
    Attest,
    /// Do nothing for this long.
    Wait(Duration),
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// [`Step::Register`] succeeded.
    Registered,
    /// [`Step::Register`] failed.
    RegistrationFailed,
    /// [`Step::Authenticate`] succeeded; there is a token.
    Authenticated,
    /// [`Step::Negotiate`] succeeded; there is something to collect.
    Negotiated,
    /// [`Step::Attest`] succeeded; the verifier may have said when it wants the next one.
    Accepted {
        /// The wait the verifier asked for.
        next_in: Option<Duration>,
    },
    /// [`Step::Authenticate`], [`Step::Negotiate`] or [`Step::Attest`] failed.
    Failed(Setback),
    /// [`Step::Wait`] is over.
    Waited,
}

/// Why a step towards the verifier failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// No answer, or a broken one.
    Unreachable,
    /// The token is not good (any more).
    Unauthorized,
    /// The verifier does not accept this agent's attestations.
    Forbidden,
    /// The verifier does not know this agent, or knows it with another key.
    UnknownAgent,
    /// The verifier cannot serve now; it may have said when to come back.
    Busy {
        /// The wait it asked for.
        retry_after: Option<Duration>,
    },
    /// The verifier refused what was sent, or asked for what this agent cannot give.
    Refused,
}

impl Setback {
    /// What a status other than the expected one means.
    #[must_use]
    pub const fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::UnknownAgent,
            408 | 409 | 429 | 500..=599 => Self::Busy { retry_after },
            _ => Self::Refused,
        }
    }
}

/// A random fraction of one, in 1/65536; it comes from the caller, so that the machine stays pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(pub u16);

impl Jitter {
    fn of(self, duration: Duration) -> Duration {
        duration / 65_536 * u32::from(self.0)
    }
}

/// The machine.
#[derive(Debug, Clone)]
pub struct StateMachine {
    state: State,
    token: Token,
    interval: Duration,
    backoff: BackoffSettings,
    failures: u32,
    rejections: u32,
    unknown: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Absent,
    Present,
}

impl StateMachine {
    /// A machine that starts with [`Step::Register`]. `interval` is waited after refusals, and between attestations where the
    /// verifier does not say.
    #[must_use]
    pub fn new(interval: Duration, backoff: BackoffSettings) -> Self {
        Self {
            state: State::Unregistered,
            token: Token::Absent,
            interval: interval.max(MIN_PAUSE),
            backoff,
            failures: 0,
            rejections: 0,
            unknown: 0,
        }
    }

    /// Where the agent is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The first step.
    #[must_use]
    pub const fn first(&self) -> Step {
        Step::Register
    }

    /// Whether the shell may keep the token it has; it forgets it otherwise.
    #[must_use]
    pub fn keeps_token(&self) -> bool {
        self.token == Token::Present
    }

    /// Takes the outcome of the last step.
    pub fn next(&mut self, outcome: Outcome, jitter: Jitter) -> Step {
        match outcome {
            Outcome::Registered => {
                self.state = State::Registered;
                self.towards_verifier()
            }
            Outcome::RegistrationFailed => {
                self.state = State::RegistrationFailed;
                Step::Wait(self.interval)
            }
            Outcome::Authenticated => {
                self.token = Token::Present;
                self.towards_verifier()
            }
            Outcome::Negotiated => {
                self.state = State::Attesting;
                Step::Attest
            }
            Outcome::Accepted { next_in } => {
                self.state = State::Waiting;
                (self.failures, self.rejections, self.unknown) = (0, 0, 0);
                Step::Wait(next_in.unwrap_or(self.interval).min(MAX_NEXT_ATTESTATION))
            }
            Outcome::Failed(setback) => self.after(setback, jitter),
            Outcome::Waited => self.after_wait(),
        }
    }

    fn towards_verifier(&mut self) -> Step {
        self.state = State::Negotiating;
        match self.token {
            Token::Absent => Step::Authenticate,
            Token::Present => Step::Negotiate,
        }
    }

    fn after(&mut self, setback: Setback, jitter: Jitter) -> Step {
        self.state = State::AttestationFailed;
        match setback {
            Setback::Unreachable | Setback::Busy { retry_after: None } => self.back_off(jitter),
            Setback::Busy { retry_after: Some(wait) } => {
                let wait = wait.clamp(MIN_PAUSE, MAX_RETRY_AFTER);
                Step::Wait(wait + jitter.of((wait / 10).min(MAX_SPREAD)))
            }
            Setback::Unauthorized => {
                self.token = Token::Absent;
                self.rejections += 1;
                // A token ends in the normal course of things; a fresh one that is refused too is a fault.
                if self.rejections == 1 { self.towards_verifier() } else { self.back_off(jitter) }
            }
            Setback::Forbidden => {
                self.token = Token::Absent;
                Step::Wait(self.interval)
            }
            Setback::UnknownAgent => {
                self.unknown += 1;
                Step::Wait(self.interval)
            }
            Setback::Refused => Step::Wait(self.interval),
        }
    }

    fn after_wait(&mut self) -> Step {
        match self.state {
            State::Unregistered | State::RegistrationFailed => Step::Register,
            State::AttestationFailed if self.unknown >= REFUSALS_BEFORE_REGISTRATION => {
                self.unknown = 0;
                Step::Register
            }
            State::Registered | State::Negotiating | State::Attesting | State::Waiting | State::AttestationFailed => {
                self.towards_verifier()
            }
        }
    }

    /// Waits that double up to the limit, each shortened by chance to between half and all of it, so that a fleet that lost
    /// its verifier in one moment does not come back in one; after the configured number of them, one plain interval.
    fn back_off(&mut self, jitter: Jitter) -> Step {
        if self.failures >= self.backoff.max_retries {
            self.failures = 0;
            return Step::Wait(self.interval + jitter.of(self.interval / 10));
        }
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let delay = self.backoff.initial_delay.saturating_mul(factor).min(self.backoff.max_delay);
        self.failures += 1;
        Step::Wait((delay / 2 + jitter.of(delay / 2)).max(MIN_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(60);
    const BACKOFF: BackoffSettings =
        BackoffSettings { initial_delay: Duration::from_secs(10), max_retries: 3, max_delay: Duration::from_secs(30) };
    const MOST: Jitter = Jitter(u16::MAX);
    const LEAST: Jitter = Jitter(0);

    fn registered() -> StateMachine {
        let mut machine = StateMachine::new(INTERVAL, BACKOFF);
        assert_eq!(machine.first(), Step::Register);
        assert_eq!(machine.next(Outcome::Registered, LEAST), Step::Authenticate);
        assert_eq!(machine.next(Outcome::Authenticated, LEAST), Step::Negotiate);
        machine
    }

    fn failed(machine: &mut StateMachine, setback: Setback) -> Step {
        machine.next(Outcome::Failed(setback), LEAST)
    }

    #[test]
    fn a_cycle_keeps_its_token_and_waits_as_long_as_the_verifier_says() {
        let mut machine = registered();
        for next_in in [Some(Duration::from_secs(2)), None, Some(Duration::ZERO)] {
            assert_eq!(machine.next(Outcome::Negotiated, LEAST), Step::Attest);
            assert_eq!(machine.state(), State::Attesting);
            let wait = machine.next(Outcome::Accepted { next_in }, LEAST);
            assert_eq!(wait, Step::Wait(next_in.unwrap_or(INTERVAL)));
            assert_eq!(machine.next(Outcome::Waited, LEAST), Step::Negotiate);
        }
    }

    #[test]
    fn registration_is_repeated_until_it_works() {
        let mut machine = StateMachine::new(INTERVAL, BACKOFF);
        for _ in 0..10 {
            assert_eq!(machine.next(Outcome::RegistrationFailed, LEAST), Step::Wait(INTERVAL));
            assert_eq!(machine.next(Outcome::Waited, LEAST), Step::Register);
        }
        assert_eq!(machine.next(Outcome::Registered, LEAST), Step::Authenticate);
    }

    #[test]
    fn an_ended_token_is_renewed_at_once_but_not_in_a_loop() {
        let mut machine = registered();
        assert_eq!(failed(&mut machine, Setback::Unauthorized), Step::Authenticate);
        assert!(!machine.keeps_token());
        assert_eq!(machine.next(Outcome::Authenticated, LEAST), Step::Negotiate);
        assert!(matches!(failed(&mut machine, Setback::Unauthorized), Step::Wait(_)));
        assert_eq!(machine.next(Outcome::Waited, LEAST), Step::Authenticate);
        machine.next(Outcome::Authenticated, LEAST);
        machine.next(Outcome::Negotiated, LEAST);
        machine.next(Outcome::Accepted { next_in: None }, LEAST);
        machine.next(Outcome::Waited, LEAST);
        assert_eq!(failed(&mut machine, Setback::Unauthorized), Step::Authenticate);
    }

    #[test]
    fn waits_double_with_chance_and_start_anew_after_the_last() {
        let mut machine = registered();
        let mut waits = |jitter: Jitter| {
            let mut seconds = Vec::new();
            for _ in 0..5 {
                let Step::Wait(wait) = machine.next(Outcome::Failed(Setback::Unreachable), jitter) else { panic!() };
                machine.next(Outcome::Waited, jitter);
                seconds.push(wait.as_secs_f64().round() as u64);
            }
            machine.next(Outcome::Accepted { next_in: None }, jitter);
            seconds
        };
        assert_eq!(waits(LEAST), [5, 10, 15, 60, 5]);
        assert_eq!(waits(MOST), [10, 20, 30, 66, 10]);
    }

    #[test]
    fn what_the_server_asks_for_is_done_within_bounds() {
        let wait = |seconds| {
            let setback = Setback::of_status(429, Some(Duration::from_secs(seconds)));
            failed(&mut registered(), setback)
        };
        assert_eq!(wait(7), Step::Wait(Duration::from_secs(7)));
        assert_eq!(wait(0), Step::Wait(MIN_PAUSE));
        assert_eq!(wait(u64::MAX), Step::Wait(MAX_RETRY_AFTER));
        let spread = registered().next(Outcome::Failed(Setback::of_status(503, Some(MAX_RETRY_AFTER))), MOST);
        assert!(matches!(spread, Step::Wait(wait) if wait > MAX_RETRY_AFTER && wait <= MAX_RETRY_AFTER + MAX_SPREAD));
    }

    #[test]
    fn an_agent_nobody_knows_registers_again_now_and_then() {
        let mut machine = registered();
        let mut registrations = Vec::new();
        for attempt in 0..20 {
            assert_eq!(failed(&mut machine, Setback::UnknownAgent), Step::Wait(INTERVAL));
            if machine.next(Outcome::Waited, LEAST) == Step::Register {
                registrations.push(attempt);
                machine.next(Outcome::Registered, LEAST);
            }
        }
        assert_eq!(registrations, [4, 9, 14, 19]);
    }

    #[test]
    fn statuses_are_told_apart() {
        let second = Some(Duration::from_secs(1));
        for (status, expected) in [
            (401, Setback::Unauthorized),
            (403, Setback::Forbidden),
            (404, Setback::UnknownAgent),
            (409, Setback::Busy { retry_after: second }),
            (429, Setback::Busy { retry_after: second }),
            (503, Setback::Busy { retry_after: second }),
            (410, Setback::Refused),
            (422, Setback::Refused),
            (200, Setback::Refused),
        ] {
            assert_eq!(Setback::of_status(status, second), expected, "{status}");
        }
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let seconds = prop::option::of((0..u64::MAX).prop_map(Duration::from_secs));
        prop_oneof![
            Just(Outcome::Registered),
            Just(Outcome::RegistrationFailed),
            Just(Outcome::Authenticated),
            Just(Outcome::Negotiated),
            seconds.clone().prop_map(|next_in| Outcome::Accepted { next_in }),
            (0..600u16, seconds).prop_map(|(status, wait)| Outcome::Failed(Setback::of_status(status, wait))),
            Just(Outcome::Failed(Setback::Unreachable)),
            Just(Outcome::Waited),
        ]
    }

    proptest! {
        /// However the servers behave: after a failure there is a pause unless a token is renewed for the first time, no
        /// pause is longer than a day, and nothing is sent to the verifier without a token but the proof of possession.
        #[test]
        fn no_tight_loop_and_no_endless_silence(inputs in prop::collection::vec((outcomes(), any::<u16>()), 1..200)) {
            let mut machine = StateMachine::new(INTERVAL, BACKOFF);
            let mut renewals = 0;
            for (outcome, jitter) in inputs {
                let step = machine.next(outcome, Jitter(jitter));
                match (outcome, step) {
                    (Outcome::Failed(_), Step::Wait(wait)) => prop_assert!(wait >= MIN_PAUSE),
                    (Outcome::Failed(Setback::Unauthorized), Step::Authenticate) => renewals += 1,
                    (Outcome::Failed(_), step) => prop_assert!(false, "{step:?} right after a failure"),
                    (Outcome::Accepted { .. }, _) => renewals = 0,
                    _ => {}
                }
                prop_assert!(renewals <= 1);
                if let Step::Wait(wait) = step {
                    prop_assert!(wait <= MAX_NEXT_ATTESTATION);
                }
                prop_assert!(step != Step::Negotiate || machine.keeps_token());
            }
        }
    }
}
