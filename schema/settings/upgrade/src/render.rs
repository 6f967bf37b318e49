//! Rendering a component's file from its Jinja template.

use crate::document::Document;
use crate::error::UpgradeError;
use minijinja::Environment;
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Map, Value};

/// Steps a template may take; templates of configuration files take a few hundred.
const FUEL: u64 = 10_000_000;

/// Renders a template with the sections of a document as its variables; the result ends with one line end.
///
/// Lines of a value after its first are indented, so that they are read back as the same value.
///
/// # Errors
/// [`UpgradeError::Template`].
pub fn render(name: &str, template: &str, document: &Document) -> Result<String, UpgradeError> {
    let bad = |error: minijinja::Error| UpgradeError::Template {
        path: name.to_owned(),
        reason: error.line().map_or_else(|| error.to_string(), |line| format!("line {line}: {error}")),
    };
    let mut environment = Environment::new();
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    let indented = |value: &String| Value::from(value.replace('\n', "\n    "));
    let sections: Map<String, Value> = document
        .sections()
        .iter()
        .map(|(name, section)| {
            let options = section.iter().map(|(option, value)| (option.clone(), indented(value)));
            (name.clone(), Value::Object(options.collect()))
        })
        .collect();
    let text = environment.template_from_str(template).and_then(|template| template.render(sections)).map_err(bad)?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, UpgradeError> {
        let mut document = Document::default();
        document.set("loggers", "keys", "root,keylime");
        document.set("a", "x", "<&>\nsecond");
        render("t", template, &document)
    }

    #[test]
    fn templates_see_sections_as_python_shows_them() {
        assert_eq!(rendered("k = {{ loggers.get('keys') }}\n").unwrap(), "k = root,keylime\n");
        assert_eq!(rendered("{{ a.x }}|{{ a.absent }}|{{ a.get('absent', 'd') }}").unwrap(), "<&>\n    second||d\n");
        assert_eq!(
            rendered("{% for k, v in loggers.items() %}{{ k }}={{ v.upper() }}{% endfor %}").unwrap(),
            "keys=ROOT,KEYLIME\n"
        );
        assert_eq!(rendered("{{ a['x'].startswith('<') }}").unwrap(), "True\n");
    }

    #[test]
    fn broken_and_endless_templates_are_refused() {
        assert!(rendered("a\n{{ nowhere.x }}").unwrap_err().to_string().contains("line 2"));
        assert!(rendered("{% if %}").is_err());
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(rendered(endless).is_err());
    }
}
