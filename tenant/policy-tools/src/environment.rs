//! What a tool knows of the world around it, and where it writes.
//!
//! Tools are functions of their arguments and this: tests run them without a process, in any directory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Component, Path, PathBuf};
use time::{OffsetDateTime, UtcOffset};

/// The world around a tool.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Relative paths start here.
    pub directory: PathBuf,
    /// The user on whose behalf the tool runs.
    pub effective_user: u32,
    /// Width of the terminal, in columns.
    pub columns: usize,
    /// Offset of local time, which timestamps are given in.
    pub offset: UtcOffset,
    /// Whether progress is drawn on standard error.
    pub progress: ProgressDisplay,
}

/// Whether progress is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressDisplay {
    /// Standard error is a terminal.
    Bar,
    /// Nobody would see it.
    Hidden,
}

/// Largest input file that is read whole, in bytes.
pub const MAX_INPUT_BYTES: u64 = 1 << 30;

impl Environment {
    /// A path as the tool's user means it.
    #[must_use]
    pub fn path(&self, given: &str) -> PathBuf {
        self.directory.join(given)
    }

    /// The path from the root, without `.`, `..` and doubled slashes, as Python's `os.path.abspath` makes it: links are
    /// not followed.
    #[must_use]
    pub fn absolute(&self, given: &str) -> PathBuf {
        let mut path = PathBuf::from("/");
        for component in self.path(given).components() {
            match component {
                Component::ParentDir => {
                    path.pop();
                }
                Component::Normal(name) => path.push(name),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        path
    }

    /// Reads a file whole.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(&self, given: &str) -> Result<Vec<u8>, FileError> {
        let fail = |error: io::Error| FileError { path: given.to_owned(), error };
        let mut bytes = Vec::new();
        File::open(self.path(given)).map_err(fail)?.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > MAX_INPUT_BYTES {
            return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 GiB")));
        }
        Ok(bytes)
    }

    /// Reads a text file whole.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read_text(&self, given: &str) -> Result<String, FileError> {
        String::from_utf8(self.read(given)?).map_err(|error| {
            let position = error.utf8_error().valid_up_to();
            let error =
                io::Error::new(io::ErrorKind::InvalidData, format!("no UTF-8 text: invalid byte at {position}"));
            FileError { path: given.to_owned(), error }
        })
    }

    /// The current local time.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc().to_offset(self.offset)
    }

    /// The current local time as policies carry it: `YYYY-MM-DD HH:MM:SS.ffffff`, without zone.
    #[must_use]
    pub fn timestamp(&self) -> String {
        let now = self.now();
        format!("{} {:02}:{:02}:{:02}.{:06}", now.date(), now.hour(), now.minute(), now.second(), now.microsecond())
    }
}

/// Why a file cannot be read or written; displayed as Python words it.
#[derive(Debug, thiserror::Error)]
pub struct FileError {
    /// The path as it was given.
    pub path: String,
    /// What happened.
    pub error: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = keylime_engine::policy::python_repr::repr_str(&self.path);
        match self.error.raw_os_error() {
            Some(code) => {
                let text = self.error.to_string();
                let text = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text);
                write!(f, "[Errno {code}] {text}: {path}")
            }
            None => write!(f, "{}: {path}", self.error),
        }
    }
}

/// Where a tool writes: results to standard output, messages to standard error, never mixed.
pub struct Console<'w> {
    /// Standard output.
    pub stdout: &'w mut dyn Write,
    /// Standard error.
    pub stderr: &'w mut dyn Write,
    verbosity: Verbosity,
    offset: UtcOffset,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Plain messages.
    Plain,
    /// Everything, with time and level.
    Verbose,
}

impl<'w> Console<'w> {
    /// A console for plain messages.
    pub fn new(stdout: &'w mut dyn Write, stderr: &'w mut dyn Write, offset: UtcOffset) -> Self {
        Self { stdout, stderr, verbosity: Verbosity::Plain, offset }
    }

    /// Changes how much is told.
    pub fn set_verbosity(&mut self, verbosity: Verbosity) {
        self.verbosity = verbosity;
    }

    /// A message for those who look for the cause of something.
    pub fn debug(&mut self, message: impl fmt::Display) {
        if self.verbosity == Verbosity::Verbose {
            self.log("DEBUG", &message);
        }
    }

    /// A message about the course of the work.
    pub fn info(&mut self, message: impl fmt::Display) {
        self.log("INFO", &message);
    }

    /// A message about something the user should look at.
    pub fn warning(&mut self, message: impl fmt::Display) {
        self.log("WARNING", &message);
    }

    /// A message about a failure.
    pub fn error(&mut self, message: impl fmt::Display) {
        self.log("ERROR", &message);
    }

    /// A line of standard output.
    ///
    /// # Errors
    /// The reader went away or the disk is full.
    pub fn line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.stdout, "{text}")
    }

    /// A line of standard error, without level or time. A reader that went away is no reason to fail.
    pub fn note(&mut self, text: impl fmt::Display) {
        let _ = writeln!(self.stderr, "{text}");
    }

    fn log(&mut self, level: &str, message: &dyn fmt::Display) {
        // A reader of messages that went away is no reason to fail.
        let _ = match self.verbosity {
            Verbosity::Plain => writeln!(self.stderr, "{message}"),
            Verbosity::Verbose => {
                let now = OffsetDateTime::now_utc().to_offset(self.offset);
                let (date, milliseconds) = (now.date(), now.millisecond());
                let (hour, minute, second) = (now.hour(), now.minute(), now.second());
                writeln!(
                    self.stderr,
                    "{date} {hour:02}:{minute:02}:{second:02}.{milliseconds:03} - keylime-policy - {level} - {message}"
                )
            }
        };
    }
}

/// Writes a result to a file, or to standard output when the path is that.
///
/// # Errors
/// See [`FileError`].
pub fn write_output(
    environment: &Environment,
    console: &mut Console<'_>,
    given: &str,
    bytes: &[u8],
) -> Result<(), FileError> {
    let fail = |error: io::Error| FileError { path: given.to_owned(), error };
    if given == "/dev/stdout" {
        return console.stdout.write_all(bytes).and_then(|()| console.stdout.flush()).map_err(fail);
    }
    std::fs::write(environment.path(given), bytes).map_err(fail)
}

/// Whether a path is a directory that can be looked into.
#[must_use]
pub fn is_directory(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_dir())
}
