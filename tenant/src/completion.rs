//! Completion scripts for shells, made from a program's table of options.

use std::fmt::Write as _;

use crate::argument_parser::{OptionSpec, Parser};

/// A shell that completes command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// The shell of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }
}

/// The script that teaches a shell a program's options; `commands` are the values of `--command`.
#[must_use]
pub fn script(parser: &Parser, commands: &[&str], shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(parser, commands),
        Shell::Zsh => zsh(parser, commands),
        Shell::Fish => fish(parser, commands),
    }
}

/// Whether an option's value is the name of a file or directory.
fn names_a_file(option: &OptionSpec) -> bool {
    let words = ["file", "directory", "policy", "key", "dir", "payload", "allowlist", "exclude"];
    let is_other = ["name", "checksum", "url", "version"].iter().any(|word| option.name.contains(word));
    option.takes_value()
        && !is_other
        && option.name != "tpm_policy"
        && words.iter().any(|word| option.name.contains(word))
}

fn bash(parser: &Parser, commands: &[&str]) -> String {
    let program = parser.program;
    let all: Vec<&str> = parser.options.iter().flat_map(|option| option.spellings).copied().collect();
    let spellings = |wanted: &dyn Fn(&OptionSpec) -> bool| {
        let options = parser.options.iter().filter(|option| wanted(option));
        options.flat_map(|option| option.spellings).copied().collect::<Vec<_>>().join("|")
    };
    let files = spellings(&names_a_file);
    let values = spellings(&|option| option.takes_value() && !names_a_file(option) && option.name != "command");
    let mut text = format!("# Completions of {program} for bash; source this file or install it as a completion.\n");
    let _ = write!(
        text,
        "_{program}() {{\n    local current=\"${{COMP_WORDS[COMP_CWORD]}}\" previous=\"${{COMP_WORDS[COMP_CWORD - 1]}}\"\n    \
         case \"$previous\" in\n        -c|--command) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")) ;;\n",
        commands.join(" ")
    );
    if !files.is_empty() {
        let _ = writeln!(text, "        {files}) COMPREPLY=($(compgen -f -- \"$current\")) ;;");
    }
    if !values.is_empty() {
        let _ = writeln!(text, "        {values}) COMPREPLY=() ;;");
    }
    let _ = write!(
        text,
        "        *) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")) ;;\n    esac\n}}\ncomplete -o filenames -F \
         _{program} {program}\n",
        all.join(" ")
    );
    text
}

fn zsh(parser: &Parser, commands: &[&str]) -> String {
    let program = parser.program;
    let mut text = format!("#compdef {program}\n_arguments \\\n");
    for option in parser.options {
        let help: String = option.help.chars().filter(|c| !matches!(c, '[' | ']' | '\'' | ':' | '\\')).collect();
        let action = match option {
            option if option.name == "command" => format!(":command:({})", commands.join(" ")),
            option if names_a_file(option) => ":file:_files".to_owned(),
            option if option.takes_value() => ":value: ".to_owned(),
            _ => String::new(),
        };
        for spelling in option.spellings {
            let _ = writeln!(text, "    '*{spelling}[{help}]{action}' \\");
        }
    }
    text.push_str("    && return 0\n");
    text
}

fn fish(parser: &Parser, commands: &[&str]) -> String {
    let program = parser.program;
    let mut text = format!("complete -c {program} -f\n");
    for option in parser.options {
        let mut line = format!("complete -c {program}");
        for spelling in option.spellings {
            let name = spelling.trim_start_matches('-');
            let kind = match (spelling.starts_with("--"), name.chars().count()) {
                (true, _) => "-l",
                (false, 1) => "-s",
                (false, _) => "-o",
            };
            let _ = write!(line, " {kind} {name}");
        }
        if option.name == "command" {
            let _ = write!(line, " -x -a '{}'", commands.join(" "));
        } else if names_a_file(option) {
            line.push_str(" -r -F");
        } else if option.takes_value() {
            line.push_str(" -x");
        }
        let help = option.help.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = writeln!(text, "{line} -d '{help}'");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{COMMANDS, PARSER};
    use std::process::Command;

    #[test]
    fn every_option_and_command_is_in_every_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(&PARSER, &COMMANDS, shell);
            for spelling in PARSER.options.iter().flat_map(|option| option.spellings) {
                assert!(text.contains(spelling.trim_start_matches('-')), "{spelling} in {text}");
            }
            assert!(COMMANDS.iter().all(|command| text.contains(command)));
        }
    }

    #[test]
    fn bash_completes_commands_and_options() {
        let test = "COMP_WORDS=(keylime_tenant -c cvst); COMP_CWORD=2; _keylime_tenant; echo ${COMPREPLY[@]}; \
                    COMP_WORDS=(keylime_tenant --runtime-policy-u); COMP_CWORD=1; _keylime_tenant; echo ${COMPREPLY[@]}";
        let text = script(&PARSER, &COMMANDS, Shell::Bash) + test;
        let output = Command::new("bash").args(["-c", &text]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "cvstatus\n--runtime-policy-url\n", "{output:?}");
    }
}
