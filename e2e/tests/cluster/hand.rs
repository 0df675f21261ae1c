//! What an operator does by hand, and what he looks at.

use std::time::Instant;

use kilonova_e2e::cloud::{Cloud, InstanceHandle};
use serde_json::{Value, json};

/// Runs kubectl as admin, and gives its output.
pub async fn kubectl<'a>(cloud: &Cloud, args: impl IntoIterator<Item = &'a str>) -> String {
    let output = cloud.lab().kubectl(args).await.unwrap();
    output.checked().unwrap().stdout
}

/// The spec of an Instance that goes to that node, with what `more` has.
pub fn on(node: &str, more: Value) -> Value {
    let mut spec = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    spec
}

/// Which boot of each guest it is.
pub async fn boots(instances: &[InstanceHandle<'_>]) -> Vec<String> {
    let mut boots = Vec::new();
    for instance in instances {
        boots.push(instance.boot_id().await.unwrap());
    }
    boots
}

/// Says how long something took: it is a figure that people ask for.
pub fn took(what: &str, since: Instant) {
    println!("{what}: {:.1} s", since.elapsed().as_secs_f64());
}
