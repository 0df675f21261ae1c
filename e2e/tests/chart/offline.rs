//! What needs no cluster: lint, the schema of the values, what is rendered for whom.

use kilonova_e2e::build::program;
use serde_json::Value;

use crate::world::{chart, documents, helm, template};

/// Values that set everything which adds something to what is rendered.
const EVERYTHING: &[&str] = &[
    "image.registry=registry.example/cloud/",
    "image.pullSecrets[0].name=registry",
    "clusterID=old-cluster",
    "apiServer.host=api.example",
    "imageSources.allowCIDRs={127.0.0.0/8}",
    "imageSources.denyCIDRs={10.96.0.0/12,fd00::/8}",
    "controllers.placement.weights.ram=-1.5",
    "controllers.abandonedRetentionSeconds=never",
    "agents.defaults.blockedCIDRs={10.0.0.0/8}",
    "agents.defaults.allowedCIDRs={10.1.0.0/16}",
    "agents.defaults.physicalNetworks.physnet1=eth1",
    "agents.defaults.share.vcpus=8",
    "agents.defaults.share.memory=32Gi",
    "agents.defaults.share.disk=200Gi",
    "access.catalogGroups={system:authenticated}",
];

fn set(values: &[&str]) -> Vec<String> {
    values
        .iter()
        .flat_map(|value| ["--set".to_owned(), (*value).to_owned()])
        .collect()
}

async fn rendered(values: &[&str], more: &[&str]) -> Vec<Value> {
    let set = set(values);
    let set = set.iter().map(String::as_str);
    let args: Vec<_> = set.chain(more.iter().copied()).collect();
    let output = template(&args).await.checked().unwrap();
    documents(&output.stdout)
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|d| d["kind"] == kind).collect()
}

#[tokio::test]
async fn helm_lint_has_nothing_to_say() {
    let charts = ["kilonova", "kilonova-crds"].map(|name| chart(name).display().to_string());
    let output = helm(&["lint", "--strict", &charts[0], &charts[1]]).await;
    let output = output.checked().unwrap();
    assert!(!output.stdout.contains("[WARNING]"), "{}", output.stdout);
    let mut args = vec!["lint".to_owned(), "--strict".to_owned(), charts[0].clone()];
    args.extend(set(EVERYTHING));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    helm(&args).await.checked().unwrap();
}

#[tokio::test]
async fn wrong_values_are_refused_with_their_place() {
    for (value, says) in [
        (
            "controllers.replicas=0",
            "at '/controllers/replicas': minimum: got 0, want 1",
        ),
        (
            "controllers.replica=1",
            "at '/controllers': additional properties 'replica' not allowed",
        ),
        (
            "agents.groups.default.virtType=xen",
            "at '/agents/groups/default/virtType': value must be one of 'auto', 'kvm', 'qemu'",
        ),
        (
            "agents.groups.default.nodeselector.a=b",
            "at '/agents/groups/default': additional properties 'nodeselector' not allowed",
        ),
        (
            "agents.groups.Fast.starts=1",
            "'Fast' does not match pattern",
        ),
        (
            "agents.defaults.stateDir=images",
            "at '/agents/defaults/stateDir': 'images' does not match pattern",
        ),
        (
            "agents.defaults.physicalNetworks.physnet1=a=b",
            "at '/agents/defaults/physicalNetworks/physnet1': 'a=b' does not match pattern",
        ),
        (
            "agents.defaults.physicalNetworks.physnet1=a:b",
            "at '/agents/defaults/physicalNetworks/physnet1': 'a:b' does not match pattern",
        ),
        (
            "agents.defaults.physicalNetworks.physnet1=lo",
            "at '/agents/defaults/physicalNetworks/physnet1': 'not' failed",
        ),
        (
            concat!(
                "agents.defaults.physicalNetworks.",
                "a-name-of-more-than-sixty-three-characters-is-none-of-a-physical-",
                "network=eth1"
            ),
            "maxLength: got 72, want 63",
        ),
        (
            "agents.groups.default.blockedCIDRs={300.0.0.0/8}",
            "at '/agents/groups/default/blockedCIDRs/0': '300.0.0.0/8' does not match pattern",
        ),
        (
            "agents.defaults.transitCIDR=10.0.0.0/99",
            "at '/agents/defaults/transitCIDR': '10.0.0.0/99' does not match pattern",
        ),
        (
            "agents.defaults.share.vcpus=4097",
            "at '/agents/defaults/share/vcpus': maximum: got 4,097, want 4,096",
        ),
        (
            "agents.defaults.share.memory=much",
            "at '/agents/defaults/share/memory': 'much' does not match pattern",
        ),
        (
            "image.pullPolicy=Sometimes",
            "at '/image/pullPolicy': value must be one of",
        ),
        (
            "imageSources.denyCIDRs={10.0.0.1}",
            "at '/imageSources/denyCIDRs/0': '10.0.0.1' does not match pattern",
        ),
        (
            "controllers.abandonedRetentionSeconds=soon",
            "at '/controllers/abandonedRetentionSeconds'",
        ),
        (
            "controllers.placement.overcommit.cpu=0",
            "at '/controllers/placement/overcommit/cpu'",
        ),
        // What the schema cannot say.
        (
            "controllers.leaderElection.renewSeconds=8",
            "renewSeconds (8) must be less than half of leaseDurationSeconds (15)",
        ),
        (
            "agents.groups.default.stateDir=/run/kilonova",
            "stateDir of the node group default is below /run",
        ),
        (
            "agents.defaults.physicalNetworks.a=eth1,agents.defaults.physicalNetworks.b=eth1",
            "NIC eth1 of the node group default is in two physical networks, a and b",
        ),
    ] {
        let output = template(&["--set", value]).await;
        assert!(!output.success(), "{value} is taken");
        assert!(output.stderr.contains(says), "{value}: {}", output.stderr);
    }
}

#[tokio::test]
async fn an_old_cluster_is_refused_and_a_mutating_policy_is_for_those_who_serve_it() {
    let old = template(&["--kube-version", "1.31.9"]).await;
    assert!(
        old.stderr.contains("kubeVersion: >=1.32.0-0"),
        "{}",
        old.stderr
    );
    let kind = "MutatingAdmissionPolicy";
    assert!(of_kind(&rendered(&[], &[]).await, kind).is_empty());
    for version in ["v1", "v1beta1"] {
        let serves = format!("admissionregistration.k8s.io/{version}/{kind}");
        let documents = rendered(&[], &["--api-versions", &serves]).await;
        let policies = of_kind(&documents, kind);
        let expected = format!("admissionregistration.k8s.io/{version}");
        assert_eq!(policies.len(), 1);
        assert_eq!(policies[0]["apiVersion"], expected);
    }
}

#[tokio::test]
async fn node_groups_have_a_daemon_set_each_and_their_own_settings() {
    let values = [
        "agents.groups.default=null",
        "agents.groups.fast.nodeSelector.disk=fast",
        "agents.groups.fast.physicalNetworks.physnet1=eth1",
        "agents.groups.fast.physicalNetworks.physnet2=bond0",
        "agents.groups.fast.share.vcpus=4",
        "agents.groups.plain.virtType=qemu",
        "agents.namespace.name=virt",
    ];
    let documents = rendered(&values, &[]).await;
    let groups = of_kind(&documents, "DaemonSet");
    let names: Vec<_> = groups.iter().map(|g| &g["metadata"]["name"]).collect();
    let expected = [
        "kilonova-agent-fast",
        "kilonova-agent-plain",
        "kilonova-share-fast",
    ];
    assert_eq!(names, expected);
    assert_eq!(groups[0]["metadata"]["namespace"], "virt");
    let pod = |at: usize| &groups[at]["spec"]["template"]["spec"];
    // A selector replaces the default's.
    assert_eq!(pod(0)["nodeSelector"], serde_json::json!({"disk": "fast"}));
    assert_eq!(
        pod(1)["nodeSelector"],
        serde_json::json!({"kubernetes.io/os": "linux"})
    );
    assert_eq!(
        environment(pod(0))["KILONOVA_PHYSICAL_NETWORKS"],
        "physnet1=eth1,physnet2=bond0"
    );
    assert_eq!(environment(pod(0))["KILONOVA_SHARE_VCPUS"], "4");
    assert_eq!(environment(pod(1))["KILONOVA_VIRT_TYPE"], "qemu");
    assert_eq!(
        of_kind(&documents, "Namespace")[0]["metadata"]["name"],
        "virt"
    );
    // The policies know the agents by where they are.
    let policies =
        serde_json::to_string(&of_kind(&documents, "ValidatingAdmissionPolicy")).unwrap();
    assert!(policies.contains("system:serviceaccount:virt:kilonova-agent"));
    assert!(!policies.contains("kilonova-agents:"));
}

#[tokio::test]
async fn no_tenants_image_comes_from_what_instances_do_not_reach() {
    let values = [
        "imageSources.denyCIDRs={10.96.0.0/12}",
        "imageSources.allowCIDRs={10.0.7.0/24}",
        "agents.defaults.blockedCIDRs={10.244.0.0/16,10.96.0.0/12}",
        "agents.groups.rack1.blockedCIDRs={10.0.0.0/16}",
    ];
    let documents = rendered(&values, &[]).await;
    let mut pods = of_kind(&documents, "Deployment");
    pods.extend(of_kind(&documents, "DaemonSet"));
    assert_eq!(pods.len(), 3, "controllers and two groups");
    for pod in pods {
        let environment = environment(&pod["spec"]["template"]["spec"]);
        let denied = "10.96.0.0/12,10.244.0.0/16,10.0.0.0/16";
        assert_eq!(environment["KILONOVA_IMAGE_DENY_CIDRS"], denied);
        assert_eq!(environment["KILONOVA_IMAGE_ALLOW_CIDRS"], "10.0.7.0/24");
    }
}

fn environment(pod: &Value) -> std::collections::BTreeMap<&str, &str> {
    let variables = pod["containers"][0]["env"].as_array().unwrap();
    variables
        .iter()
        .map(|v| {
            (
                v["name"].as_str().unwrap(),
                v["value"].as_str().unwrap_or(""),
            )
        })
        .collect()
}

#[tokio::test]
async fn the_programs_know_every_variable_that_they_are_given() {
    let documents = rendered(EVERYTHING, &[]).await;
    let pods = [
        (
            "kilonova-controllers",
            &of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"],
        ),
        (
            "kilonova-agent",
            &of_kind(&documents, "DaemonSet")[0]["spec"]["template"]["spec"],
        ),
    ];
    for (name, pod) in pods {
        let help = std::process::Command::new(program(name).unwrap())
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let environment = environment(pod);
        assert!(environment.len() > 8, "{environment:?}");
        for variable in environment.keys() {
            // Those that the logs and the client library read.
            let known = *variable == "RUST_LOG"
                || variable.starts_with("KUBERNETES_SERVICE_")
                || help.contains(&format!("[env: {variable}="));
            assert!(known, "{name} does not know {variable}");
        }
    }
}

#[tokio::test]
async fn pods_have_no_more_rights_than_they_need() {
    let documents = rendered(EVERYTHING, &[]).await;
    let mut pods = of_kind(&documents, "Pod");
    pods.extend(of_kind(&documents, "Deployment"));
    assert_eq!(pods.len(), 2, "controllers and the test's");
    for pod in pods {
        let spec = if pod["kind"] == "Pod" {
            &pod["spec"]
        } else {
            &pod["spec"]["template"]["spec"]
        };
        let container = &spec["containers"][0]["securityContext"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            spec["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(
            container["capabilities"]["drop"],
            serde_json::json!(["ALL"])
        );
    }
    let agent = &of_kind(&documents, "DaemonSet")[0]["spec"]["template"]["spec"];
    assert_eq!(agent["hostNetwork"], true);
    assert_eq!(agent["priorityClassName"], "system-node-critical");
    let container = &agent["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let run = &container["volumeMounts"][0];
    assert_eq!(
        (&run["mountPath"], &run["mountPropagation"]),
        (&"/run".into(), &"Bidirectional".into())
    );
    for volume in agent["volumes"].as_array().unwrap() {
        let kind = &volume["hostPath"]["type"];
        assert!(kind.is_null() || kind == "DirectoryOrCreate", "{volume}");
    }
}
