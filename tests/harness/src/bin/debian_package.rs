//! `cargo deb-package`: builds the programs and packs them for Debian.

use clap::Parser;
use keylime_harness::{binaries, debian_package, packages};
use std::io;
use std::path::PathBuf;

/// Builds all programs and packs them, with units, manual pages and templates, for Debian.
#[derive(Parser)]
#[command(name = "cargo deb-package", version)]
struct Options {
    /// Folder the package is written to
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Pack the programs of this folder, and build nothing
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let programs = match options.programs {
        Some(programs) => programs,
        None => {
            packages::ensure(&packages::BUILD)?;
            binaries::build()?;
            binaries::dir()
        }
    };
    println!("{}", debian_package::build(&programs, &options.out)?.display());
    Ok(())
}
