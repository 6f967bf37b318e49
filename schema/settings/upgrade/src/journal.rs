//! Messages on standard error, in Keylime's line format. Standard output stays empty.

use time::OffsetDateTime;
use time::macros::format_description;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing, for tests.
    Quiet,
    /// Messages from INFO on.
    Usual,
    /// Also DEBUG messages.
    Debug,
}

/// Writes messages.
#[derive(Debug, Clone, Copy)]
pub struct Journal {
    detail: Detail,
}

impl Journal {
    /// A journal.
    #[must_use]
    pub const fn new(detail: Detail) -> Self {
        Self { detail }
    }

    /// How much is said.
    #[must_use]
    pub const fn detail(&self) -> Detail {
        self.detail
    }

    /// For those who look for a mistake.
    pub fn debug(&self, message: &str) {
        self.line(Detail::Debug, "DEBUG", message);
    }

    /// What was done.
    pub fn info(&self, message: &str) {
        self.line(Detail::Usual, "INFO", message);
    }

    /// What may surprise.
    pub fn warning(&self, message: &str) {
        self.line(Detail::Usual, "WARNING", message);
    }

    /// What failed.
    pub fn error(&self, message: &str) {
        self.line(Detail::Usual, "ERROR", message);
    }

    fn line(self, detail: Detail, level: &str, message: &str) {
        if self.detail < detail {
            return;
        }
        #[allow(clippy::disallowed_methods, reason = "log lines carry wall-clock time")]
        let now = OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc());
        let time = now.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]")).unwrap_or_default();
        eprintln!("{time}.{:03} - keylime.cmd.convert_config - {level} - {message}", now.millisecond());
    }
}
