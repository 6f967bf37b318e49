//! Every shape that crosses a boundary: wire types, entities, migrations.

#[cfg(feature = "database")]
pub mod database;
