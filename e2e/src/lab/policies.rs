//! When admission policies are in force: some seconds after they were written, and nothing says so.

use kilonova_crds::names;
use serde_json::{Value, json};

use super::{kubectl::Kubectl, manifests::SYSTEM_NAMESPACE};
use crate::{
    Result,
    wait::{GENEROUS, wait_for},
};

/// How the probe objects are named that tell when policies are in force.
const PROBE: &str = "kilonova-lab-probe";

/// Waits until every policy that was applied before is in force.
///
/// The API server takes policies up in the order in which they were written, some seconds after they were. So one more
/// is written that refuses (or changes) one `ConfigMap`, and when it does, those before it do as well.
pub(super) async fn in_force(kubectl: &Kubectl, mutating: bool) -> Result<()> {
    let mut policies = vec![probe_policy(
        "Validating",
        &json!({"validations": [{"expression": "false", "message": "the probe is refused"}]}),
        &json!({"validationActions": ["Deny"]}),
    )];
    if mutating {
        let expression = "Object{metadata: Object.metadata{labels: {'probe': 'seen'}}}";
        policies.push(probe_policy(
            "Mutating",
            &json!({"reinvocationPolicy": "Never", "mutations":
                [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}),
            &json!({}),
        ));
    }
    let policies = policies
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n---\n");
    kubectl
        .run(["apply", "--server-side", "-f", "-"], &policies)
        .await?
        .checked()?;
    let mut kinds = vec!["Validating"];
    kinds.extend(mutating.then_some("Mutating"));
    for kind in kinds {
        wait_for(
            format!("{kind}AdmissionPolicy to be in force"),
            GENEROUS,
            || probe_seen(kubectl, kind),
        )
        .await?;
    }
    if mutating {
        wait_for("an Instance to be given our finalizer", GENEROUS, || {
            finalizer_given(kubectl)
        })
        .await?;
    }
    kubectl
        .run(["delete", "--wait=false", "-f", "-"], &policies)
        .await?
        .checked()
        .map(drop)
}

/// Tries to create the `ConfigMap` of one probe, without creating it.
async fn probe_seen(kubectl: &Kubectl, kind: &str) -> Result<(), String> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": probe_name(kind), "namespace": SYSTEM_NAMESPACE}});
    let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let output = kubectl
        .run(create, &object.to_string())
        .await
        .map_err(|error| error.to_string())?;
    let answer = output.stdout + &output.stderr;
    if answer.contains("the probe is refused") || answer.contains("\"probe\": \"seen\"") {
        return Ok(());
    }
    Err(answer)
}

/// For some seconds after a CRD is made, a mutating policy does not know its kind (and ours lets the object pass).
async fn finalizer_given(kubectl: &Kubectl) -> Result<(), String> {
    let object = json!({
        "apiVersion": format!("{}/{}", names::GROUP, names::VERSION), "kind": "Instance",
        "metadata": {"name": PROBE, "namespace": "default"},
        "spec": {"flavor": "probe", "image": {"kind": "ClusterImage", "name": "probe"}},
    });
    let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let output = kubectl
        .run(create, &object.to_string())
        .await
        .map_err(|error| error.to_string())?;
    if output
        .stdout
        .contains(&format!("\"{}\"", names::INSTANCE_FINALIZER))
    {
        Ok(())
    } else {
        Err(output.stdout + &output.stderr)
    }
}

fn probe_name(kind: &str) -> String {
    format!("{PROBE}-{}", kind.to_lowercase())
}

/// A policy for the one `ConfigMap` of its name, and its binding.
fn probe_policy(kind: &str, spec: &Value, binding: &Value) -> Vec<Value> {
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
    let object = |suffix: &str, spec: &Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": format!("{kind}AdmissionPolicy{suffix}"),
            "metadata": {"name": name},
            "spec": spec,
        })
    };
    vec![object("", &policy_spec), object("Binding", &binding_spec)]
}
