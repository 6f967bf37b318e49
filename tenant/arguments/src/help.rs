//! Usage and help texts, wrapped and laid out in columns as `argparse` does.

use crate::command::Command;
use crate::option::{Kind, Need, OptionSpec, Origin};
use crate::parser::Parser;

const USAGE: &str = "usage: ";

/// Column in which explanations start at the latest.
const COLUMN: usize = 24;

impl Parser {
    /// The usage text, wrapped as `argparse` wraps it.
    pub(crate) fn usage(&self, width: usize) -> String {
        let options = self.options.iter().filter(|option| option.origin == Origin::Reference).map(usage_part);
        let places = self.positionals.iter().map(|place| place.name.to_owned()).collect();
        wrap_usage(self.program, options.collect(), places, width)
    }

    /// The help text: usage, then every argument with what it does, in two columns.
    #[must_use]
    pub fn help(&self, width: usize) -> String {
        let mut text = self.usage(width) + "\n";
        if !self.description.is_empty() {
            text.push_str(&paragraph(self.description, text_width(width)));
            text.push('\n');
        }
        let mut sections: Vec<(&str, Vec<Row>)> = Vec::new();
        let places = self.positionals.iter().map(|place| Row::new(2, place.name.to_owned(), place.help));
        sections.push(("positional arguments", places.collect()));
        sections.push(("options", Vec::new()));
        for option in self.options {
            let heading = option.section.unwrap_or("options");
            if !sections.iter().any(|(known, _)| *known == heading) {
                sections.push((heading, Vec::new()));
            }
            if let Some((_, rows)) = sections.iter_mut().find(|(known, _)| *known == heading) {
                rows.push(option_row(option));
            }
        }
        text.push_str(&layout(&sections, width));
        if !self.epilogue.is_empty() {
            text.push('\n');
            text.push_str(self.epilogue.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Command {
    /// The usage text of a program with commands.
    pub(crate) fn usage(&self, width: usize) -> String {
        if self.children.is_empty() {
            return self.parser.usage(width);
        }
        let options = self.parser.options.iter().filter(|option| option.origin == Origin::Reference).map(usage_part);
        wrap_usage(self.parser.program, options.collect(), vec![format!("{} ...", self.choices())], width)
    }

    /// The help text of a program with commands.
    pub(crate) fn help(&self, width: usize) -> String {
        let mut commands = vec![Row::new(2, self.choices(), "")];
        commands.extend(self.children.iter().map(|child| Row::new(4, child.name.to_owned(), child.summary)));
        let options = self.parser.options.iter().map(option_row).collect();
        let mut text = self.usage(width) + "\n" + &layout(&[("options", options), (self.title, commands)], width);
        if !self.parser.epilogue.is_empty() {
            text.push('\n');
            text.push_str(self.parser.epilogue.trim_end());
            text.push('\n');
        }
        text
    }
}

/// One line of a help text, before it is laid out.
struct Row {
    indent: usize,
    head: String,
    help: &'static str,
}

impl Row {
    fn new(indent: usize, head: String, help: &'static str) -> Self {
        Self { indent, head, help }
    }
}

fn option_row(option: &OptionSpec) -> Row {
    let spellings: Vec<String> = option.spellings.iter().map(|spelling| with_metavar(option, spelling)).collect();
    Row::new(2, spellings.join(", "), option.help)
}

/// Lays sections out; the explanations of all start in one column.
fn layout(sections: &[(&str, Vec<Row>)], width: usize) -> String {
    let rows = sections.iter().flat_map(|(_, rows)| rows);
    let longest = rows.map(|row| row.indent + row.head.len()).max().unwrap_or_default();
    let column = (longest + 2).min(COLUMN);
    let room = text_width(width).saturating_sub(column).max(11);
    let mut text = String::new();
    for (heading, rows) in sections.iter().filter(|(_, rows)| !rows.is_empty()) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(heading);
        text.push_str(":\n");
        for row in rows {
            let head = format!("{}{}", " ".repeat(row.indent), row.head);
            let lines = wrapped(row.help, room);
            let mut lines = lines.iter();
            text.push_str(&head);
            if head.len() + 2 <= column
                && let Some(line) = lines.next()
            {
                text.push_str(&" ".repeat(column - head.len()));
                text.push_str(line);
            }
            text.push('\n');
            for line in lines {
                text.push_str(&" ".repeat(column));
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Wraps a usage line; when it does not fit, positional arguments start a line of their own.
fn wrap_usage(program: &str, options: Vec<String>, places: Vec<String>, width: usize) -> String {
    let width = text_width(width);
    let all: Vec<&str> = options.iter().chain(&places).map(String::as_str).collect();
    let one_line = format!("{USAGE}{program} {}", all.join(" "));
    if one_line.trim_end().len() <= width {
        return one_line.trim_end().to_owned() + "\n";
    }
    let indent = " ".repeat(USAGE.len() + program.len() + 1);
    let mut lines = vec![format!("{USAGE}{program}")];
    for part in &options {
        append(&mut lines, part, &indent, width);
    }
    for (at, part) in places.iter().enumerate() {
        if at == 0 {
            lines.push(format!("{indent}{part}"));
        } else {
            append(&mut lines, part, &indent, width);
        }
    }
    lines.join("\n") + "\n"
}

fn append(lines: &mut Vec<String>, part: &str, indent: &str, width: usize) {
    match lines.last_mut() {
        Some(line) if line.len() + 1 + part.len() <= width => {
            line.push(' ');
            line.push_str(part);
        }
        _ => lines.push(format!("{indent}{part}")),
    }
}

fn with_metavar(option: &OptionSpec, spelling: &str) -> String {
    let value = option.metavar();
    match option.kind {
        Kind::Value | Kind::Values => format!("{spelling} {value}"),
        Kind::OptionalValue => format!("{spelling} [{value}]"),
        Kind::Several => format!("{spelling} {value} [{value} ...]"),
        Kind::Flag | Kind::Help | Kind::Version => spelling.to_owned(),
    }
}

fn usage_part(option: &OptionSpec) -> String {
    let part = with_metavar(option, option.spellings.first().copied().unwrap_or_default());
    match option.need {
        Need::Optional => format!("[{part}]"),
        Need::Required => part,
    }
}

fn paragraph(text: &str, width: usize) -> String {
    wrapped(text, width).join("\n") + "\n"
}

/// Columns that texts may take of a terminal's.
fn text_width(terminal: usize) -> usize {
    terminal.saturating_sub(2).max(11)
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
