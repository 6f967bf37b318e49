//! What the outbox asks of a notifier.

use crate::ports::OutboxRow;
use async_trait::async_trait;

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The notifier has it; it needs no second delivery.
    Confirmed,
    /// This notice was refused; others may still pass. It stays in the outbox and is tried again.
    Refused(String),
    /// The notifier is away; nothing passes until it is back.
    Away(String),
}

/// Takes notices to one kind of subscriber.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// The name in `enabled_revocation_notifications` and in the outbox.
    fn name(&self) -> &'static str;

    /// How many notices may be under way at one time.
    fn window(&self) -> usize;

    /// Delivers one notice. Two notices about one agent are never under way together.
    async fn deliver(&self, row: &OutboxRow) -> Delivery;
}
