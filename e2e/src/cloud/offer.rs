//! What the lab's operator offers.

use serde_json::{Value, json};

/// The guest image's file at the image server.
pub const GUEST_IMAGE: &str = "guest.qcow2";

/// Flavors, a `NetworkClass` and the guest's `ClusterImage`.
pub(super) fn objects(image_url: &str, checksum: &str) -> Vec<Value> {
    vec![
        flavor("tiny", 1, "128Mi"),
        flavor("duo", 2, "160Mi"),
        object("NetworkClass", "local", &json!({"type": "local"})),
        object(
            "ClusterImage",
            "guest",
            &json!({"source": {"http": {"url": image_url, "checksum": checksum}}, "format": "qcow2"}),
        ),
    ]
}

fn flavor(name: &str, vcpus: u32, memory: &str) -> Value {
    let spec = json!({"vcpus": vcpus, "memory": memory, "disk": "256Mi"});
    object("Flavor", name, &spec)
}

/// A cluster-scoped object of ours.
fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "kilonova.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}
