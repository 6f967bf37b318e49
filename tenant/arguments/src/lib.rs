//! Command lines as Python's `argparse` reads them, with its usage, help and error texts.
//!
//! Keylime's tools have options that no other parser takes: several letters after a single dash (`-tp 8892`), values
//! glued to a short option (`-t10.0.0.1`), any unambiguous prefix of a long option. Scripts rely on that and on where a
//! wrong command line is reported and with which exit code.

#![forbid(unsafe_code)]

pub mod command;
mod help;
pub mod option;
pub mod parser;

pub use command::{Command, Selection};
pub use help::terminal_width;
pub use option::{Choice, Kind, Need, OptionSpec, Origin, Positional};
pub use parser::{Matches, Parser, Stop};
