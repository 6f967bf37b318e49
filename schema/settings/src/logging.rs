//! Log lines in Keylime's format, set up from `logging.conf` (`config.md` §7).
//!
//! The target of a `tracing` event is Keylime's logger name (`keylime.verifier`). Levels map as in Python; an event with
//! the field `critical` is written with Python's level name `CRITICAL`. Without a `logging.conf` the shipped defaults
//! apply: INFO, to standard output.

use crate::component::Component;
use crate::lookup::Config;
use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::sync::Mutex;
use time::{OffsetDateTime, UtcOffset, macros::format_description};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

const DEFAULT_FORMAT: &str = "%(asctime)s.%(msecs)03d - %(name)s - %(levelname)s - %(message)s";

/// Which program logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `keylime_verifier`.
    Verifier,
    /// `keylime_registrar`.
    Registrar,
    /// `keylime_tenant`.
    Tenant,
    /// An agent: levels come from `RUST_LOG`, lines go to standard output.
    Agent,
    /// Any other tool.
    Other(&'static str),
}

/// Installs the process-wide subscriber. A second call changes nothing.
pub fn init(program: Program) {
    install(program, Settings::read(program));
}

/// As [`init`], for a program whose standard output is for something else: lines that would go there go to standard error.
pub fn init_beside_output(program: Program) {
    let mut settings = Settings::read(program);
    if settings.destination == Destination::Stdout {
        settings.destination = Destination::Stderr;
    }
    install(program, settings);
}

fn install(program: Program, settings: Settings) {
    let filter = match (program, std::env::var("RUST_LOG")) {
        (Program::Agent, Ok(directives)) if !directives.is_empty() => {
            // Users write the agents' module names; our targets use dots.
            let directives =
                directives.replace("keylime_agent", "keylime").replace("keylime_push_model_agent", "keylime");
            EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"))
        }
        _ => EnvFilter::new(format!("warn,keylime={}", settings.level)),
    };
    let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(settings.destination.writer());
    let installed = if settings.json {
        builder.json().try_init()
    } else {
        builder.with_ansi(false).event_format(KeylimeLines { format: settings.format, offset }).try_init()
    };
    // Another subscriber is in place already, as in tests; it keeps its job.
    drop(installed);
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Stdout,
    Stderr,
    File(String),
}

impl Destination {
    fn writer(&self) -> BoxMakeWriter {
        match self {
            Self::Stdout => BoxMakeWriter::new(std::io::stdout),
            Self::Stderr => BoxMakeWriter::new(std::io::stderr),
            Self::File(path) => match OpenOptions::new().create(true).append(true).open(path) {
                Ok(file) => BoxMakeWriter::new(Mutex::new(file)),
                Err(e) => {
                    eprintln!(
                        "cannot write the log file {path} named in logging.conf ({e}); logging to standard error"
                    );
                    BoxMakeWriter::new(std::io::stderr)
                }
            },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Settings {
    level: &'static str,
    format: String,
    destination: Destination,
    json: bool,
}

impl Settings {
    fn read(program: Program) -> Self {
        let config = if program == Program::Agent { None } else { Config::load(Component::Logging).ok() };
        config.map_or_else(Self::shipped, |c| Self::from_config(&c))
    }

    fn shipped() -> Self {
        Self { level: "info", format: DEFAULT_FORMAT.to_owned(), destination: Destination::Stdout, json: false }
    }

    fn from_config(config: &Config) -> Self {
        let first = |section: &str, option: &str| {
            let names = config.get_or(section, option, "");
            names.split(',').map(|n| n.trim().to_owned()).find(|n| !n.is_empty())
        };
        let handler = first("logger_keylime", "handlers").or_else(|| first("logger_root", "handlers"));
        let section = format!("handler_{}", handler.as_deref().unwrap_or("consoleHandler"));
        let formatter = config.get_or(&section, "formatter", "formatter");
        let levels = [config.get("logger_keylime", "level"), config.get(&section, "level")];
        let json = config.get("logging", "format").as_deref() == Some("json");
        Self {
            // A line must pass its logger and its handler.
            level: levels.iter().flatten().map(|l| level(l)).max_by_key(|l| rank(l)).unwrap_or("info"),
            format: config.get_or(&format!("formatter_{formatter}"), "format", DEFAULT_FORMAT),
            destination: destination(&config.get_or(&section, "class", ""), &config.get_or(&section, "args", "")),
            json,
        }
    }
}

fn level(name: &str) -> &'static str {
    match name.to_ascii_uppercase().as_str() {
        "NOTSET" | "DEBUG" => "debug",
        "WARNING" | "WARN" => "warn",
        "ERROR" | "CRITICAL" | "FATAL" => "error",
        _ => "info",
    }
}

fn rank(level: &str) -> usize {
    ["debug", "info", "warn", "error"].iter().position(|l| *l == level).unwrap_or(1)
}

fn destination(class: &str, args: &str) -> Destination {
    if class.ends_with("FileHandler") {
        let path: String = args
            .chars()
            .skip_while(|c| !matches!(c, '\'' | '"'))
            .skip(1)
            .take_while(|c| !matches!(c, '\'' | '"'))
            .collect();
        if !path.is_empty() {
            return Destination::File(path);
        }
    }
    if args.contains("sys.stderr") { Destination::Stderr } else { Destination::Stdout }
}

/// Formats events by a Python logging format string.
struct KeylimeLines {
    format: String,
    offset: UtcOffset,
}

/// What an event says besides its message.
#[derive(Default)]
struct Fields {
    rest: String,
    critical: bool,
    reqid: String,
}

/// Characters that are no control characters and yet break lines or turn them around.
const BREAKS: std::ops::RangeInclusive<char> = '\u{2028}'..='\u{202e}';

/// A text with such characters and control characters escaped, and nothing else: quotes stay what scripts look for.
struct OneLine<'t>(&'t str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() || BREAKS.contains(&c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => Ok(()),
            "critical" => {
                self.critical = true;
                Ok(())
            }
            "reqid" => write!(self.reqid, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
        // Writing to a String cannot fail.
        let _ = written;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "reqid" => self.reqid.push_str(value),
            // A value from outside must not be able to start a line of its own.
            name => {
                let _ = write!(self.rest, " {name}={}", OneLine(value));
            }
        }
    }
}

/// Writes the message of an event: some are megabytes long, and none is copied on its way.
struct Message<'w, W>(&'w mut W, fmt::Result);

impl<W: fmt::Write> Visit for Message<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" && self.1.is_ok() {
            self.1 = write!(self.0, "{value:?}");
        }
    }
}

impl<S, N> FormatEvent<S, N> for KeylimeLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let name = event.metadata().target();
        let level = if fields.critical { "CRITICAL" } else { level_name(*event.metadata().level()) };
        #[allow(clippy::disallowed_methods, reason = "log lines carry wall-clock time")]
        let now = OffsetDateTime::now_utc().to_offset(self.offset);
        let message = |writer: &mut Writer<'_>| {
            let mut message = Message(writer, Ok(()));
            event.record(&mut message);
            message.1
        };
        render(&mut writer, &self.format, message, &fields, (name, level, now))?;
        writer.write_char('\n')
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

fn render<W: fmt::Write>(
    line: &mut W,
    format: &str,
    message: impl Fn(&mut W) -> fmt::Result,
    fields: &Fields,
    (name, level, now): (&str, &str, OffsetDateTime),
) -> fmt::Result {
    let mut rest = format;
    while let Some(start) = rest.find("%(") {
        line.write_str(&rest[..start])?;
        let Some(end) = rest[start..].find(')') else { break };
        let key = &rest[start + 2..start + end];
        rest = &rest[start + end + 1..];
        let spec = rest.find(|c: char| c.is_ascii_alphabetic()).map_or(rest.len(), |n| n + 1);
        rest = &rest[spec..];
        match key {
            "asctime" => {
                let time = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
                line.write_str(&now.format(time).unwrap_or_default())?;
            }
            "msecs" => write!(line, "{:03}", now.millisecond())?,
            "name" => line.write_str(name)?,
            "levelname" => line.write_str(level)?,
            "message" => {
                message(line)?;
                line.write_str(&fields.rest)?;
            }
            "reqid" => line.write_str(&fields.reqid)?,
            "reqidf" if fields.reqid.is_empty() => {}
            "reqidf" => write!(line, "(reqid={})", fields.reqid)?,
            "process" => write!(line, "{}", std::process::id())?,
            _ => {}
        }
    }
    line.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn rendered(format: &str, message: &str, level: &str) -> String {
        let mut line = String::new();
        let about = ("keylime.tenant", level, datetime!(2026-11-23 10:01:02.003 UTC));
        render(&mut line, format, |line| line.write_str(message), &Fields::default(), about).unwrap();
        line
    }

    #[test]
    fn lines_have_keylimes_shape() {
        let line = rendered(DEFAULT_FORMAT, "Status", "INFO");
        assert_eq!(line, "2026-11-23 10:01:02.003 - keylime.tenant - INFO - Status");
    }

    #[test]
    fn the_documented_format_with_request_ids_ends_in_a_space_outside_requests() {
        let line = rendered(&format!("{DEFAULT_FORMAT} %(reqidf)s"), "m", "ERROR");
        assert!(line.ends_with("- ERROR - m "), "{line:?}");
    }

    #[test]
    fn values_stay_on_their_line_and_keep_their_quotes() {
        assert_eq!(OneLine("host='h'\n\u{1b}[0m\"é\\").to_string(), "host='h'\\n\\u{1b}[0m\"é\\");
    }

    #[test]
    fn logger_and_handler_levels_both_filter() {
        let text = "[logger_keylime]\nlevel = DEBUG\nhandlers =\n[logger_root]\nhandlers = h\n[handler_h]\nclass = FileHandler\n\
                    level = WARNING\nformatter = f\nargs = ('/tmp/x.log',)\n[formatter_f]\nformat = %(message)s\n";
        let settings = Settings::from_config(&Config::from_parts(Component::Logging, text, &[]).unwrap());
        assert_eq!(settings.level, "warn");
        assert_eq!(settings.format, "%(message)s");
        assert_eq!(settings.destination, Destination::File("/tmp/x.log".into()));
    }
}
