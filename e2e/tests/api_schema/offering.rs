//! What the operator offers, images and keys.

use serde_json::{Value, json};

use crate::{Case, api_common, api_common::checksum, case, long_name, spec};

const MEMORY: &str = "memory is between 16Mi and 64Ti";
const DISK: &str = "disk is between 1Mi and 1Pi";

/// The operator's kinds, and the kinds between controllers and agents.
pub fn operators() -> Vec<Case> {
    let ratio = "an overcommit ratio is a decimal number above 0, such as \"4.0\"";
    let ratio_1 = "an overcommit ratio is a decimal number above 0, such as \"1.0\"";
    vec![
        case(
            "Flavor",
            long_name(),
            "a Flavor's name has at most 63 characters",
        ),
        spec(
            "Flavor",
            json!({"vcpus": null}),
            "spec.vcpus: Required value",
        ),
        spec(
            "Flavor",
            json!({"vcpus": 0}),
            "spec.vcpus in body should be greater than or equal to 1",
        ),
        spec(
            "Flavor",
            json!({"vcpus": 513}),
            "spec.vcpus in body should be less than or equal to 512",
        ),
        spec(
            "Flavor",
            json!({"vcpus": null, "cores": 1}),
            "unknown field \"spec.cores\"",
        ),
        spec("Flavor", json!({"memory": "15Mi"}), MEMORY),
        spec("Flavor", json!({"memory": "65Ti"}), MEMORY),
        spec("Flavor", json!({"memory": -1}), MEMORY),
        spec(
            "Flavor",
            json!({"memory": "2 GB"}),
            "spec.memory in body should match",
        ),
        spec("Flavor", json!({"disk": 0}), DISK),
        spec("Flavor", json!({"disk": "1025Ti"}), DISK),
        case("Hypervisor", json!({"spec": null}), "spec: Required value"),
        spec("Hypervisor", json!({"overcommit": {"cpu": "0.0"}}), ratio),
        spec("Hypervisor", json!({"overcommit": {"cpu": "many"}}), ratio),
        spec(
            "Hypervisor",
            json!({"overcommit": {"memory": "-1"}}),
            ratio_1,
        ),
        spec("Hypervisor", json!({"overcommit": {"disk": "0"}}), ratio_1),
        spec(
            "Hypervisor",
            json!({"reserved": {"memory": "65Ti"}}),
            "reserved memory is between 0 and 64Ti",
        ),
        spec(
            "Hypervisor",
            json!({"reserved": {"disk": -1}}),
            "reserved disk is between 0 and 64Pi",
        ),
        case(
            "Domain",
            json!({"spec": {"disposition": "Forget"}}),
            "spec.disposition: Unsupported value",
        ),
        case(
            "Segment",
            json!({"spec": {"network": {"uid": null}}}),
            "spec.network.uid: Required value",
        ),
    ]
}

/// Images, of both scopes.
pub fn images() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in ["Image", "ClusterImage"] {
        let http = |change: Value| json!({"source": {"http": change}});
        let url = "url is an http or https address such as https://example.org/debian-12.qcow2";
        let digits =
            "checksum is sha256: and 64, or sha512: and 128 hexadecimal digits in lower case";
        let credentials = "url carries no credentials: who can read the image would read them";
        let needs = |change: Value| json!({"requirements": change});
        cases.extend([
            spec(
                kind,
                json!({"source": {"http": null}}),
                "spec.source.http: Required value",
            ),
            spec(
                kind,
                http(json!({"checksum": null})),
                "spec.source.http.checksum: Required value",
            ),
            spec(kind, http(json!({"checksum": "sha256:0A"})), digits),
            spec(
                kind,
                http(json!({"checksum": checksum().to_uppercase()})),
                digits,
            ),
            spec(
                kind,
                http(json!({"checksum": "md5:d41d8cd98f00b204e9800998ecf8427e"})),
                digits,
            ),
            spec(kind, http(json!({"url": "file:///etc/shadow"})), url),
            spec(kind, http(json!({"url": "debian-12.qcow2"})), url),
            spec(kind, http(json!({"url": "https:///debian-12.qcow2"})), url),
            spec(
                kind,
                http(json!({"url": "https://ana:secret@example.org/a.qcow2"})),
                credentials,
            ),
            spec(
                kind,
                json!({"format": "vmdk"}),
                "spec.format: Unsupported value: \"vmdk\": supported values: \"qcow2\", \"raw\"",
            ),
            spec(
                kind,
                needs(json!({"minMemory": -1})),
                "minMemory is between 0 and 64Ti",
            ),
            spec(
                kind,
                needs(json!({"minDisk": "99999999999E"})),
                "minDisk is between 0 and 1Pi",
            ),
            spec(
                kind,
                needs(json!({"architecture": "sparc"})),
                "architecture is x86_64 or aarch64",
            ),
            spec(
                kind,
                needs(json!({"virtualizationType": "xen"})),
                "spec.requirements.virtualizationType: Unsupported value",
            ),
        ]);
    }
    cases.push(case(
        "Image",
        long_name(),
        "an Image's name has at most 63 characters",
    ));
    cases.push(case(
        "ClusterImage",
        long_name(),
        "a ClusterImage's name has at most 63 characters",
    ));
    cases
}

/// Keys.
pub fn key_pairs() -> Vec<Case> {
    let form = "publicKey is no public key in OpenSSH's form (ssh-ed25519 AAAA… comment); never give a private key";
    let with = |key: &str| json!({"publicKey": key});
    let good_key = api_common::PUBLIC_KEY;
    vec![
        case(
            "KeyPair",
            long_name(),
            "a KeyPair's name has at most 63 characters",
        ),
        spec(
            "KeyPair",
            with("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n"),
            form,
        ),
        spec(
            "KeyPair",
            with("ssh-dss AAAAB3NzaC1kc3MAAACBAOeB4bW9ja2tleW1vY2trZXltb2Nra2V5bW9ja2tl"),
            form,
        ),
        spec("KeyPair", with(&format!("{good_key}\nssh-rsa AAAA")), form),
        spec("KeyPair", with(&format!("command=\"sh\" {good_key}")), form),
        spec("KeyPair", with(""), form),
    ]
}
