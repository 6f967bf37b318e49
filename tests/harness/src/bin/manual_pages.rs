//! `cargo manual`: writes the manual pages of all programs that are built into the `dist/man` folders of their packages.

use keylime_harness::manual_texts::PROGRAMS;
use keylime_harness::{binaries, manual_page};
use std::io;

fn main() -> io::Result<()> {
    binaries::build()?;
    let workspace = binaries::workspace();
    for program in PROGRAMS.iter().filter(|program| binaries::dir().join(program.name).is_file()) {
        let path = manual_page::path(program, &workspace);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, manual_page::render(program, &binaries::dir())?)?;
        println!("{}", path.display());
    }
    Ok(())
}
