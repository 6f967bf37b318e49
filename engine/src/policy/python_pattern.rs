//! Translates a pattern of Python's `re` (3.11, text patterns) for the regex crates.
//!
//! The translator walks the pattern as CPython's parser does, so that it accepts and refuses the same patterns with the
//! same messages, and writes an equivalent in the common syntax of `regex` and `fancy-regex`. Every literal is escaped and
//! every class, anchor and flag is spelled out, so that nothing depends on where the dialects differ.

use super::python_class;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Which texts a translation has to be right for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// Non-empty ASCII texts that do not end with a line feed: what nearly all names are. `$`, `\b` and `\B` need no
    /// look-around there.
    Plain,
    /// All texts.
    All,
}

/// A translated pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translation {
    /// The pattern for the regex crates.
    pub pattern: String,
    /// Whether it needs look-around, back-references or atomic groups.
    pub needs_backtracking: bool,
    /// Whether a translation for all texts would look different.
    pub depends_on_texts: bool,
}

/// Why Python refuses a pattern, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(pub String);

pub(super) type Translated<T> = Result<T, Refusal>;

pub(super) fn refuse<T>(message: impl Into<String>) -> Translated<T> {
    Err(Refusal(message.into()))
}

/// Translates a pattern.
pub(super) fn translate(pattern: &str, texts: Texts) -> Translated<Translation> {
    let mut flags = Flags::default();
    loop {
        let mut translator = Translator::new(pattern, texts, flags);
        let outcome = translator.alternatives(flags, 0);
        if translator.global_flags.verbose && !flags.verbose {
            // What follows may be comments: CPython starts again as soon as it sees this flag.
            flags = translator.global_flags;
            continue;
        }
        let (body, _) = outcome?;
        if translator.global_flags != flags {
            // Flags at the start hold for the whole pattern: read it again with them.
            flags = translator.global_flags;
            continue;
        }
        if translator.peek().is_some() {
            return refuse("unbalanced parenthesis");
        }
        if let Some(group) = translator.condition_groups.iter().find(|group| **group >= translator.groups.len()) {
            return refuse(format!("invalid group reference {group}"));
        }
        if translator.variable_lookbehind {
            return refuse("look-behind requires fixed-width pattern");
        }
        return Ok(Translation {
            pattern: body,
            needs_backtracking: translator.needs_backtracking,
            depends_on_texts: translator.depends_on_texts,
        });
    }
}

/// Inline flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags {
    pub ignore_case: bool,
    pub multi_line: bool,
    pub dot_all: bool,
    pub verbose: bool,
    pub ascii: bool,
}

/// Least and greatest number of characters something matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Width(u64, u64);

impl Width {
    const NONE: Self = Self(0, 0);
    const ONE: Self = Self(1, 1);

    fn then(self, next: Self) -> Self {
        Self(self.0.saturating_add(next.0), self.1.saturating_add(next.1))
    }

    fn or(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.max(other.1))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Anchor,
    /// Look-ahead or look-behind.
    Look,
    Repeat,
}

struct Item {
    text: String,
    width: Width,
    kind: Kind,
}

/// Deepest nesting of groups; beyond it Python's own parser gives up.
const MAX_DEPTH: usize = 120;

/// Largest repetition count of CPython.
const MAX_REPEAT: u64 = 4_294_967_295;

pub(super) struct Translator<'p> {
    rest: std::str::Chars<'p>,
    texts: Texts,
    global_flags: Flags,
    /// Width of each group, `None` while it is open; number 0 stands for the whole pattern.
    groups: Vec<Option<Width>>,
    names: HashMap<String, usize>,
    /// Number of groups when the outermost look-behind began.
    lookbehind_groups: Option<usize>,
    condition_groups: Vec<usize>,
    /// Whether a look-behind has no fixed width, which CPython notices only after it has read the whole pattern.
    variable_lookbehind: bool,
    needs_backtracking: bool,
    depends_on_texts: bool,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str, texts: Texts, flags: Flags) -> Self {
        Self {
            rest: pattern.chars(),
            texts,
            global_flags: flags,
            groups: vec![None],
            names: HashMap::new(),
            lookbehind_groups: None,
            condition_groups: Vec::new(),
            variable_lookbehind: false,
            needs_backtracking: false,
            depends_on_texts: false,
        }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        self.rest.next()
    }

    pub(super) fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn take_while(&mut self, limit: usize, accepted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while taken.chars().count() < limit && self.peek().is_some_and(&accepted) {
            taken.extend(self.next());
        }
        taken
    }

    /// Skips a comment with what ends it; false when nothing does. For CPython a backslash and what follows it are one token,
    /// in comments too.
    fn skip_comment(&mut self, end: char) -> bool {
        while let Some(character) = self.next() {
            if character == end {
                return true;
            }
            if character == '\\' {
                self.next();
            }
        }
        false
    }

    fn alternatives(&mut self, flags: Flags, depth: usize) -> Translated<(String, Width)> {
        if depth > MAX_DEPTH {
            return refuse("groups are nested too deeply");
        }
        let (mut text, mut width) = self.sequence(flags, depth, depth == 0)?;
        while self.take('|') {
            let (branch, branch_width) = self.sequence(flags, depth, false)?;
            text.push('|');
            text.push_str(&branch);
            width = width.or(branch_width);
        }
        Ok((text, width))
    }

    fn sequence(&mut self, flags: Flags, depth: usize, first: bool) -> Translated<(String, Width)> {
        let mut items: Vec<Item> = Vec::new();
        while let Some(character) = self.peek() {
            if matches!(character, '|' | ')') {
                break;
            }
            self.next();
            if flags.verbose && character.is_whitespace() {
                continue;
            }
            if flags.verbose && character == '#' {
                self.skip_comment('\n');
                continue;
            }
            let item = match character {
                '\\' => self.escape(flags)?,
                '[' => plain(self.class(flags)?, Width::ONE),
                '.' => plain(if flags.dot_all { "(?s:.)" } else { r"[^\n]" }.to_owned(), Width::ONE),
                '^' if flags.multi_line => anchor("(?m:^)"),
                '^' => anchor(r"\A"),
                '$' => self.end_anchor(flags),
                '(' => match self.group(flags, depth, first && items.is_empty())? {
                    Some(item) => item,
                    None => continue,
                },
                '*' | '+' | '?' => {
                    let bounds = match character {
                        '*' => (0, MAX_REPEAT),
                        '+' => (1, MAX_REPEAT),
                        _ => (0, 1),
                    };
                    self.repeat(items.pop(), bounds)?
                }
                '{' => match self.bounds()? {
                    Some(bounds) => self.repeat(items.pop(), bounds)?,
                    None => literal('{', flags),
                },
                other => literal(other, flags),
            };
            items.push(item);
        }
        let width = items.iter().fold(Width::NONE, |sum, item| sum.then(item.width));
        Ok((items.into_iter().map(|item| item.text).collect(), width))
    }

    /// `$`: the end, or before a line feed that ends the text.
    fn end_anchor(&mut self, flags: Flags) -> Item {
        if flags.multi_line {
            return anchor("(?m:$)");
        }
        self.depends_on_texts = true;
        match self.texts {
            Texts::Plain => anchor(r"\z"),
            Texts::All => {
                self.needs_backtracking = true;
                anchor(r"(?=\n?\z)")
            }
        }
    }

    fn word_boundary(&mut self, flags: Flags, negated: bool) -> Item {
        let word = python_class::category('w', flags.ascii).unwrap_or_default();
        self.depends_on_texts = true;
        let text = match (self.texts, negated) {
            (Texts::Plain, false) => r"\b".to_owned(),
            (Texts::Plain, true) => r"\B".to_owned(),
            (Texts::All, negated) => {
                self.needs_backtracking = true;
                if negated {
                    // In CPython 3.11 it does not match an empty text.
                    format!(r"(?:(?!\A\z)(?:(?<={word})(?={word})|(?<!{word})(?!{word})))")
                } else {
                    format!("(?:(?<={word})(?!{word})|(?<!{word})(?={word}))")
                }
            }
        };
        anchor(&text)
    }

    /// After `{`: the bounds of a repetition, or `None` when it is no repetition and the brace stands for itself.
    fn bounds(&mut self) -> Translated<Option<(u64, u64)>> {
        if self.peek() == Some('}') {
            return Ok(None);
        }
        let start = self.rest.clone();
        let low = self.take_while(usize::MAX, |c| c.is_ascii_digit());
        let high = if self.take(',') { self.take_while(usize::MAX, |c| c.is_ascii_digit()) } else { low.clone() };
        if !self.take('}') {
            self.rest = start;
            return Ok(None);
        }
        let number = |digits: &str, default: u64| -> Translated<u64> {
            if digits.is_empty() {
                return Ok(default);
            }
            match digits.parse::<u64>() {
                Ok(number) if number < MAX_REPEAT => Ok(number),
                _ => refuse("the repetition number is too large"),
            }
        };
        let bounds = (number(&low, 0)?, number(&high, MAX_REPEAT)?);
        if bounds.1 < bounds.0 {
            return refuse("min repeat greater than max repeat");
        }
        Ok(Some(bounds))
    }

    fn repeat(&mut self, item: Option<Item>, (low, high): (u64, u64)) -> Translated<Item> {
        let Some(item) = item.filter(|item| item.kind != Kind::Anchor) else { return refuse("nothing to repeat") };
        if item.kind == Kind::Repeat {
            return refuse("multiple repeat");
        }
        if item.kind == Kind::Look || item.width == Width::NONE {
            // Matching nothing again finds the same, and the engine does not repeat it.
            let _ = self.take('?') || self.take('+');
            let text = if low == 0 { format!("(?:{}|)", item.text) } else { item.text };
            return Ok(Item { text, width: Width::NONE, kind: Kind::Repeat });
        }
        let operator = match (low, high) {
            (0, MAX_REPEAT) => "*".to_owned(),
            (1, MAX_REPEAT) => "+".to_owned(),
            (0, 1) => "?".to_owned(),
            (low, MAX_REPEAT) => format!("{{{low},}}"),
            (low, high) => format!("{{{low},{high}}}"),
        };
        let text = match self.peek() {
            Some('?') => {
                self.next();
                format!("(?:{}){operator}?", item.text)
            }
            Some('+') => {
                self.next();
                self.needs_backtracking = true;
                format!("(?>(?:{}){operator})", item.text)
            }
            _ => format!("(?:{}){operator}", item.text),
        };
        let width = Width(item.width.0.saturating_mul(low), item.width.1.saturating_mul(high));
        Ok(Item { text, width, kind: Kind::Repeat })
    }

    /// After a backslash outside a class.
    fn escape(&mut self, flags: Flags) -> Translated<Item> {
        let Some(character) = self.next() else { return refuse("bad escape (end of pattern)") };
        match character {
            'A' => Ok(anchor(r"\A")),
            'Z' => Ok(anchor(r"\z")),
            'b' => Ok(self.word_boundary(flags, false)),
            'B' => Ok(self.word_boundary(flags, true)),
            '0' => {
                let digits = self.take_while(2, |c| c.is_digit(8));
                Ok(literal(python_class::octal(&format!("0{digits}"))?, flags))
            }
            '1'..='9' => self.numbered(character, flags),
            _ => match python_class::category(character, flags.ascii) {
                Some(class) => Ok(plain(class, Width::ONE)),
                None => Ok(literal(self.character_escape(character)?, flags)),
            },
        }
    }

    /// After a backslash and a digit other than zero: an octal character of three digits, or a reference.
    fn numbered(&mut self, first: char, flags: Flags) -> Translated<Item> {
        let mut digits = String::from(first);
        if self.peek().is_some_and(|c| c.is_ascii_digit()) {
            digits.extend(self.next());
            if digits.chars().all(|c| c.is_digit(8)) && self.peek().is_some_and(|c| c.is_digit(8)) {
                digits.extend(self.next());
                return Ok(literal(python_class::octal(&digits)?, flags));
            }
        }
        let group: usize = digits.parse().unwrap_or(usize::MAX);
        if group >= self.groups.len() {
            return refuse(format!("invalid group reference {digits}"));
        }
        self.reference(group)
    }

    fn reference(&mut self, group: usize) -> Translated<Item> {
        let Some(width) = self.groups[group] else { return refuse("cannot refer to an open group") };
        self.check_lookbehind(group)?;
        self.needs_backtracking = true;
        Ok(plain(format!(r"(?:\{group})"), width))
    }

    fn check_lookbehind(&self, group: usize) -> Translated<()> {
        match self.lookbehind_groups {
            Some(_) if self.groups.get(group).copied().flatten().is_none() => refuse("cannot refer to an open group"),
            Some(before) if group >= before => {
                refuse("cannot refer to group defined in the same lookbehind subpattern")
            }
            _ => Ok(()),
        }
    }

    /// After an opening parenthesis; `None` for comments and flags of the whole pattern.
    fn group(&mut self, flags: Flags, depth: usize, at_start: bool) -> Translated<Option<Item>> {
        if !self.take('?') {
            return self.capture(None, flags, depth).map(Some);
        }
        let Some(character) = self.next() else { return refuse("unexpected end of pattern") };
        match character {
            'P' => self.named(flags, depth).map(Some),
            ':' => self.wrapped("(?:", flags, depth).map(Some),
            '>' => {
                self.needs_backtracking = true;
                self.wrapped("(?>", flags, depth).map(Some)
            }
            '#' => match self.skip_comment(')') {
                true => Ok(None),
                false => refuse("missing ), unterminated comment"),
            },
            '=' => self.look("(?=", flags, depth).map(Some),
            '!' => self.look("(?!", flags, depth).map(Some),
            '<' => match self.next() {
                None => refuse("unexpected end of pattern"),
                Some('=') => self.look_behind("(?<=", flags, depth).map(Some),
                Some('!') => self.look_behind("(?<!", flags, depth).map(Some),
                Some(other) => self.unknown_extension("<", other),
            },
            '(' => self.condition(flags, depth).map(Some),
            '-' | 'a' | 'i' | 'L' | 'm' | 's' | 't' | 'u' | 'x' => self.flag_group(character, flags, depth, at_start),
            other => self.unknown_extension("", other),
        }
    }

    /// A backslash and what follows it are one token for CPython.
    fn unknown_extension<T>(&mut self, before: &str, token: char) -> Translated<T> {
        let escaped = if token == '\\' { self.next() } else { None };
        refuse(format!("unknown extension ?{before}{token}{}", escaped.map_or_else(String::new, String::from)))
    }

    fn close(&mut self) -> Translated<()> {
        if self.take(')') { Ok(()) } else { refuse("missing ), unterminated subpattern") }
    }

    fn wrapped(&mut self, opening: &str, flags: Flags, depth: usize) -> Translated<Item> {
        let (body, width) = self.alternatives(flags, depth + 1)?;
        self.close()?;
        Ok(plain(format!("{opening}{body})"), width))
    }

    fn capture(&mut self, name: Option<String>, flags: Flags, depth: usize) -> Translated<Item> {
        let group = self.groups.len();
        self.groups.push(None);
        if let Some(name) = name {
            if let Some(known) = self.names.get(&name) {
                let name = super::python_repr::repr_str(&name);
                return refuse(format!("redefinition of group name {name} as group {group}; was group {known}"));
            }
            self.names.insert(name, group);
        }
        let item = self.wrapped("(", flags, depth)?;
        self.groups[group] = Some(item.width);
        Ok(item)
    }

    fn named(&mut self, flags: Flags, depth: usize) -> Translated<Item> {
        match self.next() {
            Some('<') => {
                let name = self.name('>')?;
                self.capture(Some(name), flags, depth)
            }
            Some('=') => {
                let name = self.name(')')?;
                let Some(group) = self.names.get(&name).copied() else {
                    return refuse(format!("unknown group name {}", super::python_repr::repr_str(&name)));
                };
                self.reference(group)
            }
            None => refuse("unexpected end of pattern"),
            Some(other) => self.unknown_extension("P", other),
        }
    }

    fn name(&mut self, end: char) -> Translated<String> {
        let name = self.until(end)?;
        let mut characters = name.chars();
        let starts = characters.next().is_some_and(|c| c.is_alphabetic() || c == '_');
        if !starts || !characters.all(|c| c.is_alphanumeric() || c == '_') {
            return refuse(format!("bad character in group name {}", super::python_repr::repr_str(&name)));
        }
        Ok(name)
    }

    fn until(&mut self, end: char) -> Translated<String> {
        let mut taken = String::new();
        loop {
            match self.next() {
                Some(character) if character == end => break,
                Some(character) => taken.push(character),
                None if taken.is_empty() => return refuse("missing group name"),
                None => return refuse(format!("missing {end}, unterminated name")),
            }
        }
        if taken.is_empty() { refuse("missing group name") } else { Ok(taken) }
    }

    fn look(&mut self, opening: &str, flags: Flags, depth: usize) -> Translated<Item> {
        self.needs_backtracking = true;
        let item = self.wrapped(opening, flags, depth)?;
        Ok(Item { text: item.text, width: Width::NONE, kind: Kind::Look })
    }

    fn look_behind(&mut self, opening: &str, flags: Flags, depth: usize) -> Translated<Item> {
        let outer = self.lookbehind_groups;
        self.lookbehind_groups = outer.or(Some(self.groups.len()));
        self.needs_backtracking = true;
        let item = self.wrapped(opening, flags, depth)?;
        self.lookbehind_groups = outer;
        self.variable_lookbehind |= item.width.0 != item.width.1;
        Ok(Item { text: item.text, width: Width::NONE, kind: Kind::Look })
    }

    /// `(?(group)yes|no)`.
    fn condition(&mut self, flags: Flags, depth: usize) -> Translated<Item> {
        let name = self.until(')')?;
        let group = if let Some(group) = self.names.get(&name) {
            *group
        } else if name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_') {
            return refuse(format!("unknown group name {}", super::python_repr::repr_str(&name)));
        } else {
            match name.parse::<usize>() {
                Ok(0) => return refuse("bad group number"),
                Ok(group) => group,
                Err(_) => {
                    return refuse(format!("bad character in group name {}", super::python_repr::repr_str(&name)));
                }
            }
        };
        self.condition_groups.push(group);
        self.check_lookbehind(group)?;
        self.needs_backtracking = true;
        let (yes, yes_width) = self.sequence(flags, depth + 1, false)?;
        let (no, no_width) = if self.take('|') {
            let no = self.sequence(flags, depth + 1, false)?;
            if self.peek() == Some('|') {
                return refuse("conditional backref with more than two branches");
            }
            no
        } else {
            (String::new(), Width::NONE)
        };
        self.close()?;
        Ok(plain(format!("(?({group}){yes}|{no})"), yes_width.or(no_width)))
    }

    /// `(?flags)` at the start, or `(?flags-flags:…)`.
    fn flag_group(&mut self, first: char, flags: Flags, depth: usize, at_start: bool) -> Translated<Option<Item>> {
        let mut inner = flags;
        let mut added = String::new();
        let mut character = first;
        while character != '-' {
            if character == 'L' {
                return refuse("bad inline flags: cannot use 'L' flag with a str pattern");
            }
            added.push(character);
            if added.contains('a') && added.contains('u') {
                return refuse("bad inline flags: flags 'a', 'u' and 'L' are incompatible");
            }
            set_flag(&mut inner, character, true);
            character = match self.next() {
                Some(next) if ")-:".contains(next) || "aiLmstux".contains(next) => next,
                Some(next) if next.is_alphabetic() => return refuse("unknown flag"),
                _ => return refuse("missing -, : or )"),
            };
            if character == ')' {
                if !at_start {
                    return refuse("global flags not at the start of the expression");
                }
                for flag in added.chars() {
                    set_flag(&mut self.global_flags, flag, true);
                }
                return Ok(None);
            }
            if character == ':' {
                return self.wrapped("(?:", inner, depth).map(Some);
            }
        }
        let mut missing = "missing flag";
        loop {
            character = match self.next() {
                Some(':') if missing == "missing :" => return self.wrapped("(?:", inner, depth).map(Some),
                Some(next) if "aiLmstux".contains(next) => next,
                Some(next) if next.is_alphabetic() => return refuse("unknown flag"),
                _ => return refuse(missing),
            };
            if "aLu".contains(character) {
                return refuse("bad inline flags: cannot turn off flags 'a', 'u' and 'L'");
            }
            if added.contains(character) {
                return refuse("bad inline flags: flag turned on and off");
            }
            set_flag(&mut inner, character, false);
            missing = "missing :";
        }
    }
}

fn set_flag(flags: &mut Flags, flag: char, value: bool) {
    match flag {
        'i' => flags.ignore_case = value,
        'm' => flags.multi_line = value,
        's' => flags.dot_all = value,
        'x' => flags.verbose = value,
        'a' => flags.ascii = value,
        'u' => flags.ascii = !value,
        _ => {}
    }
}

fn plain(text: String, width: Width) -> Item {
    Item { text, width, kind: Kind::Plain }
}

fn anchor(text: &str) -> Item {
    Item { text: text.to_owned(), width: Width::NONE, kind: Kind::Anchor }
}

fn literal(character: char, flags: Flags) -> Item {
    let mut text = String::new();
    python_class::push_escaped(&mut text, character);
    if flags.ignore_case && (character.is_alphabetic() || !character.is_ascii()) {
        let mut folded = String::new();
        // Writing to a String cannot fail.
        let _ = write!(folded, "(?i:{text})");
        text = folded;
    }
    plain(text, Width::ONE)
}
