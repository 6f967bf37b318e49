//! Every shape that crosses a boundary: wire types, entities, migrations.
