//! Configuration of the server-side components: Keylime's INI files, snippets and environment overrides, read with the
//! rules of Python's `RawConfigParser` and of Keylime's getters (`config.md` §1–§2), and the logging set-up.
//!
//! Nothing here is global: a `main` loads the [`Config`] of its component once and hands small structs to constructors.

#![forbid(unsafe_code)]

mod component;
mod error;
pub mod ini;
pub mod logging;
mod lookup;
mod place;
pub mod python_literal;

pub use component::{Component, work_dir};
pub use error::ConfigError;
pub use lookup::Config;
pub use place::expanded;
