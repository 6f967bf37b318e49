//! Every shape that crosses a boundary: wire types, entities, migrations.
//!
//! | module | shapes |
//! |---|---|
//! | [`wire`] | bodies of requests and answers of every API version |
//! | `database` (feature) | addresses, entities and migrations of the verifier's and the registrar's databases |

#![forbid(unsafe_code)]

#[cfg(feature = "database")]
pub mod database;
pub mod wire;
