//! Starts the real parts that tests and the demo need, and the commands cargo demo and cargo accept.

pub mod swtpm;
