//! Manual pages, made from what `--help` of each program says, the catalogue of options, and the texts of
//! [`crate::manual_texts`]. One source for help and page: neither can say what the other does not.

use crate::manual_texts::Program;
use keylime_config_upgrade::catalogue;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Columns that help texts are asked for in; pages are filled by the reader's terminal.
const COLUMNS: &str = "100";

/// The page of a program, in the language of `man`.
///
/// # Errors
/// The program cannot be run, or its help is not understood.
pub fn render(program: &Program, directory: &Path) -> io::Result<String> {
    let help = Help::of(&directory.join(program.name), &["--help"])?;
    let mut page = Page::default();
    let title = program.name.to_uppercase();
    let _ = writeln!(page.0, ".TH {title} {} \"\" \"Keylime in Rust\" \"Keylime\"", program.section);
    page.heading("NAME");
    let _ = writeln!(page.0, "{} \\- {}", escaped(program.name), escaped(program.summary));
    page.heading("SYNOPSIS");
    for usage in &help.usage {
        page.paragraph(usage);
    }
    page.heading("DESCRIPTION");
    for text in help.about.iter().map(String::as_str).chain(program.description.iter().copied()) {
        page.paragraph(text);
    }
    page.heading("OPTIONS");
    page.definitions(&help.options);
    if !program.subcommands.is_empty() {
        page.heading("COMMANDS");
    }
    for subcommand in program.subcommands {
        let arguments: Vec<&str> = subcommand.split(' ').chain(["--help"]).collect();
        // A subcommand that is not built in has no help to show.
        let Ok(help) = Help::of(&directory.join(program.name), &arguments) else { continue };
        let _ = writeln!(page.0, ".SS \"{} {}\"", program.name, subcommand);
        help.about.iter().for_each(|text| page.paragraph(text));
        page.definitions(&help.options);
    }
    if !program.commands.is_empty() {
        page.heading("COMMANDS");
        page.definitions(&owned(program.commands));
    }
    if let Some(component) = program.component {
        configuration(&mut page, component)?;
    }
    for (title, entries) in
        [("ENVIRONMENT", program.environment), ("FILES", program.files), ("EXIT STATUS", program.exit_status)]
    {
        if !entries.is_empty() {
            page.heading(title);
            page.definitions(&owned(entries));
        }
    }
    if !program.examples.is_empty() {
        page.heading("EXAMPLES");
        for (text, command) in program.examples {
            page.paragraph(text);
            let _ = writeln!(page.0, ".PP\n.nf\n.RS\n{}\n.RE\n.fi", escaped(command));
        }
    }
    page.heading("SEE ALSO");
    page.paragraph(program.see_also);
    Ok(page.0)
}

/// Where the page of a program is kept.
#[must_use]
pub fn path(program: &Program, workspace: &Path) -> PathBuf {
    workspace.join(program.package).join("dist/man").join(format!("{}.{}", program.name, program.section))
}

fn owned(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(term, text)| ((*term).to_owned(), (*text).to_owned())).collect()
}

fn configuration(page: &mut Page, component: &str) -> io::Result<()> {
    let catalogue = catalogue::load().map_err(io::Error::other)?;
    let Some(options) = catalogue.into_iter().find(|options| options.component == component) else { return Ok(()) };
    page.heading("CONFIGURATION");
    page.paragraph(&format!(
        "Options of {component}.conf. Those of the section [{component}] can be set by KEYLIME_{}_OPTION as well.",
        component.to_uppercase()
    ));
    let shown = options.options.iter().filter(|option| option.until.is_none());
    let entries: Vec<(String, String)> = shown
        .map(|option| {
            let section = if option.section == component { String::new() } else { format!("[{}] ", option.section) };
            let default = match option.default.as_deref() {
                None => String::new(),
                Some("") => " Empty by default.".to_owned(),
                Some(default) => format!(" Default: {default}."),
            };
            (format!("{section}{}", option.name), format!("{}{default}", option.help))
        })
        .collect();
    page.definitions(&entries);
    Ok(())
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn heading(&mut self, title: &str) {
        let _ = writeln!(self.0, ".SH {title}");
    }

    fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, ".PP\n{}", escaped(text));
    }

    fn definitions(&mut self, entries: &[(String, String)]) {
        for (term, text) in entries {
            let _ = writeln!(self.0, ".TP\n\\fB{}\\fR\n{}", escaped(term), escaped(text));
        }
    }
}

/// A text with everything escaped that the formatter would take for its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let mut lines = text.lines().map(|line| {
        let line = line.trim_end();
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
    });
    let first = lines.next().unwrap_or_default();
    lines.fold(first, |text, line| text + "\n" + &line)
}

/// A help text, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Help {
    usage: Vec<String>,
    about: Vec<String>,
    options: Vec<(String, String)>,
}

impl Help {
    fn of(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let output = Command::new(program).args(arguments).env("COLUMNS", COLUMNS).output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("{} {arguments:?} ended with {}", program.display(), output.status)));
        }
        let help = Self::parse(&String::from_utf8_lossy(&output.stdout));
        if help.usage.is_empty() || help.options.is_empty() {
            return Err(io::Error::other(format!("the help of {} is not understood", program.display())));
        }
        Ok(help)
    }

    /// Understands the layouts of argparse and clap: paragraphs, a usage text, and blocks of indented definitions.
    fn parse(text: &str) -> Self {
        let mut help = Self::default();
        let mut paragraph: Vec<&str> = Vec::new();
        for line in text.lines().chain([""]) {
            let is_definition = line.starts_with("  ") && line.trim_start().starts_with('-') && indent(line) < 10;
            if line.trim().is_empty() || is_definition {
                help.close(&paragraph);
                paragraph.clear();
            }
            if !line.trim().is_empty() {
                paragraph.push(line);
            }
        }
        help
    }

    fn close(&mut self, lines: &[&str]) {
        let Some(first) = lines.first() else { return };
        let joined = |lines: &[&str]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        if let Some(usage) = first.strip_prefix("usage: ").or_else(|| first.strip_prefix("Usage: ")) {
            self.usage.push(joined(&[&[usage], &lines[1..]].concat()));
        } else if first.starts_with("  ") && first.trim_start().starts_with('-') {
            let head = first.trim();
            let (term, text) = head.split_once("  ").unwrap_or((head, ""));
            let text = joined(&[&[text], &lines[1..]].concat());
            self.options.push((term.trim().to_owned(), text.trim().to_owned()));
        } else if indent(first) > 0 {
            // A further paragraph of the definition before it, or the list of subcommands, which have pages of their own.
            if let Some((_, text)) = self.options.last_mut() {
                let _ = write!(text, "\n.sp\n{}", joined(lines));
            }
        } else if !first.ends_with(':') {
            self.about.push(joined(lines));
        }
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_help_are_understood() {
        let argparse = "usage: tool [-h] [-c COMMAND]\n            [-x]\n\noptions:\n  -h, --help            show this\n  \
                        -c COMMAND, --command COMMAND\n                        what to do\n                        now\n";
        let help = Help::parse(argparse);
        assert_eq!(help.usage, ["tool [-h] [-c COMMAND] [-x]"]);
        let expected = [("-h, --help", "show this"), ("-c COMMAND, --command COMMAND", "what to do now")];
        assert_eq!(help.options, owned(&expected));
        let clap = "Does it.\n\nUsage: tool [OPTIONS]\n\nOptions:\n      --debug\n          Also print\n\n  -h, --help\n          \
                    Print help\n\nSnippets are left alone.\n";
        let help = Help::parse(clap);
        assert_eq!(help.about, ["Does it.", "Snippets are left alone."]);
        assert_eq!(help.options, owned(&[("--debug", "Also print"), ("-h, --help", "Print help")]));
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escaped(".a-b\\c\n'd"), "\\&.a\\-b\\ec\n\\&'d");
    }
}
