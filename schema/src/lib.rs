//! Every shape that crosses a boundary: wire types, entities, migrations.

#![forbid(unsafe_code)]

pub mod wire;
