//! Evidence that anybody presents once: judged in the pool, as many at a time as it can take.

use crate::runtime::admission::Admission;
use crate::runtime::cpu_pool::CpuPool;
use crate::verifier::appraiser::Appraiser;
use bytes::Bytes;
use keylime_engine::appraise::EvidenceVerdict;
use keylime_engine::evidence::json_bound::{MAX_JSON_NODES, json_nodes};
use serde_json::Value;
use std::sync::Arc;

/// A request of `verify/evidence`.
#[derive(Debug, Clone)]
pub enum PresentedEvidence {
    /// Its body, not read yet.
    Raw(Bytes),
    /// Its JSON.
    Parsed(Value),
}

/// A judged request.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedEvidence {
    /// What became of it.
    pub verdict: EvidenceVerdict,
    /// The `data` of the request, for the claims of valid evidence; null when it is not valid.
    pub data: Value,
}

/// Why a request was not judged. None of these says anything about the evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The body is no JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON that would take too much memory.
    #[error("the body holds more than {MAX_JSON_NODES} values")]
    TooManyValues,
    /// Too many requests are being judged.
    #[error("busy, retry after {retry_after_seconds} s")]
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
    /// Judging it panicked.
    #[error("{0}")]
    Internal(String),
}

/// Seconds after which a refused client may come again.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Judges presented evidence.
#[derive(Clone)]
pub struct OneShot {
    pool: CpuPool,
    admission: Admission,
    appraiser: Arc<dyn Appraiser>,
}

impl OneShot {
    /// Judges in `pool`, at most `limit` requests at a time.
    #[must_use]
    pub fn new(pool: CpuPool, limit: usize, appraiser: Arc<dyn Appraiser>) -> Self {
        Self { pool, admission: Admission::new(limit), appraiser }
    }

    /// Judges a request; never waits for others.
    ///
    /// # Errors
    /// See [`EvidenceError`].
    pub async fn judge(&self, evidence: PresentedEvidence) -> Result<JudgedEvidence, EvidenceError> {
        let busy = EvidenceError::Busy { retry_after_seconds: RETRY_AFTER_SECONDS };
        let permit = self.admission.try_enter().ok_or(busy)?;
        let appraiser = Arc::clone(&self.appraiser);
        let job = move || {
            // Held until the job ends, also when its client has gone.
            let _permit = permit;
            judge_blocking(evidence, appraiser.as_ref())
        };
        self.pool.run(job).await.map_err(|panic| EvidenceError::Internal(panic.to_string()))?
    }
}

fn judge_blocking(evidence: PresentedEvidence, appraiser: &dyn Appraiser) -> Result<JudgedEvidence, EvidenceError> {
    let mut request = match evidence {
        PresentedEvidence::Parsed(request) => request,
        PresentedEvidence::Raw(body) => parse(&body)?,
    };
    let verdict = appraiser.appraise_presented(&request);
    let data = match verdict {
        EvidenceVerdict::Valid => request.get_mut("data").map(Value::take).unwrap_or_default(),
        EvidenceVerdict::Invalid(_) | EvidenceVerdict::Missing(_) | EvidenceVerdict::Refused(_) => Value::Null,
    };
    Ok(JudgedEvidence { verdict, data })
}

fn parse(body: &[u8]) -> Result<Value, EvidenceError> {
    if json_nodes(body) > MAX_JSON_NODES {
        return Err(EvidenceError::TooManyValues);
    }
    serde_json::from_slice(body).map_err(|error| EvidenceError::NotJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::{AppraisalJob, EngineAppraiser};
    use keylime_engine::evidence::presented::{MissingInput, RequestError};
    use keylime_engine::lifecycle::Verdict;
    use serde_json::json;
    use std::sync::Mutex;
    use std::sync::mpsc;

    fn raw(text: &'static str) -> PresentedEvidence {
        PresentedEvidence::Raw(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn requests_are_read_and_judged() {
        let desk = OneShot::new(CpuPool::inline(), 1, Arc::new(EngineAppraiser::default()));
        assert!(matches!(desk.judge(raw("{bad")).await, Err(EvidenceError::NotJson(_))));
        let judged = desk.judge(raw(r#"{"type":"tpm","data":[]}"#)).await.unwrap();
        assert_eq!(judged.verdict, EvidenceVerdict::Missing(MissingInput::Member("quote")));
        let judged = desk.judge(PresentedEvidence::Parsed(json!({"type": "tee", "data": {}}))).await.unwrap();
        assert_eq!(judged.verdict, EvidenceVerdict::Refused(RequestError::Tee));
        let many = format!("[{}0]", "0,".repeat(MAX_JSON_NODES));
        assert_eq!(desk.judge(PresentedEvidence::Raw(many.into())).await, Err(EvidenceError::TooManyValues));
    }

    /// Blocks until it is told to go on.
    struct Slow(Mutex<mpsc::Receiver<()>>);

    impl Appraiser for Slow {
        fn appraise(&self, _: &AppraisalJob) -> Verdict {
            Verdict::Unreadable("nobody asks".to_owned())
        }
        fn appraise_presented(&self, _: &Value) -> EvidenceVerdict {
            let _ = self.0.lock().unwrap().recv();
            EvidenceVerdict::Valid
        }
    }

    #[tokio::test]
    async fn a_full_desk_refuses_and_a_freed_one_takes_again() {
        let (go_on, told) = mpsc::channel();
        let pool = CpuPool::with_threads(1, 8).unwrap();
        let desk = OneShot::new(pool, 1, Arc::new(Slow(Mutex::new(told))));
        let first = tokio::spawn({
            let desk = desk.clone();
            async move { desk.judge(raw(r#"{"data":{"a":1}}"#)).await }
        });
        while desk.admission.in_use() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(desk.judge(raw("{}")).await, Err(EvidenceError::Busy { .. })));
        go_on.send(()).unwrap();
        let judged = first.await.unwrap().unwrap();
        assert_eq!((judged.verdict, judged.data), (EvidenceVerdict::Valid, json!({"a": 1})));
        go_on.send(()).unwrap();
        while desk.admission.in_use() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(desk.judge(raw("{}")).await.is_ok());
    }
}
