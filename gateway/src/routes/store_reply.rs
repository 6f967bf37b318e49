//! Answers for what is nobody's mistake: the database is away, or the server has too much to do.

use crate::routing::Reply;
use keylime_actors::ports::StoreError;
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::python_json::Layout;

/// Seconds after which a client may try a database again that is away.
const DATABASE_RETRY_SECONDS: u32 = 5;

/// The answer when the database could not; the reason goes to the log, not to the client.
pub(super) fn store_failure(layout: Layout, error: &StoreError) -> Reply {
    tracing::error!(target: "keylime.web", %error, "database request failed");
    match error {
        StoreError::Unavailable(_) => {
            Reply::envelope(layout, &Envelope::empty(503, "Service Unavailable")).retry_after(DATABASE_RETRY_SECONDS)
        }
        StoreError::TooLong(reason) => Reply::envelope(layout, &Envelope::empty(413, reason.as_str())),
        StoreError::Internal(_) => Reply::envelope(layout, &Envelope::empty(500, "Internal Server Error")),
    }
}

/// The answer when there is too much to do.
pub(super) fn busy(layout: Layout, retry_after_seconds: u32) -> Reply {
    Reply::envelope(layout, &Envelope::empty(503, "Service Unavailable")).retry_after(retry_after_seconds)
}
