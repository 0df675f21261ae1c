//! Instances: what is wrong within one.

use serde_json::{Value, json};

use crate::{Case, api_common::change, case, long_name, spec};

/// A change of the spec.
fn wrong(change: Value, says: &'static str) -> Case {
    spec("Instance", change, says)
}

/// A change of the interface.
fn in_interface(patch: Value, says: &'static str) -> Case {
    let mut changed = json!({"name": "eth0", "network": "blue"});
    change(&mut changed, &patch);
    wrong(json!({"interfaces": [changed]}), says)
}

/// A change of where the user data comes from.
fn from_secret(reference: Value, says: &'static str) -> Case {
    let from = json!({"secretKeyRef": reference});
    wrong(json!({"userData": null, "userDataFrom": from}), says)
}

/// Instances, but for their interfaces and placement.
pub fn instances() -> Vec<Case> {
    let name = "an Instance's name is its hostname too: at most 63 characters, letters, digits and dashes, no dots";
    let hostname =
        "hostname is a DNS label: lower-case letters, digits and dashes, not at its ends";
    let secret_name =
        "a Secret's name has lower-case letters, digits, dashes and dots, not at its ends";
    vec![
        case("Instance", long_name(), name),
        case("Instance", json!({"metadata": {"name": "web.1"}}), name),
        wrong(json!({"flavor": null}), "spec.flavor: Required value"),
        wrong(
            json!({"image": {"kind": "Template"}}),
            "spec.image.kind: Unsupported value: \"Template\"",
        ),
        wrong(
            json!({"power": "Hibernated"}),
            "spec.power: Unsupported value: \"Hibernated\"",
        ),
        wrong(
            json!({"restartPolicy": "Sometimes"}),
            "spec.restartPolicy: Unsupported value",
        ),
        wrong(
            json!({"terminationGracePeriodSeconds": 3601}),
            "should be less than or equal to 3600",
        ),
        wrong(
            json!({"terminationGracePeriodSeconds": -1}),
            "should be greater than or equal to 0",
        ),
        wrong(json!({"hostname": "-web"}), hostname),
        wrong(json!({"hostname": "Web"}), hostname),
        wrong(json!({"hostname": "web\n"}), hostname),
        wrong(
            json!({"keyPairs": ["ops", "ops"]}),
            "spec.keyPairs[1]: Duplicate value: \"ops\"",
        ),
        wrong(
            json!({"userData": "x".repeat(16385)}),
            "spec.userData: Too long: may not be more than 16384",
        ),
        wrong(
            json!({"userDataFrom": {"secretKeyRef": {"name": "boot", "key": "script"}}}),
            "userData and userDataFrom exclude each other: the guest is given one",
        ),
        from_secret(
            json!({"name": "../../kube-system/secrets/x", "key": "script"}),
            secret_name,
        ),
        from_secret(json!({"name": "boot\n", "key": "script"}), secret_name),
        from_secret(
            json!({"name": "x".repeat(254), "key": "script"}),
            "spec.userDataFrom.secretKeyRef.name: Too long",
        ),
        from_secret(
            json!({"name": "boot", "key": "a/b"}),
            "a key of a Secret has letters, digits, dashes, dots and underscores",
        ),
        from_secret(
            json!({"name": "boot"}),
            "spec.userDataFrom.secretKeyRef.key: Required value",
        ),
        wrong(
            json!({"userData": null, "userDataFrom": {}}),
            "spec.userDataFrom.secretKeyRef: Required value",
        ),
        wrong(
            json!({"nodeSelector": {"disk": "x".repeat(64)}}),
            "spec.nodeSelector.disk: Too long",
        ),
    ]
}

/// The interfaces of an Instance.
pub fn interfaces() -> Vec<Case> {
    let interface =
        "an interface's name has lower-case letters, digits and dashes, not at its ends";
    let mac = "mac is a unicast MAC address in lower case, such as fa:16:3e:00:00:01";
    let nic = |name: &str, more: Value| {
        let mut nic = json!({"name": name, "network": "blue"});
        change(&mut nic, &more);
        nic
    };
    let two = |a: Value, b: Value| json!({"interfaces": [nic("eth0", a), nic("eth1", b)]});
    let address = json!({"ips": ["10.0.0.5"]});
    let hardware = json!({"mac": "fa:16:3e:00:00:01"});
    vec![
        wrong(
            json!({"interfaces": [nic("eth0", json!({})), nic("eth0", json!({}))]}),
            "spec.interfaces[1]: Duplicate value",
        ),
        wrong(
            two(address.clone(), address),
            "two interfaces have the same address in one network",
        ),
        wrong(
            two(hardware.clone(), hardware),
            "two interfaces have the same mac",
        ),
        in_interface(json!({"name": "Eth0"}), interface),
        in_interface(
            json!({"name": "e".repeat(16)}),
            "spec.interfaces[0].name: Too long: may not be more than 15",
        ),
        in_interface(
            json!({"network": ""}),
            "spec.interfaces[0].network in body should be at least 1 chars long",
        ),
        in_interface(
            json!({"ips": []}),
            "spec.interfaces[0].ips in body should have at least 1 items",
        ),
        in_interface(
            json!({"ips": ["10.0.0.0/24"]}),
            "ips has something that is not an IP address",
        ),
        in_interface(
            json!({"ips": ["10.0.0.5", "10.0.0.6"]}),
            "an interface has at most one address of a family",
        ),
        in_interface(json!({"mac": "FA:16:3E:00:00:01"}), mac),
        in_interface(json!({"mac": "01:00:5e:00:00:01"}), mac),
        in_interface(json!({"mac": "00:00:00:00:00:00"}), mac),
    ]
}

/// Affinity and tolerations of an Instance.
pub fn placement() -> Vec<Case> {
    let values = "In, NotIn, Gt and Lt need values; Exists and DoesNotExist take none";
    let whole = "Gt and Lt take one whole number";
    let label_values = "In and NotIn need values; Exists and DoesNotExist take none";
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = |expression: &Value| json!({"affinity": {"nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}});
    let wish = |weight: u32| json!({"affinity": {"nodeAffinity": {preferred: [{"weight": weight, "preference": {}}]}}});
    let near = |expression: Value| {
        let term =
            json!({"labelSelector": {"matchExpressions": [expression]}, "topologyKey": "zone"});
        json!({"affinity": {"instanceAffinity": {required: [term]}}})
    };
    let bears = |toleration: Value| json!({"tolerations": [toleration]});
    let keyless = "a toleration without a key needs operator: Exists";
    vec![
        wrong(node(&json!({"key": "zone", "operator": "In"})), values),
        wrong(
            node(&json!({"key": "zone", "operator": "Exists", "values": ["a"]})),
            values,
        ),
        wrong(
            node(&json!({"key": "cores", "operator": "Gt", "values": ["four"]})),
            whole,
        ),
        wrong(
            node(&json!({"key": "cores", "operator": "Lt", "values": ["4", "5"]})),
            whole,
        ),
        wrong(
            node(&json!({"key": "zone", "operator": "Near", "values": ["a"]})),
            "Unsupported value: \"Near\"",
        ),
        wrong(wish(0), "should be greater than or equal to 1"),
        wrong(wish(101), "should be less than or equal to 100"),
        wrong(
            near(json!({"key": "app", "operator": "NotIn"})),
            label_values,
        ),
        wrong(
            near(json!({"key": "app", "operator": "DoesNotExist", "values": ["web"]})),
            label_values,
        ),
        wrong(
            near(json!({"key": "app", "operator": "Gt", "values": ["1"]})),
            "Unsupported value: \"Gt\"",
        ),
        wrong(bears(json!({"value": "a"})), keyless),
        wrong(bears(json!({"operator": "Equal", "value": "a"})), keyless),
        wrong(
            bears(json!({"key": "a", "operator": "Exists", "value": "b"})),
            "a toleration with operator Exists takes no value",
        ),
        wrong(
            bears(json!({"key": "a", "effect": "Never"})),
            "effect is NoSchedule, PreferNoSchedule or NoExecute",
        ),
    ]
}
