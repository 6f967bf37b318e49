//! What a program's options and positional arguments are.

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes one value; the last one counts.
    Value,
    /// Takes one value each time; all count.
    Values,
    /// Takes one value or none; the last time counts.
    OptionalValue,
    /// Takes one or more values; the last time counts.
    Several,
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

/// A value an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The value.
    pub value: &'static str,
    /// How it stands in the list of choices of an error line.
    pub shown: &'static str,
}

/// Checks a value and answers what is kept of it.
///
/// # Errors
/// What is wrong, for the error line.
pub type Conversion = fn(&str) -> Result<String, String>;

/// One option of a program.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its spellings, the first of which stands in the usage line.
    pub spellings: &'static [&'static str],
    /// Name of the value in the parsed result; in capitals it is the metavar of help texts.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Whether it may be left out.
    pub need: Need,
    /// What the help text says about it.
    pub help: &'static str,
    /// The only values it takes; none when it takes any.
    pub choices: &'static [Choice],
    /// What stands for the value in help texts, when not the name.
    pub metavar: Option<&'static str>,
    /// Heading of the help text it stands under, when not under `options`.
    pub section: Option<&'static str>,
    /// Applied to each value before it is compared with the choices.
    pub conversion: Option<Conversion>,
    /// Whether the reference has it.
    pub origin: Origin,
}

impl OptionSpec {
    /// An optional option with one value.
    #[must_use]
    pub const fn value(spellings: &'static [&'static str], name: &'static str, help: &'static str) -> Self {
        Self {
            spellings,
            name,
            kind: Kind::Value,
            need: Need::Optional,
            help,
            choices: &[],
            metavar: None,
            section: None,
            conversion: None,
            origin: Origin::Reference,
        }
    }

    /// An option without a value.
    #[must_use]
    pub const fn flag(spellings: &'static [&'static str], name: &'static str, help: &'static str) -> Self {
        Self { kind: Kind::Flag, ..Self::value(spellings, name, help) }
    }

    /// `-h` and `--help`.
    #[must_use]
    pub const fn help() -> Self {
        Self { kind: Kind::Help, ..Self::value(&["-h", "--help"], "help", "show this help message and exit") }
    }

    /// `--version`.
    #[must_use]
    pub const fn version() -> Self {
        Self { kind: Kind::Version, ..Self::value(&["--version"], "version", "show the version and exit").own() }
    }

    /// The same option, not one of the reference's.
    #[must_use]
    pub const fn own(self) -> Self {
        Self { origin: Origin::Own, ..self }
    }

    /// The same option with another kind.
    #[must_use]
    pub const fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// The same option, not to be left out.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { need: Need::Required, ..self }
    }

    /// The same option, limited to some values.
    #[must_use]
    pub const fn one_of(self, choices: &'static [Choice]) -> Self {
        Self { choices, ..self }
    }

    /// The same option with another metavar.
    #[must_use]
    pub const fn shown_as(self, metavar: &'static str) -> Self {
        Self { metavar: Some(metavar), ..self }
    }

    /// The same option under a heading of its own.
    #[must_use]
    pub const fn under(self, section: &'static str) -> Self {
        Self { section: Some(section), ..self }
    }

    /// The same option whose values are converted.
    #[must_use]
    pub const fn converted(self, conversion: Conversion) -> Self {
        Self { conversion: Some(conversion), ..self }
    }

    /// Whether it takes a value.
    #[must_use]
    pub fn takes_value(&self) -> bool {
        matches!(self.kind, Kind::Value | Kind::Values | Kind::OptionalValue | Kind::Several)
    }

    pub(crate) fn metavar(&self) -> String {
        if !self.choices.is_empty() {
            let values: Vec<&str> = self.choices.iter().map(|choice| choice.value).collect();
            return format!("{{{}}}", values.join(","));
        }
        self.metavar.map_or_else(|| self.name.to_ascii_uppercase(), str::to_owned)
    }

    /// Its spellings as error lines name it.
    pub(crate) fn joined(&self) -> String {
        self.spellings.join("/")
    }

    /// Converts a value and compares it with the choices.
    pub(crate) fn accept(&self, value: &str) -> Result<String, String> {
        let value = match self.conversion {
            Some(convert) => convert(value)?,
            None => value.to_owned(),
        };
        if self.choices.is_empty() || self.choices.iter().any(|choice| choice.value == value) {
            return Ok(value);
        }
        let shown: Vec<&str> = self.choices.iter().map(|choice| choice.shown).collect();
        Err(format!("invalid choice: '{value}' (choose from {})", shown.join(", ")))
    }
}

/// An argument that is known by its place; each is required.
#[derive(Debug, Clone, Copy)]
pub struct Positional {
    /// Name of the value in the parsed result and in help texts.
    pub name: &'static str,
    /// What the help text says about it.
    pub help: &'static str,
}
