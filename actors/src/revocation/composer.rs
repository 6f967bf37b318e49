//! What the verifier's actors call: an outbox row for a notice, and the poke after its commit.

use super::message::{NoticeContent, NoticeWriter, SigningError};
use super::outbox_publisher::RevocationHandle;
use crate::ports::{AgentRecord, OutboxRow, RevocationComposer};
use keylime_engine::lifecycle::{Notice, NoticeKind};
use keylime_engine::time::Now;
use keylime_schema::wire::revocation_message::RevocationKind;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

/// Composes notices for the enabled notifiers.
pub struct NoticeComposer {
    writer: NoticeWriter,
    notifiers: Vec<&'static str>,
    offset: UtcOffset,
    publisher: RevocationHandle,
}

impl NoticeComposer {
    /// A composer for rows that wait for `notifiers`. `offset` is that of the verifier's local time, in which the messages
    /// give the time of the event.
    #[must_use]
    pub fn new(notifiers: Vec<&'static str>, offset: UtcOffset, publisher: RevocationHandle) -> Self {
        Self { writer: NoticeWriter::default(), notifiers, offset, publisher }
    }
}

impl RevocationComposer for NoticeComposer {
    fn compose(
        &self,
        agent: &AgentRecord,
        notice: &Notice,
        severity_label: &str,
        now: Now,
    ) -> Result<OutboxRow, String> {
        let event_time = OffsetDateTime::from_unix_timestamp(now.wall_seconds)
            .map_err(|error| error.to_string())?
            .to_offset(self.offset);
        let content = NoticeContent {
            kind: match notice.kind {
                NoticeKind::Revocation => RevocationKind::Revocation,
                NoticeKind::CommunicationError => RevocationKind::CommError,
            },
            agent_id: &agent.agent_id,
            ip: agent.ip.as_deref(),
            port: agent.port,
            tpm_policy: &agent.tpm_policy,
            meta_data: &agent.meta_data,
            event_time,
            event_id: &notice.failure.event_id(),
            severity_label,
            context: &notice.failure.context(),
        };
        let id = Uuid::new_v4();
        match self.writer.compose(id, &content, &agent.revocation_key, &self.notifiers) {
            Ok(row) => Ok(row),
            // A key that cannot sign must not silence the notice: those who need the signature ignore it, the others act.
            Err(error @ (SigningError::Key(_) | SigningError::Sign)) => {
                tracing::error!(
                    target: "keylime.revocation", agent_id = %agent.agent_id, reason = %error,
                    "revocation notice goes out unsigned"
                );
                self.writer.compose(id, &content, "", &self.notifiers).map_err(|error| error.to_string())
            }
            Err(error @ SigningError::Json(_)) => Err(error.to_string()),
        }
    }

    fn committed(&self) {
        self.publisher.poke();
    }
}
