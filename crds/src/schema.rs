//! Pieces of schema that several objects share, and the definitions of all objects, finished.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// An RFC 3339 time.
#[must_use]
pub fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Conditions, a map by `type` so that two writers can each own theirs.
#[must_use]
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<crate::Condition>();
    json_schema!({
        "type": "array", "items": item, "maxItems": 32,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}

/// Labels and their values, at most 16 (a label's value has at most 63 characters).
#[must_use]
pub fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// Every CustomResourceDefinition of both groups, as it is installed.
///
/// # Errors
/// When a schema has not the form that a CustomResourceDefinition needs: a fault of this crate.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [
        finished::<crate::Flavor>(),
        finished::<crate::NetworkClass>(),
        finished::<crate::ClusterImage>(),
        finished::<crate::Hypervisor>(),
        finished::<crate::Network>(),
        finished::<crate::Image>(),
        finished::<crate::KeyPair>(),
        finished::<crate::Instance>(),
        finished::<crate::Domain>(),
        finished::<crate::Segment>(),
    ]
    .into_iter()
    .collect()
}

/// The definition of a kind. Adds what the derive cannot say: the default of `status` (a new object must not look finished
/// to a health checker), a sentence each for `spec` and `status`, of which version it is, and that
/// Helm may never delete a definition, because every object of it would go too.
fn finished<K>() -> Result<CustomResourceDefinition, serde_json::Error>
where
    K: CustomResourceExt + JsonSchema,
{
    let crd = K::crd();
    let internal = crd.spec.group == crate::names::NODE_GROUP;
    let mut crd = serde_json::to_value(crd)?;
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let documented = settings
        .into_generator()
        .into_root_schema_for::<K>()
        .to_value();
    crd["metadata"]["annotations"] = json!({
        "helm.sh/resource-policy": "keep",
        (crate::names::VERSION_ANNOTATION): env!("CARGO_PKG_VERSION"),
    });
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") else {
            continue;
        };
        lean(schema, internal);
        document(schema, &documented);
        if let Some(spec) = schema.pointer_mut("/properties/spec") {
            describe(spec, "What is wanted.");
        }
        if let Some(status) = schema.pointer_mut("/properties/status") {
            describe(status, "What was decided and observed; Kilonova's own.");
            if status.pointer("/properties/observedGeneration").is_some() {
                status["default"] = json!({"observedGeneration": -1});
            }
        }
    }
    serde_json::from_value(crd)
}

/// Takes out what costs and says nothing: formats that `OpenAPI` does not know (the server warns of
/// each), `nullable` (null is refused, so that absent has one form only), the defaults of fields,
/// and the rules of what only the controllers write.
fn lean(schema: &mut Value, internal: bool) {
    match schema {
        Value::Object(fields) => {
            let unknown = |format: &Value| format.as_str().is_some_and(|f| f.starts_with("uint"));
            if fields.get("format").is_some_and(unknown) {
                fields.remove("format");
            }
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            // A property may be called `type`; then it is an object.
            if fields.get("type").is_some_and(Value::is_string) {
                fields.remove("default");
            }
            if internal {
                fields.remove("x-kubernetes-validations");
            }
            fields.values_mut().for_each(|v| lean(v, internal));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| lean(v, internal)),
        _ => {}
    }
}

/// Gives each field its own sentence back. The derive puts the sentence of the type in its place
/// where a field is optional and its type an enum or a structure.
fn document(schema: &mut Value, documented: &Value) {
    // An optional field is "anyOf" its type and null.
    let documented = match documented.get("anyOf").and_then(Value::as_array) {
        Some(forms) => forms.first().unwrap_or(documented),
        None => documented,
    };
    let fields = documented.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        let Some(inner) = schema.get_mut("properties").and_then(|p| p.get_mut(name)) else {
            continue;
        };
        if let Some(sentence) = field.get("description") {
            inner["description"] = sentence.clone();
        }
        document(inner, field);
    }
    if let (Some(inner), Some(item)) = (schema.get_mut("items"), documented.get("items")) {
        document(inner, item);
    }
}

fn describe(schema: &mut Value, sentence: &str) {
    if schema["description"].as_str().is_none_or(str::is_empty) {
        schema["description"] = sentence.into();
    }
}
