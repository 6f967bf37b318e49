//! Messages between Keylime's parts, spelled as Keylime spells them.

pub mod api_version;
pub mod envelope;
pub mod errors;
pub mod python_json;
pub mod registrar;
pub mod revocation_message;
pub mod v2;
pub mod v3;
