//! What the API server refuses by schema and CEL, and what it says; and that what is good is taken.
//!
//! Every case is a good object with one change. A rule without a case here fails the test `every_rule_has_a_case`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first thing that is wrong")]

mod api_common;

use std::collections::BTreeSet;

use api_common::{Refusal, ask, change, checksum, collection, good, lab, subnet};
use kube::Client;
use serde_json::{Value, json};

/// One change and what the answer must say.
struct Case {
    kind: &'static str,
    change: Value,
    says: &'static str,
}

fn case(kind: &'static str, change: Value, says: &'static str) -> Case {
    Case { kind, change, says }
}

/// A case for a change of the spec.
fn spec(kind: &'static str, change: Value, says: &'static str) -> Case {
    case(kind, json!({"spec": change}), says)
}

/// A change within the subnet.
fn in_subnet(patch: Value, says: &'static str) -> Case {
    let mut changed = subnet();
    change(&mut changed, &patch);
    spec("Network", json!({"subnets": [changed]}), says)
}

/// A change of the interface.
fn in_interface(patch: Value, says: &'static str) -> Case {
    let mut changed = json!({"name": "eth0", "network": "blue"});
    change(&mut changed, &patch);
    spec("Instance", json!({"interfaces": [changed]}), says)
}

fn long_name() -> Value {
    json!({"metadata": {"name": "n".repeat(64)}})
}

const KINDS: [&str; 10] = [
    "Flavor", "NetworkClass", "ClusterImage", "Hypervisor", "Network", "Image", "KeyPair", "Instance", "Domain", "Segment",
];

const MEMORY: &str = "memory is between 16Mi and 64Ti";
const DISK: &str = "disk is between 1Mi and 1Pi";

fn operators() -> Vec<Case> {
    let ratio = "an overcommit ratio is a decimal number above 0, such as \"4.0\"";
    let ratio_1 = "an overcommit ratio is a decimal number above 0, such as \"1.0\"";
    vec![
        case("Flavor", long_name(), "a Flavor's name has at most 63 characters"),
        spec("Flavor", json!({"vcpus": null}), "spec.vcpus: Required value"),
        spec("Flavor", json!({"vcpus": 0}), "spec.vcpus in body should be greater than or equal to 1"),
        spec("Flavor", json!({"vcpus": 513}), "spec.vcpus in body should be less than or equal to 512"),
        spec("Flavor", json!({"vcpus": null, "cores": 1}), "unknown field \"spec.cores\""),
        spec("Flavor", json!({"memory": "15Mi"}), MEMORY),
        spec("Flavor", json!({"memory": "65Ti"}), MEMORY),
        spec("Flavor", json!({"memory": -1}), MEMORY),
        spec("Flavor", json!({"memory": "2 GB"}), "spec.memory in body should match"),
        spec("Flavor", json!({"disk": 0}), DISK),
        spec("Flavor", json!({"disk": "1025Ti"}), DISK),
        case("NetworkClass", long_name(), "a NetworkClass's name has at most 63 characters"),
        spec("NetworkClass", json!({"type": "token-ring"}), "spec.type: Unsupported value: \"token-ring\""),
        spec("NetworkClass", json!({"mtu": 100}), "spec.mtu in body should be greater than or equal to 576"),
        case("Hypervisor", json!({"spec": null}), "spec: Required value"),
        spec("Hypervisor", json!({"overcommit": {"cpu": "0.0"}}), ratio),
        spec("Hypervisor", json!({"overcommit": {"cpu": "many"}}), ratio),
        spec("Hypervisor", json!({"overcommit": {"memory": "-1"}}), ratio_1),
        spec("Hypervisor", json!({"overcommit": {"disk": "0"}}), ratio_1),
        spec("Hypervisor", json!({"reserved": {"memory": "65Ti"}}), "reserved memory is between 0 and 64Ti"),
        spec("Hypervisor", json!({"reserved": {"disk": -1}}), "reserved disk is between 0 and 64Pi"),
        case("Domain", json!({"spec": {"disposition": "Forget"}}), "spec.disposition: Unsupported value"),
        case("Segment", json!({"spec": {"network": {"uid": null}}}), "spec.network.uid: Required value"),
    ]
}

fn images() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in ["Image", "ClusterImage"] {
        let http = |change: Value| json!({"source": {"http": change}});
        let url = "url is an http or https address such as https://example.org/debian-12.qcow2";
        let digits = "checksum is sha256: and 64, or sha512: and 128 hexadecimal digits in lower case";
        let credentials = "url carries no credentials: who can read the image would read them";
        let needs = |change: Value| json!({"requirements": change});
        cases.extend([
            spec(kind, json!({"source": {"http": null}}), "spec.source.http: Required value"),
            spec(kind, http(json!({"checksum": null})), "spec.source.http.checksum: Required value"),
            spec(kind, http(json!({"checksum": "sha256:0A"})), digits),
            spec(kind, http(json!({"checksum": checksum().to_uppercase()})), digits),
            spec(kind, http(json!({"checksum": "md5:d41d8cd98f00b204e9800998ecf8427e"})), digits),
            spec(kind, http(json!({"url": "file:///etc/shadow"})), url),
            spec(kind, http(json!({"url": "debian-12.qcow2"})), url),
            spec(kind, http(json!({"url": "https:///debian-12.qcow2"})), url),
            spec(kind, http(json!({"url": "https://ana:secret@example.org/a.qcow2"})), credentials),
            spec(kind, json!({"format": "vmdk"}), "spec.format: Unsupported value: \"vmdk\": supported values: \"qcow2\", \"raw\""),
            spec(kind, needs(json!({"minMemory": -1})), "minMemory is between 0 and 64Ti"),
            spec(kind, needs(json!({"minDisk": "99999999999E"})), "minDisk is between 0 and 1Pi"),
            spec(kind, needs(json!({"architecture": "sparc"})), "architecture is x86_64 or aarch64"),
            spec(kind, needs(json!({"virtualizationType": "xen"})), "spec.requirements.virtualizationType: Unsupported value"),
        ]);
    }
    cases.push(case("Image", long_name(), "an Image's name has at most 63 characters"));
    cases.push(case("ClusterImage", long_name(), "a ClusterImage's name has at most 63 characters"));
    cases
}

fn key_pairs() -> Vec<Case> {
    let form = "publicKey is no public key in OpenSSH's form (ssh-ed25519 AAAA… comment); never give a private key";
    let with = |key: &str| json!({"publicKey": key});
    let good_key = api_common::PUBLIC_KEY;
    vec![
        case("KeyPair", long_name(), "a KeyPair's name has at most 63 characters"),
        spec("KeyPair", with("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n"), form),
        spec("KeyPair", with("ssh-dss AAAAB3NzaC1kc3MAAACBAOeB4bW9ja2tleW1vY2trZXltb2Nra2V5bW9ja2tl"), form),
        spec("KeyPair", with(&format!("{good_key}\nssh-rsa AAAA")), form),
        spec("KeyPair", with(&format!("command=\"sh\" {good_key}")), form),
        spec("KeyPair", with(""), form),
    ]
}

fn networks() -> Vec<Case> {
    let (prefix, family) = ("cidr has a prefix length between 8 and 29", "cidr is an IPv4 subnet such as 10.0.0.0/24");
    let host_bits = "cidr has bits set beyond its prefix: give the network's own address, such as 10.0.0.0/24";
    let reserved = "cidr is loopback, link-local, multicast or reserved";
    let range = "a range is two addresses with a dash: 10.0.0.10-10.0.0.200";
    let (backwards, outside) = ("a range ends before it begins", "a range is not inside cidr");
    let destination = "destination is an IPv4 subnet such as 192.168.0.0/16";
    let bare = |cidr: &str| json!({"subnets": [{"cidr": cidr}]});
    let route = |destination: &str, hop: &str| json!({"routes": [{"destination": destination, "nextHop": hop}]});
    vec![
        case("Network", long_name(), "a Network's name has at most 63 characters"),
        spec("Network", json!({"class": ""}), "spec.class in body should be at least 1 chars long"),
        spec("Network", json!({"subnets": []}), "spec.subnets in body should have at least 1 items"),
        spec("Network", json!({"subnets": [{"cidr": "10.0.0.0/24"}, {"cidr": "10.1.0.0/24"}]}), "must have at most 1 item"),
        spec("Network", bare("10.0.0.0"), family),
        spec("Network", bare("fd00:1::/64"), family),
        spec("Network", bare("10.0.0.5/24"), host_bits),
        spec("Network", bare("10.0.0.0/30"), prefix),
        spec("Network", bare("64.0.0.0/2"), prefix),
        spec("Network", bare("127.1.0.0/16"), reserved),
        spec("Network", bare("169.254.0.0/16"), reserved),
        spec("Network", bare("239.0.0.0/8"), reserved),
        spec("Network", bare("240.0.0.0/8"), reserved),
        spec("Network", bare("0.0.0.0/8"), reserved),
        in_subnet(json!({"gateway": "ten"}), "gateway is not an IP address"),
        in_subnet(json!({"gateway": "10.0.1.1"}), "gateway is not inside cidr"),
        in_subnet(json!({"gateway": "fd00::1"}), "gateway is not inside cidr"),
        in_subnet(json!({"gateway": "10.0.0.0"}), "gateway is the subnet's own network address"),
        in_subnet(json!({"gateway": "10.0.0.255"}), "gateway is the subnet's broadcast address"),
        in_subnet(json!({"cidr": "10.0.0.8/29", "gateway": "10.0.0.15", "ranges": null, "routes": null}), "gateway is the subnet's broadcast address"),
        in_subnet(json!({"cidr": "10.0.0.0/8", "gateway": "10.255.255.255"}), "gateway is the subnet's broadcast address"),
        in_subnet(json!({"ranges": ["10.0.0.10"]}), range),
        in_subnet(json!({"ranges": ["10.0.0.10-10.0.0.20-10.0.0.30"]}), range),
        in_subnet(json!({"ranges": ["a-b"]}), range),
        in_subnet(json!({"ranges": ["10.0.0.10-10.0.1.20"]}), outside),
        in_subnet(json!({"ranges": ["10.0.0.20-10.0.0.10"]}), backwards),
        in_subnet(json!({"cidr": "10.0.0.0/16", "ranges": ["10.0.1.0-10.0.0.255"]}), backwards),
        in_subnet(json!({"dns": ["resolver"]}), "dns has something that is not an IPv4 address"),
        in_subnet(json!({"dns": ["fd00::53"]}), "dns has something that is not an IPv4 address"),
        in_subnet(route("everywhere", "10.0.0.2"), destination),
        in_subnet(route("fd00::/64", "10.0.0.2"), destination),
        in_subnet(route("192.168.0.0/16", "gate"), "nextHop is not an IPv4 address"),
        in_subnet(route("192.168.0.0/16", "10.0.1.2"), "a route's nextHop is not inside cidr"),
    ]
}

fn instances() -> Vec<Case> {
    let name = "an Instance's name is its hostname too: at most 63 characters, letters, digits and dashes, no dots";
    let hostname = "hostname is a DNS label: lower-case letters, digits and dashes, not at its ends";
    let interface = "an interface's name has lower-case letters, digits and dashes, not at its ends";
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
        case("Instance", long_name(), name),
        case("Instance", json!({"metadata": {"name": "web.1"}}), name),
        spec("Instance", json!({"flavor": null}), "spec.flavor: Required value"),
        spec("Instance", json!({"image": {"kind": "Template"}}), "spec.image.kind: Unsupported value: \"Template\""),
        spec("Instance", json!({"power": "Hibernated"}), "spec.power: Unsupported value: \"Hibernated\""),
        spec("Instance", json!({"restartPolicy": "Sometimes"}), "spec.restartPolicy: Unsupported value"),
        spec("Instance", json!({"terminationGracePeriodSeconds": 3601}), "should be less than or equal to 3600"),
        spec("Instance", json!({"terminationGracePeriodSeconds": -1}), "should be greater than or equal to 0"),
        spec("Instance", json!({"hostname": "-web"}), hostname),
        spec("Instance", json!({"hostname": "Web"}), hostname),
        spec("Instance", json!({"hostname": "web\n"}), hostname),
        spec("Instance", json!({"keyPairs": ["ops", "ops"]}), "spec.keyPairs[1]: Duplicate value: \"ops\""),
        spec("Instance", json!({"userData": "x".repeat(16385)}), "spec.userData: Too long: may not be more than 16384"),
        spec("Instance", json!({"nodeSelector": {"disk": "x".repeat(64)}}), "spec.nodeSelector.disk: Too long"),
        spec("Instance", json!({"interfaces": [nic("eth0", json!({})), nic("eth0", json!({}))]}), "spec.interfaces[1]: Duplicate value"),
        spec("Instance", two(address.clone(), address), "two interfaces have the same address in one network"),
        spec("Instance", two(hardware.clone(), hardware), "two interfaces have the same mac"),
        in_interface(json!({"name": "Eth0"}), interface),
        in_interface(json!({"name": "e".repeat(16)}), "spec.interfaces[0].name: Too long: may not be more than 15"),
        in_interface(json!({"network": ""}), "spec.interfaces[0].network in body should be at least 1 chars long"),
        in_interface(json!({"ips": []}), "spec.interfaces[0].ips in body should have at least 1 items"),
        in_interface(json!({"ips": ["10.0.0.0/24"]}), "ips has something that is not an IP address"),
        in_interface(json!({"ips": ["10.0.0.5", "10.0.0.6"]}), "an interface has at most one address of a family"),
        in_interface(json!({"mac": "FA:16:3E:00:00:01"}), mac),
        in_interface(json!({"mac": "01:00:5e:00:00:01"}), mac),
        in_interface(json!({"mac": "00:00:00:00:00:00"}), mac),
    ]
}

fn placement() -> Vec<Case> {
    let values = "In, NotIn, Gt and Lt need values; Exists and DoesNotExist take none";
    let whole = "Gt and Lt take one whole number";
    let label_values = "In and NotIn need values; Exists and DoesNotExist take none";
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = |expression: &Value| {
        json!({"affinity": {"nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
    };
    let wish = |weight: u32| json!({"affinity": {"nodeAffinity": {preferred: [{"weight": weight, "preference": {}}]}}});
    let near = |expression: Value| {
        let term = json!({"labelSelector": {"matchExpressions": [expression]}, "topologyKey": "zone"});
        json!({"affinity": {"instanceAffinity": {required: [term]}}})
    };
    let bears = |toleration: Value| json!({"tolerations": [toleration]});
    let keyless = "a toleration without a key needs operator: Exists";
    vec![
        spec("Instance", node(&json!({"key": "zone", "operator": "In"})), values),
        spec("Instance", node(&json!({"key": "zone", "operator": "Exists", "values": ["a"]})), values),
        spec("Instance", node(&json!({"key": "cores", "operator": "Gt", "values": ["four"]})), whole),
        spec("Instance", node(&json!({"key": "cores", "operator": "Lt", "values": ["4", "5"]})), whole),
        spec("Instance", node(&json!({"key": "zone", "operator": "Near", "values": ["a"]})), "Unsupported value: \"Near\""),
        spec("Instance", wish(0), "should be greater than or equal to 1"),
        spec("Instance", wish(101), "should be less than or equal to 100"),
        spec("Instance", near(json!({"key": "app", "operator": "NotIn"})), label_values),
        spec("Instance", near(json!({"key": "app", "operator": "DoesNotExist", "values": ["web"]})), label_values),
        spec("Instance", near(json!({"key": "app", "operator": "Gt", "values": ["1"]})), "Unsupported value: \"Gt\""),
        spec("Instance", bears(json!({"value": "a"})), keyless),
        spec("Instance", bears(json!({"operator": "Equal", "value": "a"})), keyless),
        spec("Instance", bears(json!({"key": "a", "operator": "Exists", "value": "b"})), "a toleration with operator Exists takes no value"),
        spec("Instance", bears(json!({"key": "a", "effect": "Never"})), "effect is NoSchedule, PreferNoSchedule or NoExecute"),
    ]
}

/// Changes of an object that is there.
fn updates() -> Vec<Case> {
    let image = "an image is immutable: make another one under another name";
    let subnets = "a subnet's cidr and gateway are immutable: make another Network";
    let interfaces = "interfaces are immutable: network, ips, mac and their order belong to the guest";
    let user_data = "userData is immutable: the guest was given it at its first boot";
    let key_pairs = "keyPairs are immutable: the guest was given them at its first boot";
    let hostname = "hostname is immutable: the guest was given it at its first boot";
    let mut free_gateway = subnet();
    change(&mut free_gateway, &json!({"gateway": null}));
    vec![
        spec("Flavor", json!({"vcpus": 2}), "a Flavor's sizes are immutable: make another Flavor"),
        spec("NetworkClass", json!({"mtu": 9000}), "a NetworkClass is immutable: make another one"),
        spec("Image", json!({"format": "raw"}), image),
        spec("Image", json!({"requirements": null}), image),
        spec("ClusterImage", json!({"format": "raw"}), image),
        spec("KeyPair", json!({"publicKey": format!("{}2", api_common::PUBLIC_KEY)}), "a KeyPair is immutable: make another one"),
        spec("Network", json!({"class": "other"}), "class is immutable: make another Network"),
        spec("Network", json!({"routed": false}), "routed is immutable: make another Network"),
        spec("Network", json!({"routed": null}), "routed is immutable: make another Network"),
        spec("Network", json!({"dhcp": false}), "dhcp is immutable: make another Network"),
        spec("Network", json!({"subnets": [{"cidr": "10.1.0.0/24"}]}), subnets),
        spec("Network", json!({"subnets": [free_gateway]}), subnets),
        spec("Instance", json!({"flavor": "big"}), "flavor is immutable: a running Instance is not resized"),
        spec("Instance", json!({"image": {"name": "debian-13"}}), "image is immutable: the root disk was made from it"),
        spec("Instance", json!({"interfaces": null}), interfaces),
        spec("Instance", json!({"interfaces": [{"name": "eth0", "network": "blue"}]}), interfaces),
        spec("Instance", json!({"keyPairs": ["ana"]}), key_pairs),
        spec("Instance", json!({"userData": null}), user_data),
        spec("Instance", json!({"hostname": "other"}), hostname),
    ]
}

/// What is unusual and good.
fn accepted() -> Vec<(&'static str, Value)> {
    let sha512 = format!("sha512:{}", "0f".repeat(64));
    vec![
        ("Flavor", json!({"spec": {"vcpus": 512, "memory": "1.5Gi", "disk": 1_073_741_824}})),
        ("NetworkClass", json!({"spec": {"mtu": null}})),
        ("Image", json!({"spec": {"source": {"http": {"url": "http://[fd00::1]:8080/a?b=c", "checksum": sha512}}, "requirements": null}})),
        ("Hypervisor", json!({"spec": null})),
        ("Network", json!({"spec": {"subnets": [{"cidr": "10.0.0.0/29", "gateway": "10.0.0.6"}], "routed": null, "dhcp": null}})),
        ("Network", json!({"spec": {"subnets": [{"cidr": "172.16.0.0/12", "gateway": "172.31.255.254", "ranges": ["172.16.0.255-172.16.1.0"]}]}})),
        ("KeyPair", json!({"spec": {"publicKey": "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY="}})),
        ("Instance", json!({"metadata": {"name": "1web"}, "spec": {"interfaces": null, "affinity": null, "keyPairs": null}})),
        ("Instance", json!({"spec": {"interfaces": [{"name": "a", "network": "blue", "ips": ["10.0.0.5", "fd00::5"]}]}})),
        ("Instance", json!({"spec": {"interfaces": [
            {"name": "a", "network": "blue", "ips": ["10.0.0.5"]}, {"name": "b", "network": "red", "ips": ["10.0.0.5"]}]}})),
        ("Instance", json!({"spec": {"tolerations": [{"operator": "Exists"}], "userData": "x".repeat(16384)}})),
    ]
}

fn creations() -> Vec<Case> {
    [operators(), images(), key_pairs(), networks(), instances(), placement()].into_iter().flatten().collect()
}

/// Creates without keeping it, and with unknown fields refused.
async fn try_create(client: &Client, kind: &str, object: &Value) -> Result<Value, Refusal> {
    let path = format!("{}?dryRun=All&fieldValidation=Strict", collection(kind, "default"));
    ask(client, "POST", &path, object).await
}

fn complaint(case: &Case, answer: &Result<Value, Refusal>) -> Option<String> {
    let Case { kind, change, says } = case;
    match answer {
        Err(refusal) if refusal.message.contains(says) && (400..=422).contains(&refusal.code) => None,
        Err(refusal) => Some(format!("{kind} with {change}\n  must say: {says}\n  said:     {}", refusal.message)),
        Ok(_) => Some(format!("{kind} with {change}\n  must say: {says}\n  was taken")),
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_a_sentence() {
    let client = lab().client().await.unwrap();
    let mut complaints = Vec::new();
    for case in creations() {
        let mut object = if matches!(case.kind, "Domain" | "Segment") { in_node_namespace(case.kind) } else { good(case.kind) };
        change(&mut object, &case.change);
        complaints.extend(complaint(&case, &try_create(&client, case.kind, &object).await));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The schema is looked at before the policies: any namespace does.
fn in_node_namespace(kind: &str) -> Value {
    good(kind)
}

#[tokio::test]
async fn what_is_good_is_taken() {
    let client = lab().client().await.unwrap();
    let as_it_is = KINDS.iter().filter(|kind| !matches!(**kind, "Domain" | "Segment")).map(|kind| (*kind, json!({})));
    for (kind, patch) in as_it_is.chain(accepted()) {
        let mut object = good(kind);
        change(&mut object, &patch);
        if object["spec"].is_null() {
            object["spec"] = json!({});
        }
        if let Err(refusal) = try_create(&client, kind, &object).await {
            panic!("{kind} with {patch} was refused: {}", refusal.message);
        }
    }
}

#[tokio::test]
async fn what_is_immutable_stays() {
    let client = lab().client().await.unwrap();
    for kind in updates().iter().map(|case| case.kind).collect::<BTreeSet<_>>() {
        let mut object = good(kind);
        object["metadata"]["name"] = json!("immutable");
        ask(&client, "POST", &collection(kind, "default"), &object).await.unwrap();
    }
    let mut complaints = Vec::new();
    for case in updates() {
        let path = format!("{}/immutable?dryRun=All", collection(case.kind, "default"));
        complaints.extend(complaint(&case, &ask(&client, "PATCH", &path, &case.change).await));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));

    let mutable = json!({"spec": {"power": "Off", "restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "tolerations": null}});
    ask(&client, "PATCH", &format!("{}/immutable", collection("Instance", "default")), &mutable).await.unwrap();
    let mut live = subnet();
    change(&mut live, &json!({"dns": ["10.0.0.2"], "ranges": null, "routes": null}));
    let mutable = json!({"spec": {"subnets": [live]}});
    ask(&client, "PATCH", &format!("{}/immutable", collection("Network", "default")), &mutable).await.unwrap();
}

#[tokio::test]
async fn a_new_object_does_not_look_finished() {
    let client = lab().client().await.unwrap();
    for kind in ["ClusterImage", "Hypervisor", "Network", "Image", "KeyPair", "Instance"] {
        let answer = try_create(&client, kind, &good(kind)).await.unwrap();
        assert_eq!(answer["status"], json!({"observedGeneration": -1}), "{kind}");
    }
}

/// Every message of a rule in the definitions has a case of its kind.
#[test]
fn every_rule_has_a_case() {
    let cases: BTreeSet<(String, String)> =
        creations().iter().chain(&updates()).map(|case| (case.kind.to_owned(), case.says.to_owned())).collect();
    let mut rules = BTreeSet::new();
    for crd in kilonova_crds::schema::definitions().unwrap() {
        messages(&serde_json::to_value(&crd.spec.versions).unwrap(), &crd.spec.names.kind, &mut rules);
    }
    assert!(rules.len() > 40, "the rules are found: {}", rules.len());
    let without: Vec<_> = rules.difference(&cases).collect();
    assert!(without.is_empty(), "rules without a case: {without:#?}");
}

fn messages(schema: &Value, kind: &str, into: &mut BTreeSet<(String, String)>) {
    match schema {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                into.insert((kind.to_owned(), rule["message"].as_str().unwrap_or("a rule without a message").to_owned()));
            }
            fields.values().for_each(|value| messages(value, kind, into));
        }
        Value::Array(items) => items.iter().for_each(|value| messages(value, kind, into)),
        _ => {}
    }
}
