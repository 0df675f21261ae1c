//! What must hold of every definition, whatever kind comes next: read from the generated schemas.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]

use kilonova_crds::schema::definitions;
use serde_json::{Value, json};

/// Largest schema of an Instance as compact JSON, in bytes: each write of one pays for it.
const INSTANCE_MAX: usize = 24 * 1024;
/// Largest schema of a Domain or Segment: nobody but the controllers writes them.
const NODE_MAX: usize = 8 * 1024;

/// Kind, group and schema of each definition.
fn schemas() -> Vec<(String, String, Value)> {
    definitions()
        .unwrap()
        .into_iter()
        .map(|crd| {
            let version = serde_json::to_value(&crd.spec.versions[0]).unwrap();
            let schema = version["schema"]["openAPIV3Schema"].clone();
            (crd.spec.names.kind, crd.spec.group, schema)
        })
        .collect()
}

/// Calls `look` with every schema within this one, and where it is.
fn walk(schema: &Value, at: &str, look: &mut impl FnMut(&Value, &str)) {
    look(schema, at);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(field, &format!("{at}.{name}"), look);
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{at}{mark}"), look);
        }
    }
}

/// Every place in every definition where `wrong` says so.
fn places(wrong: impl Fn(&str, &Value, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, group, schema) in schemas() {
        walk(&schema, &kind, &mut |inner, at| {
            if wrong(&group, inner, at) {
                found.push(at.to_owned());
            }
        });
    }
    found
}

#[test]
fn every_field_has_a_sentence() {
    let silent = places(|_, schema, at| {
        let text = schema["description"].as_str().unwrap_or_default().trim();
        // What is in a list or a map is told by the field that holds it.
        text.is_empty() && !at.ends_with("[]") && !at.ends_with("{}")
    });
    assert!(
        silent.is_empty(),
        "no sentence for kubectl explain: {silent:#?}"
    );
}

/// An optional field of an enum type keeps its own sentence.
#[test]
fn a_field_is_told_by_its_own_sentence() {
    let (_, _, instance) = schemas()
        .into_iter()
        .find(|(kind, ..)| kind == "Instance")
        .unwrap();
    let power = &instance["properties"]["spec"]["properties"]["power"]["description"];
    assert!(power.as_str().unwrap().contains("where absent"), "{power}");
}

/// The server bounds the cost of a rule by these, and an object's size is bounded by them.
#[test]
fn everything_that_people_write_is_bounded() {
    let unbounded = places(|group, schema, at| {
        let spec = group == "kilonova.dev" && at.contains(".spec");
        let bound = match schema["type"].as_str() {
            Some("string") => !schema["maxLength"].is_null() || !schema["enum"].is_null(),
            Some("array") => !schema["maxItems"].is_null(),
            Some("object") => {
                schema["additionalProperties"].is_null() || !schema["maxProperties"].is_null()
            }
            Some("integer") => !schema["maximum"].is_null(),
            _ => !schema["maxLength"].is_null() || schema["type"] == "boolean",
        };
        spec && !bound
    });
    assert!(unbounded.is_empty(), "{unbounded:#?}");
}

/// Atomic lists of objects fight when two managers apply; a list that stays so is named here.
#[test]
fn lists_of_objects_are_maps_or_known() {
    let atomic = places(|_, schema, at| {
        let of_objects = schema["items"]["type"] == "object";
        let keyed = schema["x-kubernetes-list-type"] == "map"
            && schema["x-kubernetes-list-map-keys"]
                .as_array()
                .is_some_and(|keys| {
                    keys.iter().all(|key| {
                        schema["items"]["required"]
                            .as_array()
                            .is_some_and(|r| r.contains(key))
                    })
                });
        let known = [
            "IgnoredDuringExecution",
            ".nodeSelectorTerms",
            ".matchExpressions",
            ".tolerations",
            ".routes",
        ];
        let by_one_writer = at.starts_with("Domain.spec")
            || at.starts_with("Segment.spec")
            || at.contains(".orphans")
            || at.contains(".status.interfaces[]");
        of_objects && !keyed && !by_one_writer && !known.iter().any(|end| at.ends_with(end))
    });
    assert!(atomic.is_empty(), "{atomic:#?}");
}

#[test]
fn schemas_stay_small() {
    for (kind, group, schema) in schemas() {
        let size = schema.to_string().len();
        let max = if group == "node.kilonova.dev" {
            NODE_MAX
        } else {
            INSTANCE_MAX
        };
        assert!(size <= max, "{kind}: {size} bytes, at most {max}");
    }
}

#[test]
fn definitions_are_finished() {
    for crd in definitions().unwrap() {
        let kind = crd.spec.names.kind.clone();
        let keep = crd
            .metadata
            .annotations
            .unwrap_or_default()
            .get("helm.sh/resource-policy")
            .cloned();
        assert_eq!(keep.as_deref(), Some("keep"), "{kind}");
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let text = schema.to_string();
        assert!(
            !text.contains("\"format\":\"uint"),
            "{kind}: the server warns of it"
        );
        assert!(!text.contains("nullable"), "{kind}");
        if let Some(status) = schema.pointer("/openAPIV3Schema/properties/status") {
            assert_eq!(
                status["default"],
                json!({"observedGeneration": -1}),
                "{kind}"
            );
        }
        let rules = text.contains("x-kubernetes-validations");
        assert!(
            !(rules && crd.spec.group == "node.kilonova.dev"),
            "{kind} has rules"
        );
    }
}
