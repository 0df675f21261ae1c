//! Pieces of schema that several objects share.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An RFC 3339 time.
pub fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Conditions, a map by `type` so that two writers can each own theirs.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<crate::Condition>();
    json_schema!({
        "type": "array", "items": item, "maxItems": 32,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

/// Every CustomResourceDefinition of both groups, as it is installed.
///
/// # Errors
/// When a schema has not the form that a CustomResourceDefinition needs: a fault of this crate.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [
        crate::Flavor::crd(),
        crate::NetworkClass::crd(),
        crate::ClusterImage::crd(),
        crate::Hypervisor::crd(),
        crate::Network::crd(),
        crate::Image::crd(),
        crate::KeyPair::crd(),
        crate::Instance::crd(),
        crate::Domain::crd(),
        crate::Segment::crd(),
    ]
    .into_iter()
    .map(finish)
    .collect()
}

/// Adds what the derive cannot say: the default of `status` (a new object must not look finished
/// to a health checker) and a sentence each for `spec` and `status`.
fn finish(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut crd = serde_json::to_value(crd)?;
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let Some(properties) = version.pointer_mut("/schema/openAPIV3Schema/properties") else {
            continue;
        };
        if let Some(spec) = properties.get_mut("spec") {
            describe(spec, "What is wanted.");
        }
        if let Some(status) = properties.get_mut("status") {
            describe(status, "What was decided and observed; Kilonova's own.");
            if let Some(generation) = status.pointer_mut("/properties/observedGeneration") {
                if let Some(generation) = generation.as_object_mut() {
                    generation.remove("default");
                }
                status["default"] = json!({"observedGeneration": -1});
            }
        }
    }
    serde_json::from_value(crd)
}

fn describe(schema: &mut Value, sentence: &str) {
    if schema["description"].as_str().is_none_or(str::is_empty) {
        schema["description"] = sentence.into();
    }
}
