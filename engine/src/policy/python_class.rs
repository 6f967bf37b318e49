//! Character classes and character escapes of Python patterns.

use super::python_pattern::{Flags, Refusal, Translated, Translator, refuse};

/// The class behind `\d`, `\w`, `\s` and their opposites; `None` for other letters.
///
/// For texts, Python's `\w` is letters, numbers and the underscore, and its white space includes the separators 1C to 1F.
pub(super) fn category(letter: char, ascii: bool) -> Option<String> {
    let text = match (letter, ascii) {
        ('d', false) => r"\p{Nd}",
        ('D', false) => r"\P{Nd}",
        ('w', false) => r"[\p{L}\p{N}_]",
        ('W', false) => r"[^\p{L}\p{N}_]",
        ('s', false) => r"[\s\x1C-\x1F]",
        ('S', false) => r"[^\s\x1C-\x1F]",
        ('d', true) => "[0-9]",
        ('D', true) => "[^0-9]",
        ('w', true) => "[0-9A-Za-z_]",
        ('W', true) => "[^0-9A-Za-z_]",
        ('s', true) => r"[\t-\r ]",
        ('S', true) => r"[^\t-\r ]",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Writes a character so that it stands for itself everywhere.
pub(super) fn push_escaped(out: &mut String, character: char) {
    if character.is_alphanumeric() || matches!(character, '/' | '_') {
        out.push(character);
    } else {
        out.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
    }
}

/// The character of an octal escape.
pub(super) fn octal(digits: &str) -> Translated<char> {
    let code = u32::from_str_radix(digits, 8).unwrap_or(u32::MAX);
    match char::from_u32(code) {
        Some(character) if code <= 0o377 => Ok(character),
        _ => refuse(format!("octal escape value \\{digits} outside of range 0-0o377")),
    }
}

/// A member of a class.
enum Member {
    Character(char),
    Category { spelled: char, class: String },
}

impl Member {
    fn spelled(&self) -> String {
        match self {
            Self::Character(character) => character.to_string(),
            Self::Category { spelled, .. } => format!("\\{spelled}"),
        }
    }
}

impl Translator<'_> {
    /// After an opening bracket.
    pub(super) fn class(&mut self, flags: Flags) -> Translated<String> {
        let unterminated = || Refusal("unterminated character set".to_owned());
        let mut out = String::from("[");
        if self.take('^') {
            out.push('^');
        }
        let mut first = true;
        loop {
            let character = self.next().ok_or_else(unterminated)?;
            if character == ']' && !first {
                break;
            }
            first = false;
            let low = self.class_member(character, flags)?;
            if !self.take('-') {
                push_member(&mut out, &low);
                continue;
            }
            let character = self.next().ok_or_else(unterminated)?;
            if character == ']' {
                push_member(&mut out, &low);
                push_escaped(&mut out, '-');
                break;
            }
            let high = self.class_member(character, flags)?;
            match (&low, &high) {
                (Member::Character(from), Member::Character(to)) if from <= to => {
                    push_escaped(&mut out, *from);
                    out.push('-');
                    push_escaped(&mut out, *to);
                }
                _ => return refuse(format!("bad character range {}-{}", low.spelled(), high.spelled())),
            }
        }
        out.push(']');
        if flags.ignore_case {
            out = format!("(?i:{out})");
        }
        Ok(out)
    }

    fn class_member(&mut self, character: char, flags: Flags) -> Translated<Member> {
        if character != '\\' {
            return Ok(Member::Character(character));
        }
        let Some(letter) = self.next() else { return refuse("bad escape (end of pattern)") };
        if let Some(class) = category(letter, flags.ascii) {
            return Ok(Member::Category { spelled: letter, class });
        }
        let character = match letter {
            'b' => '\u{8}',
            '0'..='7' => {
                let digits = self.take_while(2, |c| c.is_digit(8));
                octal(&format!("{letter}{digits}"))?
            }
            '8' | '9' => return refuse(format!("bad escape \\{letter}")),
            _ => self.character_escape(letter)?,
        };
        Ok(Member::Character(character))
    }

    /// After a backslash and this character: escapes that mean the same inside and outside of classes.
    pub(super) fn character_escape(&mut self, character: char) -> Translated<char> {
        Ok(match character {
            'a' => '\u{7}',
            'f' => '\u{C}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{B}',
            'x' => self.hexadecimal('x', 2)?,
            'u' => self.hexadecimal('u', 4)?,
            'U' => self.hexadecimal('U', 8)?,
            'N' => return refuse("named characters are not supported"),
            letter if letter.is_ascii_alphabetic() => return refuse(format!("bad escape \\{letter}")),
            other => other,
        })
    }

    fn hexadecimal(&mut self, letter: char, count: usize) -> Translated<char> {
        let digits = self.take_while(count, |c| c.is_ascii_hexdigit());
        if digits.len() != count {
            return refuse(format!("incomplete escape \\{letter}{digits}"));
        }
        let code = u32::from_str_radix(&digits, 16).unwrap_or(u32::MAX);
        char::from_u32(code).ok_or_else(|| Refusal(format!("bad escape \\{letter}{digits}")))
    }
}

fn push_member(out: &mut String, member: &Member) {
    match member {
        Member::Character(character) => push_escaped(out, *character),
        Member::Category { class, .. } => out.push_str(class),
    }
}
