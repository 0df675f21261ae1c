//! The bodies of writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::Condition;
use kilonova_crds::names::{ABANDONED_ANNOTATION, LEADER_ANNOTATION};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The body of a status write: which state of which object it is of, and the status. The rest of
/// the object would be ignored, and is not sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody<'a, S> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    metadata: Identity,
    status: &'a S,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl<'a, S> StatusBody<'a, S> {
    /// The status of that object.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K, status: &'a S) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned().into(),
            kind: K::kind(&()).into_owned().into(),
            metadata: Identity {
                name: object.name_any(),
                namespace: object.namespace(),
                uid: object.uid(),
                resource_version: object.resource_version(),
            },
            status,
        }
    }
}

/// The patch that makes these the object's finalizers, if it is as we know it.
pub fn finalizers_patch<K: Resource>(
    object: &K,
    finalizers: &[String],
    fence: Option<String>,
) -> Value {
    let mut metadata = json!({
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    });
    if let Some(fence) = fence {
        metadata["annotations"] = json!({LEADER_ANNOTATION: fence});
    }
    json!({"metadata": metadata})
}

/// The patch that makes these the object's conditions, if it is as we know it.
pub fn conditions_patch<K: Resource>(object: &K, conditions: &[Condition]) -> Value {
    json!({
        "metadata": {"uid": object.uid(), "resourceVersion": object.resource_version()},
        "status": {
            "conditions": conditions, "observedGeneration": object.meta().generation,
        },
    })
}

/// Sets an annotation.
pub fn annotate(metadata: &mut ObjectMeta, name: &str, value: String) {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(name.to_owned(), value);
}

/// Sets when the Domain was found abandoned, or takes the mark off.
pub fn mark_abandoned(metadata: &mut ObjectMeta, at: Option<Timestamp>) {
    match at {
        Some(at) => annotate(metadata, ABANDONED_ANNOTATION, at.to_string()),
        None => {
            if let Some(annotations) = &mut metadata.annotations {
                annotations.remove(ABANDONED_ANNOTATION);
            }
        }
    }
}
