//! Reads the arguments of a program without commands, or of one command.

use std::collections::HashMap;

use crate::option::{Kind, Need, OptionSpec, Origin, Positional};

/// A program's options.
#[derive(Debug, Clone, Copy)]
pub struct Parser {
    /// Name of the program in usage and error lines.
    pub program: &'static str,
    /// Its options in the order of the usage line.
    pub options: &'static [OptionSpec],
    /// Its other arguments, in order.
    pub positionals: &'static [Positional],
    /// What the help text says about the program.
    pub description: &'static str,
    /// What the help text ends with, printed as it is.
    pub epilogue: &'static str,
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
    /// A program with options only.
    #[must_use]
    pub const fn new(program: &'static str, options: &'static [OptionSpec]) -> Self {
        Self { program, options, positionals: &[], description: "", epilogue: "" }
    }

    /// Reads the arguments after the program's name; `width` is the terminal's, in columns.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn parse(&self, arguments: &[String], width: usize) -> Result<Matches, Stop> {
        let (matches, unrecognized) = self.parse_known(arguments, width)?;
        if unrecognized.is_empty() {
            return Ok(matches);
        }
        Err(self.error(&format!("unrecognized arguments: {}", unrecognized.join(" ")), width))
    }

    /// As [`parse`](Self::parse), but answers the arguments that are not understood.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn parse_known(&self, arguments: &[String], width: usize) -> Result<(Matches, Vec<String>), Stop> {
        let mut matches = Matches::default();
        let mut unrecognized = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                let free: Vec<_> = self.positionals.iter().filter(|place| !matches.is_present(place.name)).collect();
                if free.is_empty() {
                    unrecognized.push(argument.clone());
                }
                let mut free = free.into_iter();
                for argument in rest.by_ref() {
                    match free.next() {
                        Some(place) => matches.values.entry(place.name).or_default().push(argument.clone()),
                        None => unrecognized.push(argument.clone()),
                    }
                }
                break;
            }
            let Some((option, spelling, glued)) = self.find(argument, width)? else {
                let place = self.positionals.iter().find(|place| !matches.is_present(place.name));
                match place.filter(|_| !argument.starts_with('-') || argument == "-") {
                    Some(place) => matches.values.entry(place.name).or_default().push(argument.clone()),
                    None => unrecognized.push(argument.clone()),
                }
                continue;
            };
            self.take(option, &spelling, glued, &mut rest, &mut matches, width)?;
        }
        self.check_required(&matches, width)?;
        Ok((matches, unrecognized))
    }

    /// Takes an option and its values.
    fn take(
        &self,
        option: &OptionSpec,
        spelling: &str,
        glued: Option<String>,
        rest: &mut std::slice::Iter<'_, String>,
        matches: &mut Matches,
        width: usize,
    ) -> Result<(), Stop> {
        let fail = |message: String| self.error(&format!("argument {}: {message}", option.joined()), width);
        if !option.takes_value()
            && let Some(value) = &glued
        {
            let value = value.trim_start_matches(spelling);
            return Err(fail(format!("ignored explicit argument '{value}'")));
        }
        match option.kind {
            Kind::Help => return Err(Stop::Print(self.help(width))),
            Kind::Version => return Err(Stop::Print(self.version())),
            Kind::Flag => {
                matches.values.entry(option.name).or_default();
                return Ok(());
            }
            Kind::Value | Kind::Values | Kind::OptionalValue | Kind::Several => {}
        }
        let limit = if option.kind == Kind::Several { usize::MAX } else { 1 };
        let mut values = Vec::new();
        match glued {
            Some(value) => values.push(value),
            None => {
                while values.len() < limit
                    && let Some(next) = rest.as_slice().first().filter(|next| self.is_value(next))
                {
                    values.push(next.clone());
                    rest.next();
                }
            }
        }
        match option.kind {
            Kind::OptionalValue => {}
            Kind::Several if values.is_empty() => return Err(fail("expected at least one argument".to_owned())),
            _ if values.is_empty() => return Err(fail("expected one argument".to_owned())),
            _ => {}
        }
        let values = values.iter().map(|value| option.accept(value)).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        if matches!(option.kind, Kind::Value | Kind::Values) {
            matches.values.entry(option.name).or_default().extend(values);
        } else {
            matches.values.insert(option.name, values);
        }
        Ok(())
    }

    /// The usage text and an error line, as `argparse` puts them on standard error.
    #[must_use]
    pub fn error(&self, message: &str, width: usize) -> Stop {
        Stop::Usage(format!("{}{}: error: {message}\n", self.usage(width), self.program))
    }

    /// Whether an argument is this program's option for help.
    pub(crate) fn asks_for_help(&self, argument: &str) -> bool {
        let is_help = |option: &OptionSpec| option.kind == Kind::Help;
        match self.exact(argument) {
            Some(option) => is_help(option),
            None => self
                .candidates(argument, argument, None)
                .first()
                .is_some_and(|(option, _, glued)| is_help(option) && glued.is_none()),
        }
    }

    fn check_required(&self, matches: &Matches, width: usize) -> Result<(), Stop> {
        let options = self.options.iter().filter(|option| option.need == Need::Required);
        let options = options.filter(|option| !matches.is_present(option.name)).map(OptionSpec::joined);
        let places = self.positionals.iter().filter(|place| !matches.is_present(place.name));
        let missing: Vec<String> = options.chain(places.map(|place| place.name.to_owned())).collect();
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::option::Choice;

    const PARSER: Parser = Parser::new(
        "tool",
        &[
            OptionSpec::help(),
            OptionSpec::version(),
            OptionSpec::value(&["-t", "--targethost"], "agent_ip", "address of the machine"),
            OptionSpec::value(&["-tp", "--targetport"], "agent_port", "port of the machine"),
            OptionSpec::flag(&["-nvc", "--no-verifier-check"], "no_check", "do not ask the verifier first"),
            OptionSpec::flag(&["--verify"], "verify", "wait for the agent"),
            OptionSpec::value(&["--key"], "keys", "a key").of_kind(Kind::Values),
        ],
    );

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

    const REACHING: Parser = Parser {
        positionals: &[Positional { name: "a", help: "one" }, Positional { name: "b", help: "other" }],
        ..Parser::new(
            "tool",
            &[
                OptionSpec::value(&["-m", "--list"], "list", "a list").of_kind(Kind::OptionalValue),
                OptionSpec::value(&["-v", "--keys"], "keys", "keys").of_kind(Kind::Several),
                OptionSpec::value(&["--algo"], "algo", "algorithm").one_of(&[
                    Choice { value: "sha1", shown: "'sha1'" },
                    Choice { value: "sha256", shown: "'sha256'" },
                ]),
            ],
        )
    };

    fn reach(line: &str) -> Result<Matches, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        REACHING.parse(&arguments, 80).map_err(|stop| match stop {
            Stop::Usage(text) => text.lines().last().unwrap_or_default().to_owned(),
            Stop::Print(text) => text,
        })
    }

    // The error lines are those of CPython 3.11's argparse for the same options.
    #[test]
    fn options_reach_for_none_one_or_several_values() {
        let matches = reach("x -m --algo sha1 y").unwrap();
        assert_eq!((matches.value("a"), matches.value("b"), matches.value("list")), (Some("x"), Some("y"), None));
        assert!(matches.is_present("list"));
        assert_eq!(reach("-m l x y").unwrap().value("list"), Some("l"));
        assert_eq!(reach("x y -v k l").unwrap().values("keys"), ["k", "l"]);
        assert_eq!(reach("-m l -- x y").unwrap().value("b"), Some("y"));
        assert_eq!(reach("x y -v").unwrap_err(), "tool: error: argument -v/--keys: expected at least one argument");
        assert_eq!(
            reach("x y --algo md5").unwrap_err(),
            "tool: error: argument --algo: invalid choice: 'md5' (choose from 'sha1', 'sha256')"
        );
        assert_eq!(reach("x").unwrap_err(), "tool: error: the following arguments are required: b");
        assert_eq!(reach("x y z").unwrap_err(), "tool: error: unrecognized arguments: z");
        let Stop::Usage(text) = REACHING.error("no", 80) else { panic!("help") };
        assert_eq!(text, "usage: tool [-m [LIST]] [-v KEYS [KEYS ...]] [--algo {sha1,sha256}] a b\ntool: error: no\n");
    }

    proptest! {
        #[test]
        fn any_command_line_ends_in_values_or_a_reason(arguments in proptest::collection::vec("(-{0,2}[a-z=]{0,8}|.{0,8})", 0..6), width in 0_usize..200) {
            let _ = PARSER.parse(&arguments, width);
        }
    }
}
