//! Pieces of schema in the words and the Markdown of the reference.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};

/// Where the page says what a size is.
pub const SIZE: &str = "size";

/// What a list holds, where it is a list.
pub fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// What a map holds, where it is one.
fn value(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.additional_properties.as_ref()? {
        JSONSchemaPropsOrBool::Schema(value) => Some(value),
        JSONSchemaPropsOrBool::Bool(_) => None,
    }
}

/// The type of a value. `object` is what to call one with fields of its own: a link to them.
pub fn type_of(schema: &JSONSchemaProps, object: &str) -> String {
    if let Some(item) = item(schema) {
        let item = type_of(item, object);
        let keys = schema.x_kubernetes_list_map_keys.as_deref();
        return match (keys.unwrap_or_default(), &schema.x_kubernetes_list_type) {
            ([], Some(kind)) if kind == "set" => format!("set of {item}"),
            ([], _) => format!("list of {item}"),
            (keys, _) => format!("list of {item}, by `{}`", keys.join("`, `")),
        };
    }
    if let Some(value) = value(schema) {
        return format!("map of {}", type_of(value, object));
    }
    if schema.properties.is_some() {
        return object.to_owned();
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        return format!("[size](#{SIZE})");
    }
    if schema.format.as_deref() == Some("date-time") {
        return "time".to_owned();
    }
    schema.type_.clone().unwrap_or_else(|| "any".to_owned())
}

/// What a value must be beside its type, and what it is where absent.
pub fn constraints(schema: &JSONSchemaProps, required: bool) -> String {
    let mut all = Vec::new();
    if required {
        all.push("**required**".to_owned());
    }
    all.extend(default_of(schema));
    all.extend(limits(schema));
    if let Some(inner) = item(schema).or_else(|| value(schema)) {
        let inner = limits(inner).join("; ");
        if !inner.is_empty() {
            all.push(format!("each {inner}"));
        }
    }
    all.join("<br>")
}

/// The default, as it would be written.
pub fn default_of(schema: &JSONSchemaProps) -> Option<String> {
    let default = schema.default.as_ref()?;
    Some(format!("default `{}`", cell(&default.0.to_string())))
}

fn limits(schema: &JSONSchemaProps) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(values) = &schema.enum_ {
        let values = values.iter().map(|v| match v.0.as_str() {
            Some(word) => format!("`{word}`"),
            None => format!("`{}`", v.0),
        });
        all.push(values.collect::<Vec<_>>().join(", "));
    }
    let whole = |n: i64| n.to_string();
    all.extend(range(schema.minimum, schema.maximum, |n| n.to_string()));
    // A size's own form is said once for all of them.
    if schema.x_kubernetes_int_or_string != Some(true) {
        let length = range(schema.min_length, schema.max_length, whole);
        all.extend(length.map(|n| format!("{n} characters")));
        if let Some(pattern) = &schema.pattern {
            all.push(format!("matches `{}`", cell(pattern)));
        }
    }
    let items = range(schema.min_items, schema.max_items, whole);
    all.extend(items.map(|n| format!("{n} of them")));
    let entries = range(schema.min_properties, schema.max_properties, whole);
    all.extend(entries.map(|n| format!("{n} of them")));
    all
}

/// Two limits in words, as far as they are there.
fn range<T: PartialEq>(
    least: Option<T>,
    most: Option<T>,
    show: impl Fn(T) -> String,
) -> Option<String> {
    match (least, most) {
        (None, None) => None,
        (Some(least), None) => Some(format!("{} or more", show(least))),
        (None, Some(most)) => Some(format!("at most {}", show(most))),
        (Some(least), Some(most)) if least == most => Some(format!("exactly {}", show(least))),
        (Some(least), Some(most)) => Some(format!("{} to {}", show(least), show(most))),
    }
}

/// What a rule says to a person whom it refuses.
pub fn message(rule: &ValidationRule) -> &str {
    let message = rule.message.as_deref();
    message
        .or(rule.message_expression.as_deref())
        .unwrap_or(&rule.rule)
}

/// Text of one line, outside a table: angle brackets are none of HTML's, but in code.
pub fn line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let escape = |(n, part): (usize, &str)| match n % 2 {
        0 => part.replace('<', "&lt;").replace('>', "&gt;"),
        _ => part.to_owned(),
    };
    let parts: Vec<_> = joined.split('`').enumerate().map(escape).collect();
    parts.join("`")
}

/// Text of a table's cell.
pub fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

/// The anchor that GitHub makes of a heading.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(value: serde_json::Value) -> JSONSchemaProps {
        #[allow(
            clippy::unwrap_used,
            reason = "a test ends at the first thing that is wrong"
        )]
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn types_and_limits_in_words() {
        let by_name = schema(serde_json::json!({
            "type": "array", "minItems": 1, "maxItems": 8, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {}},
        }));
        assert_eq!(
            type_of(&by_name, "[object](#x)"),
            "list of [object](#x), by `name`"
        );
        assert_eq!(
            constraints(&by_name, true),
            "**required**<br>1 to 8 of them"
        );
        let labels = schema(serde_json::json!({
            "type": "object", "maxProperties": 16,
            "additionalProperties": {"type": "string", "maxLength": 63},
        }));
        assert_eq!(type_of(&labels, ""), "map of string");
        assert_eq!(
            constraints(&labels, false),
            "at most 16 of them<br>each at most 63 characters"
        );
        let power = schema(serde_json::json!({"type": "string", "enum": ["On", "Off"]}));
        assert_eq!(constraints(&power, false), "`On`, `Off`");
        let cpus = schema(serde_json::json!({"type": "integer", "minimum": 1, "maximum": 512}));
        assert_eq!(
            (type_of(&cpus, ""), constraints(&cpus, false)),
            ("integer".into(), "1 to 512".into())
        );
        let default = schema(serde_json::json!({"type": "object", "default": {"n": -1}}));
        assert_eq!(constraints(&default, false), "default `{\"n\":-1}`");
    }

    #[test]
    fn nothing_of_a_text_becomes_markup() {
        assert_eq!(cell("a <b>\n  `<c|d>` | e"), "a &lt;b&gt; `<c\\|d>` \\| e");
        assert_eq!(
            anchor("Instance `spec.interfaces[]`"),
            "instance-specinterfaces"
        );
    }
}
