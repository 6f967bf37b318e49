//! Programs whose first arguments name a command, as `argparse` subparsers do.

use crate::option::Need;
use crate::parser::{Matches, Parser, Stop};

/// A program or one of its commands.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// The word that selects it; unused for the program itself.
    pub name: &'static str,
    /// What the help text of the level above says about it.
    pub summary: &'static str,
    /// Its options; the program's name includes the commands that lead to it.
    pub parser: Parser,
    /// Heading of its own commands in the help text.
    pub title: &'static str,
    /// Its own commands.
    pub children: &'static [Command],
    /// Whether one of them must be named.
    pub need: Need,
}

/// What a command line selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The words that name the command, from the outermost.
    pub path: Vec<&'static str>,
    /// The values of the innermost command's options.
    pub matches: Matches,
}

impl Command {
    /// A command without commands of its own.
    #[must_use]
    pub const fn leaf(name: &'static str, summary: &'static str, parser: Parser) -> Self {
        Self { name, summary, parser, title: "", children: &[], need: Need::Optional }
    }

    /// Reads the arguments after the program's name; `width` is the terminal's, in columns.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn parse(&self, arguments: &[String], width: usize) -> Result<Selection, Stop> {
        let mut selection = Selection::default();
        let unrecognized = self.descend(arguments, width, &mut selection)?;
        if unrecognized.is_empty() {
            return Ok(selection);
        }
        Err(self.error(&format!("unrecognized arguments: {}", unrecognized.join(" ")), width))
    }

    fn descend(&self, arguments: &[String], width: usize, selection: &mut Selection) -> Result<Vec<String>, Stop> {
        if self.children.is_empty() {
            let (matches, unrecognized) = self.parser.parse_known(arguments, width)?;
            selection.matches = matches;
            return Ok(unrecognized);
        }
        let mut unrecognized = Vec::new();
        for (at, argument) in arguments.iter().enumerate() {
            if argument.starts_with('-') && argument.len() > 1 {
                if self.parser.asks_for_help(argument) {
                    return Err(Stop::Print(self.help(width)));
                }
                unrecognized.push(argument.clone());
                continue;
            }
            let Some(child) = self.children.iter().find(|child| child.name == argument) else {
                let names: Vec<String> = self.children.iter().map(|child| format!("'{}'", child.name)).collect();
                // Python names the choices, or the group's dest where one is given; these tools give none.
                let message = format!(
                    "argument {}: invalid choice: '{argument}' (choose from {})",
                    self.choices(),
                    names.join(", ")
                );
                return Err(self.error(&message, width));
            };
            selection.path.push(child.name);
            unrecognized.extend(child.descend(&arguments[at + 1..], width, selection)?);
            return Ok(unrecognized);
        }
        match self.need {
            Need::Optional => Ok(unrecognized),
            Need::Required => {
                Err(self.error(&format!("the following arguments are required: {}", self.choices()), width))
            }
        }
    }

    fn error(&self, message: &str, width: usize) -> Stop {
        Stop::Usage(format!("{}{}: error: {message}\n", self.usage(width), self.parser.program))
    }

    pub(crate) fn choices(&self) -> String {
        let names: Vec<&str> = self.children.iter().map(|child| child.name).collect();
        format!("{{{}}}", names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option::OptionSpec;

    const PROGRAM: Command = Command {
        name: "",
        summary: "",
        parser: Parser::new("tool", &[OptionSpec::help()]),
        title: "actions",
        children: &[
            Command {
                name: "create",
                summary: "make something",
                parser: Parser::new("tool create", &[OptionSpec::help()]),
                title: "create",
                children: &[Command::leaf(
                    "policy",
                    "make a policy",
                    Parser::new(
                        "tool create policy",
                        &[OptionSpec::help(), OptionSpec::value(&["-o", "--output"], "output", "file")],
                    ),
                )],
                need: Need::Required,
            },
            Command::leaf("sign", "sign something", Parser::new("tool sign", &[OptionSpec::help()])),
        ],
        need: Need::Optional,
    };

    fn parse(line: &str) -> Result<Selection, Stop> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        PROGRAM.parse(&arguments, 80)
    }

    fn usage(line: &str) -> String {
        match parse(line) {
            Err(Stop::Usage(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    // The texts are those of CPython 3.11's argparse.
    #[test]
    fn commands_are_selected_and_their_errors_are_worded_as_argparse_does() {
        let selection = parse("create policy -o x").unwrap();
        assert_eq!(selection.path, ["create", "policy"]);
        assert_eq!(selection.matches.value("output"), Some("x"));
        assert!(parse("").unwrap().path.is_empty());
        assert_eq!(
            usage("create"),
            "usage: tool create [-h] {policy} ...\ntool create: error: the following arguments are required: {policy}\n"
        );
        assert_eq!(
            usage("x"),
            "usage: tool [-h] {create,sign} ...\ntool: error: argument {create,sign}: invalid choice: 'x' (choose from 'create', 'sign')\n"
        );
        assert_eq!(
            usage("create policy -x"),
            "usage: tool [-h] {create,sign} ...\ntool: error: unrecognized arguments: -x\n"
        );
        assert_eq!(
            usage("create policy -o"),
            "usage: tool create policy [-h] [-o OUTPUT]\ntool create policy: error: argument -o/--output: expected one argument\n"
        );
    }

    #[test]
    fn help_lists_the_commands_in_narrow_columns() {
        let Err(Stop::Print(text)) = parse("-h") else { panic!("no help") };
        assert_eq!(
            text,
            "usage: tool [-h] {create,sign} ...\n\noptions:\n  -h, --help     show this help message and exit\n\n\
             actions:\n  {create,sign}\n    create       make something\n    sign         sign something\n"
        );
        assert!(matches!(parse("create policy --help"), Err(Stop::Print(_))));
    }
}
