//! Writing to the database in batches.

pub mod batch_writer;
