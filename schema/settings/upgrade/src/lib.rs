//! `keylime_upgrade_config`: brings configuration files of any format since the single `keylime.conf` to the newest one, or
//! writes complete, commented files with the defaults.
//!
//! One catalogue of options ([`catalogue`]) holds names, defaults, histories and explanations. From it come the mappings
//! and templates that carry a file from one format to the next ([`builtin_templates`]); an operator's own directory of
//! mappings, Jinja templates and `adjust.py` scripts takes their place with `--templates`. The rules are those of
//! `config.md` §10: the same files can be used by either implementation.

#![forbid(unsafe_code)]

pub mod adjustment;
pub mod builtin_templates;
pub mod catalogue;
pub mod command_line;
pub mod document;
pub mod error;
pub mod input;
pub mod journal;
pub mod mapping;
pub mod output;
pub mod python_list;
pub mod render;
pub mod template_source;
pub mod upgrade;
pub mod version;
