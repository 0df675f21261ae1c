//! When admission policies are in force: some seconds after they were written, and nothing says so.

use kilonova_crds::names;
use kube::{Client, ResourceExt as _, api::DynamicObject};
use serde_json::{Value, json};

use super::{
    manifests::SYSTEM_NAMESPACE,
    objects::{apply_all, delete_all, object, try_create},
};
use crate::{
    Result,
    wait::{GENEROUS, wait_for},
};

/// How the probe objects are named that tell when policies are in force.
const PROBE: &str = "kilonova-lab-probe";
/// What the validating probe answers.
const REFUSED: &str = "the probe is refused";
/// The label that the mutating probe gives.
const SEEN: &str = "probe-seen";

/// Waits until every policy that was applied before is in force.
///
/// The API server takes policies up in the order in which they were written, some seconds after they were. So one more
/// is written that refuses (or changes) one `ConfigMap`, and when it does, those before it do as well.
pub(super) async fn in_force(client: &Client, mutating: bool) -> Result<()> {
    let mut policies = vec![("Validating", validating_probe()?)];
    if mutating {
        policies.push(("Mutating", mutating_probe()?));
    }
    for (_, probe) in &policies {
        apply_all(client, probe).await?;
    }
    for (kind, _) in &policies {
        let what = format!("{kind}AdmissionPolicy to be in force");
        let config_map = object(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": probe_name(kind), "namespace": SYSTEM_NAMESPACE},
        }))?;
        wait_for(what, GENEROUS, || probe_seen(client, &config_map)).await?;
    }
    if mutating {
        finalizer_given(client).await?;
    }
    for (_, probe) in &policies {
        delete_all(client, probe).await?;
    }
    Ok(())
}

/// Tries to create the `ConfigMap` of one probe, without creating it.
async fn probe_seen(client: &Client, config_map: &DynamicObject) -> Result<(), String> {
    match try_create(client, config_map).await {
        Ok(made) if made.labels().contains_key(SEEN) => Ok(()),
        Ok(_) => Err("it is not in force".to_owned()),
        Err(error) if error.to_string().contains(REFUSED) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// For some seconds after a CRD is made, a mutating policy does not know its kind (and ours lets the object pass).
async fn finalizer_given(client: &Client) -> Result<()> {
    let instance = object(json!({
        "apiVersion": format!("{}/{}", names::GROUP, names::VERSION), "kind": "Instance",
        "metadata": {"name": PROBE, "namespace": "default"},
        "spec": {"flavor": "probe", "image": {"kind": "ClusterImage", "name": "probe"}},
    }))?;
    let finalizer = names::INSTANCE_FINALIZER.to_owned();
    wait_for(
        "an Instance to be given our finalizer",
        GENEROUS,
        || async {
            let made = try_create(client, &instance).await;
            let made = made.map_err(|error| error.to_string())?;
            if made.finalizers().contains(&finalizer) {
                Ok(())
            } else {
                Err(format!("finalizers {:?}", made.finalizers()))
            }
        },
    )
    .await
}

fn validating_probe() -> Result<Vec<DynamicObject>> {
    probe_policy(
        "Validating",
        &json!({"validations": [{"expression": "false", "message": REFUSED}]}),
        &json!({"validationActions": ["Deny"]}),
    )
}

fn mutating_probe() -> Result<Vec<DynamicObject>> {
    let expression = format!("Object{{metadata: Object.metadata{{labels: {{'{SEEN}': 'true'}}}}}}");
    probe_policy(
        "Mutating",
        &json!({"reinvocationPolicy": "Never", "mutations":
            [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}),
        &json!({}),
    )
}

fn probe_name(kind: &str) -> String {
    format!("{PROBE}-{}", kind.to_lowercase())
}

/// A policy for the one `ConfigMap` of its name, and its binding.
fn probe_policy(kind: &str, spec: &Value, binding: &Value) -> Result<Vec<DynamicObject>> {
    let name = probe_name(kind);
    let mut policy_spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules":
            [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]},
        "matchConditions": [{"name": "probe", "expression": format!("object.metadata.name == '{name}'")}],
    });
    let mut binding_spec = json!({"policyName": name});
    for (into, from) in [(&mut policy_spec, spec), (&mut binding_spec, binding)] {
        if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
            into.extend(from.clone());
        }
    }
    let made = |suffix: &str, spec: &Value| {
        object(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": format!("{kind}AdmissionPolicy{suffix}"),
            "metadata": {"name": name},
            "spec": spec,
        }))
    };
    Ok(vec![
        made("", &policy_spec)?,
        made("Binding", &binding_spec)?,
    ])
}
