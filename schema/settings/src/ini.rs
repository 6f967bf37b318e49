//! INI syntax exactly as Python's `configparser.RawConfigParser` reads it.
//!
//! Delimiters `=` and `:`, whole-line comments `#` and `;` only, deeper-indented lines continue the value above, blank lines
//! may be inside values, option names are lower-cased, `[DEFAULT]` is inherited, duplicates within one file are errors,
//! nothing is interpolated.

use indexmap::IndexMap;
use std::collections::HashSet;

/// Largest configuration file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Sections with their options; several files may be read into one, later ones win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ini {
    sections: IndexMap<String, IndexMap<String, String>>,
    defaults: IndexMap<String, String>,
}

/// A line that breaks the syntax.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// 1-based line number.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl Ini {
    /// Reads a file's text on top of what is there.
    ///
    /// # Errors
    /// The first line that breaks the syntax.
    pub fn read(&mut self, text: &str) -> Result<(), SyntaxError> {
        let mut reader = Reader { ini: self, seen: HashSet::new(), section: None, option: None, indent: 0 };
        for (number, line) in universal_lines(text).enumerate() {
            reader.line(number + 1, line)?;
        }
        reader.close_value();
        Ok(())
    }

    /// The value of an option; an option that the section lacks is looked up in `[DEFAULT]`.
    #[must_use]
    pub fn get(&self, section: &str, option: &str) -> Option<&str> {
        let options = self.sections.get(section)?;
        let option = option.to_lowercase();
        options.get(&option).or_else(|| self.defaults.get(&option)).map(String::as_str)
    }

    /// Names of the sections in the order in which they first appear, without `DEFAULT`.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// Options of one section in the order in which they first appear, without inherited ones.
    pub fn options(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.sections.get(section).into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Options of `[DEFAULT]`, which every section inherits.
    pub fn defaults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.defaults.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

/// Splits at `\n`, `\r\n` and `\r`, as Python does for text files.
fn universal_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

struct Reader<'i> {
    ini: &'i mut Ini,
    /// Sections and (section, option) pairs of this file.
    seen: HashSet<(String, Option<String>)>,
    section: Option<String>,
    option: Option<(String, Vec<String>)>,
    indent: usize,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str) -> Result<(), SyntaxError> {
        let content = line.trim_matches(is_space);
        if content.starts_with(['#', ';']) {
            return Ok(());
        }
        if content.is_empty() {
            if let Some((_, lines)) = &mut self.option {
                lines.push(String::new());
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if indent > self.indent
            && let Some((_, lines)) = &mut self.option
        {
            lines.push(content.to_owned());
            return Ok(());
        }
        self.indent = indent;
        self.close_value();
        if let Some(header) = section_header(content) {
            return self.open_section(number, header);
        }
        self.open_option(number, content)
    }

    fn open_section(&mut self, number: usize, header: &str) -> Result<(), SyntaxError> {
        if header != "DEFAULT" {
            if !self.seen.insert((header.to_owned(), None)) {
                return Err(SyntaxError { line: number, problem: format!("section [{header}] appears twice") });
            }
            self.ini.sections.entry(header.to_owned()).or_default();
        }
        self.section = Some(header.to_owned());
        Ok(())
    }

    fn open_option(&mut self, number: usize, content: &str) -> Result<(), SyntaxError> {
        let Some(section) = &self.section else {
            return Err(SyntaxError { line: number, problem: "an option before the first [section]".to_owned() });
        };
        let Some((name, value)) = content.split_once(['=', ':']) else {
            return Err(SyntaxError {
                line: number,
                problem: "neither a [section] nor an option with '=' or ':'".to_owned(),
            });
        };
        let name = name.trim_end_matches(is_space).to_lowercase();
        if name.is_empty() {
            return Err(SyntaxError { line: number, problem: "an option without a name".to_owned() });
        }
        if !self.seen.insert((section.clone(), Some(name.clone()))) {
            return Err(SyntaxError {
                line: number,
                problem: format!("option '{name}' appears twice in section [{section}]"),
            });
        }
        self.option = Some((name, vec![value.trim_matches(is_space).to_owned()]));
        Ok(())
    }

    fn close_value(&mut self) {
        let (Some((name, lines)), Some(section)) = (self.option.take(), &self.section) else { return };
        let value = lines.join("\n").trim_end_matches(is_space).to_owned();
        if section == "DEFAULT" {
            self.ini.defaults.insert(name, value);
        } else {
            self.ini.sections.entry(section.clone()).or_default().insert(name, value);
        }
    }
}

/// What Python takes for white space: Unicode's, and the four separators of ASCII.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The name inside `[…]`; Python matches greedily up to the last `]` and ignores what follows.
fn section_header(content: &str) -> Option<&str> {
    let rest = content.strip_prefix('[')?;
    let end = rest.rfind(']')?;
    (end > 0).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Ini, SyntaxError> {
        let mut ini = Ini::default();
        ini.read(text).map(|()| ini)
    }

    #[test]
    fn continuation_lines_win_over_options() {
        let ini = read("[s]\na = 1\n  k = v\n\n  more\nb: 2\n").unwrap();
        assert_eq!(ini.get("s", "a"), Some("1\nk = v\n\nmore"));
        assert_eq!(ini.get("s", "B"), Some("2"));
        assert_eq!(ini.get("s", "k"), None);
    }

    #[test]
    fn comments_are_whole_lines_only() {
        let ini = read("[s]\na = 1 # x\n  ; gone\n# gone\nb = 2\n").unwrap();
        assert_eq!(ini.get("s", "a"), Some("1 # x"));
        assert_eq!(ini.get("s", "b"), Some("2"));
    }

    #[test]
    fn defaults_are_inherited_by_existing_sections_only() {
        let ini = read("[DEFAULT]\nx = 1\n[s]\n[DEFAULT]\ny = 2\n").unwrap();
        assert_eq!((ini.get("s", "x"), ini.get("s", "y")), (Some("1"), Some("2")));
        assert_eq!(ini.get("t", "x"), None);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line) in
            [("a = 1\n", 1), ("[s]\nfoo\n", 2), ("[s]\na=1\nA=2\n", 3), ("[s]\n[s]\n", 2), ("[s]\n= 1\n", 2)]
        {
            assert_eq!(read(text).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn later_files_override_earlier_ones() {
        let mut ini = read("[s]\na = 1\nb = 1\n").unwrap();
        ini.read("[s]\na = 2\n").unwrap();
        assert_eq!((ini.get("s", "a"), ini.get("s", "b")), (Some("2"), Some("1")));
    }
}
