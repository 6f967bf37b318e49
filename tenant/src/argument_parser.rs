//! Command lines as Python's `argparse` reads them, with its usage, help and error texts.
//!
//! Keylime's tools have options that no other parser takes: several letters after a single dash (`-tp 8892`), values
//! glued to a short option (`-t10.0.0.1`), any unambiguous prefix of a long option. There are no positional arguments.

use std::collections::HashMap;

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes one value; the last one counts.
    Value,
    /// Takes one value each time; all count.
    Values,
    /// Takes no value.
    Flag,
    /// Prints the help text.
    Help,
    /// Prints the version.
    Version,
}

/// Whether an option may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It may.
    Optional,
    /// It may not.
    Required,
}

/// Whether the reference's tools have an option as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// They do.
    Reference,
    /// They do not: the option is not in the usage line, and no abbreviation means it.
    Own,
}

/// One option of a program.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its spellings, the first of which stands in the usage line.
    pub spellings: &'static [&'static str],
    /// Name of the value in the parsed result; in capitals it is the placeholder in help texts.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Whether it may be left out.
    pub need: Need,
    /// What the help text says about it.
    pub help: &'static str,
    /// Whether the reference has it.
    pub origin: Origin,
}

impl OptionSpec {
    /// An optional option with one value.
    #[must_use]
    pub const fn value(spellings: &'static [&'static str], name: &'static str, help: &'static str) -> Self {
        Self { spellings, name, kind: Kind::Value, need: Need::Optional, help, origin: Origin::Reference }
    }

    /// An option without a value.
    #[must_use]
    pub const fn flag(spellings: &'static [&'static str], name: &'static str, help: &'static str) -> Self {
        Self { spellings, name, kind: Kind::Flag, need: Need::Optional, help, origin: Origin::Reference }
    }

    /// `-h` and `--help`.
    #[must_use]
    pub const fn help() -> Self {
        let help = "show this help message and exit";
        Self { kind: Kind::Help, ..Self::flag(&["-h", "--help"], "help", help) }
    }

    /// `--version`.
    #[must_use]
    pub const fn version() -> Self {
        let help = "show the version and exit";
        Self { kind: Kind::Version, ..Self::flag(&["--version"], "version", help).own() }
    }

    /// The same option, not one of the reference's.
    #[must_use]
    pub const fn own(self) -> Self {
        Self { origin: Origin::Own, ..self }
    }

    /// Whether it takes a value.
    #[must_use]
    pub fn takes_value(&self) -> bool {
        matches!(self.kind, Kind::Value | Kind::Values)
    }

    fn placeholder(&self) -> String {
        self.name.to_ascii_uppercase()
    }
}

/// A program's options.
#[derive(Debug, Clone, Copy)]
pub struct Parser {
    /// Name of the program in usage and error lines.
    pub program: &'static str,
    /// Its options in the order of the usage line.
    pub options: &'static [OptionSpec],
}

/// The values given on a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    values: HashMap<&'static str, Vec<String>>,
}

impl Matches {
    /// The value of an option, the last if it was given several times.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// All values of an option.
    #[must_use]
    pub fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether an option was given.
    #[must_use]
    pub fn is_present(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}

/// Why no values came out of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Help or version was asked for: print this to standard output and end with 0.
    Print(String),
    /// The command line is wrong: print this to standard error and end with 2.
    Usage(String),
}

impl Parser {
    /// Reads the arguments after the program's name; `width` is the terminal's, in columns.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn parse(&self, arguments: &[String], width: usize) -> Result<Matches, Stop> {
        let mut matches = Matches::default();
        let mut unrecognized = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                unrecognized.push(argument.clone());
                unrecognized.extend(rest.by_ref().cloned());
                break;
            }
            let Some((option, spelling, glued)) = self.find(argument, width)? else {
                unrecognized.push(argument.clone());
                continue;
            };
            match option.kind {
                Kind::Value | Kind::Values => {
                    let next = || rest.as_slice().first().filter(|next| self.is_value(next)).cloned();
                    let value = match glued {
                        Some(value) => value,
                        None => {
                            let value = next().ok_or_else(|| {
                                self.error(&format!("argument {}: expected one argument", joined(option)), width)
                            })?;
                            rest.next();
                            value
                        }
                    };
                    matches.values.entry(option.name).or_default().push(value);
                }
                Kind::Flag | Kind::Help | Kind::Version => {
                    if let Some(value) = glued {
                        let value = value.trim_start_matches(&spelling);
                        let message = format!("argument {}: ignored explicit argument '{value}'", joined(option));
                        return Err(self.error(&message, width));
                    }
                    match option.kind {
                        Kind::Help => return Err(Stop::Print(self.help(width))),
                        Kind::Version => return Err(Stop::Print(self.version())),
                        Kind::Value | Kind::Values | Kind::Flag => {
                            matches.values.entry(option.name).or_default();
                        }
                    }
                }
            }
        }
        self.check_required(&matches, width)?;
        if unrecognized.is_empty() {
            return Ok(matches);
        }
        Err(self.error(&format!("unrecognized arguments: {}", unrecognized.join(" ")), width))
    }

    /// The usage text and an error line, as `argparse` puts them on standard error.
    #[must_use]
    pub fn error(&self, message: &str, width: usize) -> Stop {
        Stop::Usage(format!("{}{}: error: {message}\n", self.usage(width), self.program))
    }

    fn check_required(&self, matches: &Matches, width: usize) -> Result<(), Stop> {
        let missing: Vec<String> = self
            .options
            .iter()
            .filter(|option| option.need == Need::Required && !matches.is_present(option.name))
            .map(joined)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(self.error(&format!("the following arguments are required: {}", missing.join(", ")), width))
    }

    /// The option an argument names, the spelling it used, and a value glued to it; `None` if it names no option.
    #[allow(clippy::type_complexity, reason = "a triple that lives for three lines")]
    fn find(&self, argument: &str, width: usize) -> Result<Option<(&OptionSpec, String, Option<String>)>, Stop> {
        if !argument.starts_with('-') {
            return Ok(None);
        }
        if let Some(option) = self.exact(argument) {
            return Ok(Some((option, argument.to_owned(), None)));
        }
        if argument.chars().count() == 1 {
            return Ok(None);
        }
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument, None),
        };
        if let Some(option) = value.as_ref().and_then(|_| self.exact(name)) {
            return Ok(Some((option, name.to_owned(), value)));
        }
        let mut candidates = self.candidates(argument, name, value);
        match candidates.len() {
            0 => Ok(None),
            1 => Ok(candidates.pop()),
            _ => {
                let spellings: Vec<&str> = candidates.iter().map(|(_, spelling, _)| spelling.as_str()).collect();
                let message = format!("ambiguous option: {argument} could match {}", spellings.join(", "));
                Err(self.error(&message, width))
            }
        }
    }

    /// Options whose spelling starts with the argument, or that are the argument's first letter with a glued value.
    fn candidates(
        &self,
        argument: &str,
        name: &str,
        value: Option<String>,
    ) -> Vec<(&OptionSpec, String, Option<String>)> {
        let abbreviable = self.options.iter().filter(|option| option.origin == Origin::Reference);
        let spellings = abbreviable.flat_map(|option| option.spellings.iter().map(move |spelling| (option, *spelling)));
        let mut found = Vec::new();
        if argument.starts_with("--") {
            for (option, spelling) in spellings.filter(|(_, spelling)| spelling.starts_with(name)) {
                found.push((option, spelling.to_owned(), value.clone()));
            }
            return found;
        }
        let letter_end = argument.char_indices().nth(2).map_or(argument.len(), |(at, _)| at);
        let (letter, glued) = argument.split_at(letter_end);
        for (option, spelling) in spellings {
            if spelling == letter {
                found.push((option, spelling.to_owned(), Some(glued.to_owned())));
            } else if spelling.starts_with(argument) {
                found.push((option, spelling.to_owned(), None));
            }
        }
        found
    }

    fn exact(&self, spelling: &str) -> Option<&OptionSpec> {
        self.options.iter().find(|option| option.spellings.contains(&spelling))
    }

    /// Whether an argument can be an option's value: no option, a negative number, or a text with a space.
    fn is_value(&self, argument: &str) -> bool {
        if !argument.starts_with('-') || argument == "-" {
            return true;
        }
        if argument == "--" || self.exact(argument).is_some() {
            return false;
        }
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument, None),
        };
        if value.as_ref().is_some_and(|_| self.exact(name).is_some())
            || !self.candidates(argument, name, value).is_empty()
        {
            return false;
        }
        let number = argument[1..].parse::<f64>().is_ok()
            && argument[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        number || argument.contains(' ')
    }

    fn version(&self) -> String {
        format!("{} {}\n", self.program, env!("CARGO_PKG_VERSION"))
    }

    /// The usage text, wrapped as `argparse` wraps it.
    fn usage(&self, width: usize) -> String {
        const PREFIX: &str = "usage: ";
        let parts: Vec<String> =
            self.options.iter().filter(|option| option.origin == Origin::Reference).map(usage_part).collect();
        let width = width.saturating_sub(2).max(11);
        let one_line = format!("{PREFIX}{} {}", self.program, parts.join(" "));
        if one_line.len() <= width {
            return one_line + "\n";
        }
        let indent = " ".repeat(PREFIX.len() + self.program.len() + 1);
        let mut text = format!("{PREFIX}{}", self.program);
        let mut column = text.len();
        for part in parts {
            if column + 1 + part.len() > width {
                text.push('\n');
                text.push_str(&indent);
                column = indent.len() + part.len();
            } else {
                text.push(' ');
                column += 1 + part.len();
            }
            text.push_str(&part);
        }
        text + "\n"
    }

    /// The help text: usage, then every option with what it does, in two columns.
    #[must_use]
    pub fn help(&self, width: usize) -> String {
        const COLUMN: usize = 24;
        let width = width.saturating_sub(2).max(COLUMN + 11);
        let mut text = self.usage(width + 2) + "\noptions:\n";
        for option in self.options {
            let spellings: Vec<String> =
                option.spellings.iter().map(|spelling| with_placeholder(option, spelling)).collect();
            let head = format!("  {}", spellings.join(", "));
            let lines = wrapped(option.help, width - COLUMN);
            let mut lines = lines.iter();
            text.push_str(&head);
            if head.len() + 2 <= COLUMN
                && let Some(line) = lines.next()
            {
                text.push_str(&" ".repeat(COLUMN - head.len()));
                text.push_str(line);
            }
            text.push('\n');
            for line in lines {
                text.push_str(&" ".repeat(COLUMN));
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

fn joined(option: &OptionSpec) -> String {
    option.spellings.join("/")
}

fn with_placeholder(option: &OptionSpec, spelling: &str) -> String {
    if option.takes_value() { format!("{spelling} {}", option.placeholder()) } else { spelling.to_owned() }
}

fn usage_part(option: &OptionSpec) -> String {
    let part = with_placeholder(option, option.spellings.first().copied().unwrap_or_default());
    match option.need {
        Need::Optional => format!("[{part}]"),
        Need::Required => part,
    }
}

/// Breaks a text at spaces into lines of at most `width` bytes; a longer word gets a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns of the terminal as the environment says, or 80.
#[must_use]
pub fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|columns| *columns > 0).unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARSER: Parser = Parser {
        program: "tool",
        options: &[
            OptionSpec::help(),
            OptionSpec::version(),
            OptionSpec::value(&["-t", "--targethost"], "agent_ip", "address of the machine"),
            OptionSpec::value(&["-tp", "--targetport"], "agent_port", "port of the machine"),
            OptionSpec::flag(&["-nvc", "--no-verifier-check"], "no_check", "do not ask the verifier first"),
            OptionSpec::flag(&["--verify"], "verify", "wait for the agent"),
            OptionSpec { kind: Kind::Values, ..OptionSpec::value(&["--key"], "keys", "a key") },
        ],
    };

    fn parse(arguments: &[&str]) -> Result<Matches, Stop> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        PARSER.parse(&arguments, 80)
    }

    fn usage_error(arguments: &[&str]) -> String {
        match parse(arguments) {
            Err(Stop::Usage(text)) => text.lines().last().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn takes_every_spelling_of_a_value() {
        for arguments in [
            &["-tp", "8892"][..],
            &["-tp=8892"],
            &["--targetport", "8892"],
            &["--targetport=8892"],
            &["--targetp", "8892"],
            &["--targetp=8892"],
        ] {
            assert_eq!(parse(arguments).unwrap().value("agent_port"), Some("8892"), "{arguments:?}");
        }
        assert_eq!(parse(&["-t10.0.0.1"]).unwrap().value("agent_ip"), Some("10.0.0.1"));
        assert_eq!(parse(&["-t", "-5"]).unwrap().value("agent_ip"), Some("-5"));
        assert_eq!(parse(&["-t", "-a b"]).unwrap().value("agent_ip"), Some("-a b"));
        assert_eq!(parse(&["-t="]).unwrap().value("agent_ip"), Some(""));
        assert_eq!(parse(&["-t", ""]).unwrap().value("agent_ip"), Some(""));
        assert!(parse(&["-n"]).unwrap().is_present("no_check"));
        assert_eq!(parse(&["--key", "a", "--key=b"]).unwrap().values("keys"), ["a", "b"]);
        assert_eq!(parse(&["-t", "a", "-t", "b"]).unwrap().value("agent_ip"), Some("b"));
    }

    // The error lines are those of CPython 3.11's argparse for the same options.
    #[test]
    fn names_what_is_wrong_as_argparse_does() {
        assert_eq!(usage_error(&["--nope"]), "tool: error: unrecognized arguments: --nope");
        assert_eq!(usage_error(&["x", "--verify", "y"]), "tool: error: unrecognized arguments: x y");
        assert_eq!(usage_error(&["--", "-t"]), "tool: error: unrecognized arguments: -- -t");
        assert_eq!(usage_error(&["-nx"]), "tool: error: unrecognized arguments: -nx");
        assert_eq!(usage_error(&["-tp"]), "tool: error: argument -tp/--targetport: expected one argument");
        assert_eq!(usage_error(&["-tp", "--verify"]), "tool: error: argument -tp/--targetport: expected one argument");
        assert_eq!(
            usage_error(&["--target", "1"]),
            "tool: error: ambiguous option: --target could match --targethost, --targetport"
        );
        assert_eq!(usage_error(&["--verify=1"]), "tool: error: argument --verify: ignored explicit argument '1'");
    }

    #[test]
    fn wraps_usage_and_help_in_columns() {
        let Err(Stop::Print(help)) = parse(&["--help"]) else { panic!("no help") };
        let expected = "usage: tool [-h] [-t AGENT_IP] [-tp AGENT_PORT] [-nvc] [--verify] [--key KEYS]\n\noptions:\n  \
                        -h, --help            show this help message and exit\n";
        assert!(help.starts_with(expected), "{help}");
        assert!(
            help.contains("\n  -t AGENT_IP, --targethost AGENT_IP\n                        address of the machine\n")
        );
        assert_eq!(parse(&["--version"]), Err(Stop::Print(format!("tool {}\n", env!("CARGO_PKG_VERSION")))));
        assert!(parse(&["--ver"]).unwrap().is_present("verify"));
    }

    proptest! {
        #[test]
        fn any_command_line_ends_in_values_or_a_reason(arguments in proptest::collection::vec("(-{0,2}[a-z=]{0,8}|.{0,8})", 0..6), width in 0_usize..200) {
            let _ = PARSER.parse(&arguments, width);
        }
    }
}
