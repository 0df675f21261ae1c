//! The fields of a kind: a table for each object in its schema, the outer before the inner.

use crate::words::{anchor, cell, constraints, default_of, item, line, message, type_of};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, ValidationRule,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};

/// Tables that were written, or will be written at a known place, by what is in them.
#[derive(Clone, Debug, Default)]
pub struct Known(BTreeMap<String, String>);

impl Known {
    /// Notes that the fields of an object are told under this anchor.
    pub fn add(&mut self, schema: &JSONSchemaProps, anchor: String) {
        self.0.insert(key(schema), anchor);
    }

    fn anchor(&self, schema: &JSONSchemaProps) -> Option<&str> {
        self.0.get(&key(schema)).map(String::as_str)
    }
}

/// An object without the sentence that it has where it is used.
fn key(schema: &JSONSchemaProps) -> String {
    let bare = JSONSchemaProps {
        description: None,
        default: None,
        ..schema.clone()
    };
    serde_json::to_string(&bare).unwrap_or_default()
}

/// One object that is to be told.
struct Section<'a> {
    path: String,
    schema: &'a JSONSchemaProps,
}

/// The tables of `root` (`spec`, `status`) of a kind, and of all objects in it.
pub fn tables(
    page: &mut String,
    kind: &str,
    root: &str,
    schema: &JSONSchemaProps,
    known: &mut Known,
) -> fmt::Result {
    let path = root.to_owned();
    let mut waiting = VecDeque::from([Section { path, schema }]);
    while let Some(section) = waiting.pop_front() {
        let level = if section.path == root { "###" } else { "####" };
        writeln!(page, "{level} {kind} `{}`\n", section.path)?;
        head(page, section.schema)?;
        let inner = inner(kind, &section, known);
        table(page, section.schema, known)?;
        // In the place of their parent: what belongs together stays together.
        for section in inner.into_iter().rev() {
            waiting.push_front(section);
        }
    }
    Ok(())
}

/// The objects in an object that have not been told yet.
fn inner<'a>(kind: &str, section: &Section<'a>, known: &mut Known) -> Vec<Section<'a>> {
    let mut inner = Vec::new();
    for (name, field) in section.schema.properties.iter().flatten() {
        let (schema, brackets) = match item(field) {
            Some(item) => (item, "[]"),
            None => (field, ""),
        };
        if schema.properties.is_none() || known.anchor(schema).is_some() {
            continue;
        }
        let path = format!("{}.{name}{brackets}", section.path);
        known.add(schema, anchor(&format!("{kind} {path}")));
        inner.push(Section { path, schema });
    }
    inner
}

/// What is said of an object as a whole.
fn head(page: &mut String, schema: &JSONSchemaProps) -> fmt::Result {
    let says = line(schema.description.as_deref().unwrap_or_default());
    writeln!(page, "{says}\n")?;
    let mut facts: Vec<_> = default_of(schema).into_iter().collect();
    let whole = rules(schema).filter(|rule| field_of(rule).is_none());
    facts.extend(whole.map(|rule| format!("rule: {}", line(message(rule)))));
    list(page, &facts)
}

/// A list with an empty line after it, or nothing.
pub fn list(page: &mut String, lines: &[String]) -> fmt::Result {
    for line in lines {
        writeln!(page, "- {line}")?;
    }
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(page)
}

/// The rows of an object's fields: those that must be there first.
pub fn table(page: &mut String, schema: &JSONSchemaProps, known: &Known) -> fmt::Result {
    writeln!(page, "| field | type | constraints | description |")?;
    writeln!(page, "|---|---|---|---|")?;
    let required = schema.required.as_deref().unwrap_or_default();
    let fields = schema.properties.iter().flatten();
    let (must, may): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| required.contains(name));
    for (name, field) in must.into_iter().chain(may) {
        let object = match known.anchor(item(field).unwrap_or(field)) {
            Some(anchor) => format!("[object](#{anchor})"),
            None => "object".to_owned(),
        };
        let type_ = type_of(field, &object);
        let limits = constraints(field, required.contains(name));
        let says = cell(field.description.as_deref().unwrap_or_default());
        write!(page, "| `{name}` | {type_} | {limits} | {says}")?;
        let outer = rules(schema).filter(|rule| field_of(rule) == Some(name));
        for rule in rules(field).chain(outer) {
            write!(page, "<br>• {}", cell(message(rule)))?;
        }
        writeln!(page, " |")?;
    }
    writeln!(page)
}

fn rules(schema: &JSONSchemaProps) -> impl Iterator<Item = &ValidationRule> {
    schema.x_kubernetes_validations.iter().flatten()
}

/// The field that a rule of its object speaks of.
fn field_of(rule: &ValidationRule) -> Option<&str> {
    rule.field_path.as_deref()?.strip_prefix('.')
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn inner_objects_follow_once_and_rules_stand_at_their_field() {
        let place = json!({
            "type": "object", "description": "A place.", "required": ["node"],
            "properties": {"zone": {"type": "string"}, "node": {"type": "string", "description": "Its node."}},
        });
        let schema = serde_json::from_value(json!({
            "type": "object", "description": "All.",
            "properties": {"here": place, "there": {"type": "array", "items": place}},
            "x-kubernetes-validations": [
                {"rule": "a", "message": "here is fixed", "fieldPath": ".here"},
                {"rule": "b", "message": "not both"},
            ],
        }))
        .unwrap();
        let mut page = String::new();
        tables(&mut page, "Trip", "spec", &schema, &mut Known::default()).unwrap();
        let wanted = "### Trip `spec`

All.

- rule: not both

| field | type | constraints | description |
|---|---|---|---|
| `here` | [object](#trip-spechere) |  | A place.<br>• here is fixed |
| `there` | list of [object](#trip-spechere) |  |  |

#### Trip `spec.here`

A place.

| field | type | constraints | description |
|---|---|---|---|
| `node` | string | **required** | Its node. |
| `zone` | string |  |  |

";
        assert_eq!(page, wanted);
    }
}
