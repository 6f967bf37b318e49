//! The operator's policies.

pub mod python_regex;
