//! The schema of the values: its types are written by hand, its descriptions come from `values.yaml`.

use serde_json::{Map, Value};

use super::values::Setting;

/// The schema with the settings' descriptions, and no other.
///
/// # Errors
/// When it is no schema, or lacks a setting, or has one that `values.yaml` has not.
pub(super) fn describe(text: &str, settings: &[Setting]) -> Result<String, String> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    forget(&mut schema);
    for setting in settings {
        let pointer = pointer(&schema, &setting.path)
            .ok_or_else(|| format!("{} is not in the schema", setting.path.join(".")))?;
        let object = schema.pointer_mut(&pointer).and_then(Value::as_object_mut);
        if let Some(object) = object {
            object.insert("description".to_owned(), setting.description.clone().into());
        }
    }
    let mut bare = Vec::new();
    undescribed(&schema, &schema, &mut Vec::new(), &mut bare);
    if !bare.is_empty() {
        return Err(format!("values.yaml does not have: {}", bare.join(", ")));
    }
    let text = serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())?;
    Ok(format!("{text}\n"))
}

/// Takes all descriptions of values away.
fn forget(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("description").is_some_and(Value::is_string) {
                object.remove("description");
            }
            object.values_mut().for_each(forget);
        }
        Value::Array(array) => array.iter_mut().for_each(forget),
        _ => {}
    }
}

/// Where the schema of a setting is, references followed on the way.
fn pointer(schema: &Value, path: &[String]) -> Option<String> {
    let mut at = String::new();
    for key in path {
        if let Some(reference) = reference(schema.pointer(&at)?) {
            at = reference;
        }
        at = format!("{at}/properties/{key}");
        schema.pointer(&at)?;
    }
    Some(at)
}

fn reference(schema: &Value) -> Option<String> {
    let reference = schema.get("$ref")?.as_str()?;
    Some(reference.trim_start_matches('#').to_owned())
}

/// Values that no description covers, their own or that of what they are part of.
fn undescribed(whole: &Value, schema: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
    let referred = reference(schema).and_then(|at| whole.pointer(&at));
    let schema = referred.unwrap_or(schema);
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.unwrap_or(&none) {
        path.push(key.clone());
        let is_described = property.get("description").is_some();
        let has_parts = property.get("properties").is_some() || property.get("$ref").is_some();
        if has_parts && (!is_described || property.get("$ref").is_some()) {
            undescribed(whole, property, path, found);
        } else if !is_described {
            found.push(path.join("."));
        }
        path.pop();
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;
    use serde_json::json;

    fn setting(path: &str, description: &str) -> Setting {
        Setting {
            path: path.split('.').map(str::to_owned).collect(),
            description: description.to_owned(),
            default: None,
        }
    }

    #[test]
    fn descriptions_are_put_in_and_old_ones_go() {
        let schema = json!({
            "properties": {
                "a": {"type": "string", "description": "old"},
                "b": {"$ref": "#/$defs/b"},
            },
            "$defs": {"b": {"properties": {"c": {"type": "integer"}}}},
        });
        let text = schema.to_string();
        let settings = [setting("a", "A."), setting("b.c", "C.")];
        let described: Value = serde_json::from_str(&describe(&text, &settings).unwrap()).unwrap();
        assert_eq!(described["properties"]["a"]["description"], "A.");
        assert_eq!(
            described["$defs"]["b"]["properties"]["c"]["description"],
            "C."
        );
        let missing = describe(&text, &settings[..1]).unwrap_err();
        assert_eq!(missing, "values.yaml does not have: b.c");
        let unknown = describe(&text, &[setting("b.d", "D.")]).unwrap_err();
        assert_eq!(unknown, "b.d is not in the schema");
    }
}
