//! The same work by Keylime 7.14.3 on the same machine in the same run, so that a bench can say how many times faster
//! this engine is.

use keylime_harness::peer;
use serde_json::Value;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Seconds (and bytes) the reference took, by what was measured.
#[derive(Debug, Clone)]
pub struct ReferenceTiming(Value);

impl ReferenceTiming {
    /// Lets the reference work on these files; `None`, and a line that says so, when it is not installed.
    ///
    /// # Errors
    /// The files cannot be written, or the reference cannot be run or does not accept them.
    pub fn measure(files: &[(&str, &[u8])]) -> io::Result<Option<Self>> {
        if !peer::is_installed() {
            println!("Keylime {} is not installed (`cargo accept` does it), so there are no ratios", peer::VERSION);
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content)?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reference_timing.py");
        let output = Command::new(peer::program("python")).arg(script).arg(folder.path()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Some(Self(serde_json::from_slice(&output.stdout)?)))
    }

    /// Prints a duration here, there, and their ratio.
    pub fn compare(&self, what: &str, here: Duration) {
        let there = self.0[what].as_f64().unwrap_or(f64::NAN);
        let here = here.as_secs_f64();
        let (ours, theirs) = (here * 1e3, there * 1e3);
        println!("{what}: {ours:.3} ms here, {theirs:.1} ms Keylime {}, ratio {:.0}", peer::VERSION, there / here);
    }

    /// Prints bytes held here, there, and their ratio.
    pub fn compare_bytes(&self, what: &str, here: usize) {
        #[allow(clippy::cast_precision_loss, reason = "printed with one digit after the point")]
        let here = here as f64;
        let there = self.0[what].as_f64().unwrap_or(f64::NAN);
        let mib = f64::from(1 << 20);
        let (ours, theirs) = (here / mib, there / mib);
        println!("{what}: {ours:.1} MiB here, {theirs:.1} MiB Keylime {}, ratio {:.1}", peer::VERSION, there / here);
    }
}

/// The shortest of several rounds, as the reference is timed.
pub fn best_of<R>(rounds: u32, mut work: impl FnMut() -> R) -> Duration {
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}
