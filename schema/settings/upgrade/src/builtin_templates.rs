//! Mappings and templates made from the catalogue, in the form an operator's own directory has them: `VERSION/mapping.json`,
//! `VERSION/COMPONENT.j2` and, for the first split format, `VERSION/adjust.py`. Jinja of either implementation renders them.

use crate::catalogue::{ComponentOptions, Kind, OptionEntry, VERSIONS};
use crate::version::FormatVersion;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The script that brings values of the unversioned file to the form of the first split format. What it does is built in
/// as well ([`crate::adjustment`]), so this file needs no Python unless an operator changes it.
pub const ADJUST_SCRIPT: &str = include_str!("../python/adjust.py");

/// Characters of a comment line.
const COMMENT_WIDTH: usize = 98;
/// Names that Python's section objects have methods of; a template reaches such options through `get`.
const METHOD_NAMES: [&str; 10] =
    ["keys", "values", "items", "get", "name", "parser", "pop", "popitem", "clear", "update"];

/// The mapping to a format, as `mapping.json` holds it.
#[must_use]
pub fn mapping(catalogue: &[ComponentOptions], version: FormatVersion) -> Value {
    if version <= VERSIONS[1] { full_mapping(catalogue, version) } else { update_mapping(catalogue, version) }
}

/// The template of a component's file in a format.
#[must_use]
pub fn template(component: &ComponentOptions, version: FormatVersion) -> String {
    let main = component.component;
    let mut text = format!(
        "# Configuration of {}.\n#\n# Format {version}, written by keylime_upgrade_config. Explained in {}.\n",
        component.title, component.program
    );
    let _ = write!(text, "\n[{main}]\n\n# Format of this file; keylime_upgrade_config reads it.\n");
    let quote = if main == "agent" { "\"" } else { "" };
    let _ = writeln!(text, "version = {quote}{{{{ {main}.version }}}}{quote}");
    for section in std::iter::once(main).chain(component.further_sections()) {
        if section != main {
            let _ = write!(text, "\n[{section}]\n");
        }
        let shown = |option: &&OptionEntry| {
            option.section == section && option.since <= version && option.until.is_none_or(|last| version <= last)
        };
        for option in component.options.iter().filter(shown) {
            let _ = write!(text, "\n{}{}\n", comment(&option.help), line(main, option));
        }
    }
    text
}

fn line(component: &str, option: &OptionEntry) -> String {
    let name = &option.name;
    let reference = if METHOD_NAMES.contains(&name.as_str()) {
        format!("{}.get('{name}')", option.section)
    } else {
        format!("{}.{name}", option.section)
    };
    if option.default.is_none() {
        let quote = if component == "agent" && matches!(option.kind, Kind::Text | Kind::List) { "\"" } else { "" };
        let example = &option.example;
        return format!(
            "{{% if {reference} %}}{name} = {quote}{{{{ {reference} }}}}{quote}{{% else %}}\
             # {name} = {quote}{example}{quote}{{% endif %}}"
        );
    }
    match (component, option.kind) {
        ("agent", Kind::Text) => format!("{name} = \"{{{{ {reference} }}}}\""),
        ("agent", Kind::List) => format!("{name} = \"{{{{ {reference} | replace('\"', \"'\") }}}}\""),
        (_, Kind::Bare | Kind::Text | Kind::List) => format!("{name} = {{{{ {reference} }}}}"),
    }
}

fn comment(help: &str) -> String {
    let mut text = String::from("#");
    let mut column = 1;
    for word in help.split(' ') {
        if column + 1 + word.len() > COMMENT_WIDTH {
            text.push_str("\n#");
            column = 1;
        }
        let _ = write!(text, " {word}");
        column += 1 + word.len();
    }
    text.push('\n');
    text
}

fn full_mapping(catalogue: &[ComponentOptions], version: FormatVersion) -> Value {
    let mut components = Map::new();
    let mut parents = Map::new();
    for component in catalogue {
        let main = component.component;
        let own = json!({"version": {"section": main, "option": "version", "default": version.to_string()}});
        components.insert(main.to_owned(), own);
        for section in component.further_sections() {
            components.insert(section.to_owned(), json!({}));
            parents.insert(section.to_owned(), main.into());
        }
        for option in component.options.iter().filter(|option| option.since <= version) {
            let here = (option.section.clone(), option.name.clone());
            let (section, name) = option.was.clone().filter(|_| version == VERSIONS[0]).unwrap_or(here);
            let default = option.default.clone().unwrap_or_default();
            components[&option.section][&option.name] = json!({"section": section, "option": name, "default": default});
        }
    }
    json!({"version": version.to_string(), "type": "full", "components": components, "subcomponents": parents})
}

fn update_mapping(catalogue: &[ComponentOptions], version: FormatVersion) -> Value {
    let mut components = Map::new();
    for option in catalogue.iter().flat_map(|component| &component.options) {
        let Some(default) = &option.default else { continue };
        let (operation, value) = if option.since == version {
            ("add", default.as_str().into())
        } else if option.reset == Some(version) {
            ("replace", json!({"section": option.section, "option": option.name, "default": default}))
        } else {
            continue;
        };
        components.entry(&option.section).or_insert_with(|| json!({}))[operation][&option.name] = value;
    }
    json!({"version": version.to_string(), "type": "update", "components": components})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::load;

    #[test]
    fn comments_keep_their_width_and_options_their_section() {
        let catalogue = load().unwrap();
        for component in &catalogue {
            for version in VERSIONS {
                let text = template(component, version);
                assert!(text.lines().filter(|line| line.starts_with("# ")).all(|line| line.len() <= 110), "{text}");
                assert!(text.starts_with("# Configuration of the "), "{text}");
            }
        }
        let newest = template(&catalogue[0], VERSIONS[6]);
        assert!(newest.contains("\nuuid = \"{{ agent.uuid }}\"\n") && newest.contains("\nport = {{ agent.port }}\n"));
        assert!(!newest.contains("measure_payload_pcr"));
        assert!(template(&catalogue[5], VERSIONS[6]).contains("keys = {{ loggers.get('keys') }}"));
    }

    #[test]
    fn mappings_say_what_each_format_changed() {
        let catalogue = load().unwrap();
        let first = mapping(&catalogue, VERSIONS[0]);
        assert_eq!(first["components"]["verifier"]["ip"]["option"], "cloudverifier_ip");
        assert_eq!(first["subcomponents"]["revocations"], "verifier");
        let second = mapping(&catalogue, VERSIONS[1]);
        assert_eq!(second["components"]["verifier"]["ip"]["option"], "ip");
        let last = mapping(&catalogue, VERSIONS[6]);
        assert_eq!(last["components"]["registrar"], json!({"add": {"max_workers": "16"}}));
        let third = mapping(&catalogue, VERSIONS[3]);
        assert_eq!(third["components"]["tenant"]["replace"]["accept_tpm_hash_algs"]["section"], "tenant");
    }
}
