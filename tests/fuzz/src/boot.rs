//! Boot event logs.

use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::measured_boot::ParsedBootLog;

/// An event log: read, replayed and rendered as JSON.
pub fn event_log(data: &[u8]) {
    let Ok(log) = ParsedBootLog::parse(data) else { return };
    let _ = log.json().to_string();
    for bank in log.pcrs().banks() {
        for (_, value) in log.pcrs().values(bank) {
            assert_eq!(value.as_bytes().len(), bank.digest_len());
        }
    }
    let _ = log.fit_for(HashAlgorithm::Sha256);
}
