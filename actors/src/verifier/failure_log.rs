//! Writes the engine's lines about failures with the loggers they belong to.

use keylime_engine::verdict::Failures;
use keylime_engine::verdict::log_line::{Logger, log_lines};

/// Writes what failed in the words that operators' scripts look for.
pub(super) fn write_log_lines(agent_id: &str, failures: &Failures) {
    for line in log_lines(agent_id, failures) {
        let text = line.text;
        match line.logger {
            Logger::ImaWarning => tracing::warn!(target: "keylime.ima", "{text}"),
            Logger::ImaError => tracing::error!(target: "keylime.ima", "{text}"),
            Logger::TpmError => tracing::error!(target: "keylime.tpm", "{text}"),
        }
    }
}
