//! An appraisal that does what the reply says.

use keylime_actors::verifier::{AppraisalJob, Appraiser};
use keylime_engine::evidence::QuoteResults;
use keylime_engine::ima::ImaState;
use keylime_engine::lifecycle::{Extent, QuoteAlgorithms, Verdict};
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::failure::{PcrFailure, QuoteFailure};
use keylime_engine::verdict::{Failure, Failures};
use std::sync::Arc;

/// An AK of 2048 bits, from the recorded flow of a pull agent.
pub const AK: &str = "ARgAAQALAAUAcgAAABAAFAALCAAAAAAAAQCVuPOnhlo6wwsv5v0HnFreHnD5mKjosBWwZ1ETtE0o3ODHGEghI1mpdb3rJUFPmBZwEnh+HzZobfopZSBUlNxmlEIaH6BRuXeXAc53XEhvMFypZg9MxC4tpgvcosFLjzsrTf5yNQTLmK7PN5N2dujwXKRA7x66TkDoz+KSkGYJntaUPQmBAH129A40gDBWzrURs1ByvOm9BetZZMMsZQt9Ih/LiUh0mQDd7l0iA+5EQI4yewptRaK8i2RgepKktlUmUgluyMFZIy/PJCsoX3OoIXVYQuG01GJJpDUQqcNDKsDvF0RmTi/Hvx0a0BqsRaWqG61HB9mrYeOgb6hVRoc9";

/// Judges by the text in the place of the quote.
pub struct ScriptedAppraiser;

impl Appraiser for ScriptedAppraiser {
    fn appraise(&self, job: &AppraisalJob) -> Verdict {
        let results = QuoteResults::parse(&job.body).expect("a scripted reply");
        let failed = |failure| Verdict::Failed {
            failures: Failures::one(failure),
            ima: ImaState::default(),
            extent: Extent::Judged(QuoteAlgorithms::default()),
        };
        match results.quote.as_str() {
            Some("good") => Verdict::Passed {
                clock: ClockInfo { clock: job.clock.clock + 1, ..job.clock },
                ima: ImaState {
                    next_entry: job.ima.next_entry + 2,
                    boottime: 7,
                    pcr10: Some(keylime_engine::algorithm::Digest::filled(1, 32)),
                    ..ImaState::default()
                },
                payload_key: results.pubkey.as_str().map(Arc::from),
                algorithms: QuoteAlgorithms { hash: "sha256".into(), enc: "rsa".into(), sign: "rsassa".into() },
            },
            Some("tolerated") => failed(Failure::Pcr(PcrFailure::MissingDataPcr)),
            Some("panic") => panic!("scripted panic"),
            _ => failed(Failure::Quote(QuoteFailure::Invalid("scripted".to_owned()))),
        }
    }
}
