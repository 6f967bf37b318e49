//! Requests of push agents: the attributes of an attestation resource, in the shapes of the documentation and of the agents
//! (`verifier-v3-push.md` §4 and §5).

use super::timestamp::UtcMicros;
use keylime_engine::evidence::field_error::FieldError;
use keylime_engine::evidence::offer::{BootTime, Offer};
use serde_json::{Map, Value};

/// Reads the attributes of a request that opens an attestation.
///
/// # Errors
/// Every message about the form of the offer.
pub fn read_offer(attributes: &Map<String, Value>) -> Result<Offer, Vec<FieldError>> {
    Offer::read(attributes.get("evidence_supported"), boot_time(attributes))
}

/// The evidence among the attributes of a request that sends it.
#[must_use]
pub fn evidence_of(attributes: &Map<String, Value>) -> Option<&Value> {
    attributes.get("evidence_collected")
}

fn boot_time(attributes: &Map<String, Value>) -> BootTime {
    match attributes.get("system_info").and_then(|info| info.get("boot_time")) {
        None | Some(Value::Null) => BootTime::Absent,
        Some(value) => UtcMicros::from_value(value).map_or(BootTime::Unreadable, |at| BootTime::At(at.micros())),
    }
}
