//! Install, upgrade, uninstall, as far as objects go.

use kilonova_e2e::{
    build::program,
    lab::{Lab, LabOptions},
    process::run,
    wait::{GENEROUS, wait_for},
};
use serde_json::Value;

use crate::world::{NAMESPACE, install, lab, served};

async fn get(lab: &Lab, line: &str) -> Value {
    let args = line.split(' ').chain(["-o", "json"]);
    let output = lab.kubectl(args).await.unwrap().checked().unwrap();
    serde_json::from_str(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_defaults_are_taken_by_the_server_and_say_what_to_do_next() {
    let lab = lab();
    let dry = install(lab, "kilonova", &["--dry-run=server"])
        .await
        .checked()
        .unwrap();
    for says in [
        "helm test kilonova --namespace kilonova-system",
        "reason=FailedCreate",
        "stops no guest and removes no disk",
        "kubectl delete instances --all --all-namespaces",
        "WARNING: blockedCIDRs is empty for node group default.",
        "WARNING: images of tenants are fetched from any address",
    ] {
        assert!(dry.stdout.contains(says), "{says}: {}", dry.stdout);
    }
    let kept = [
        "--dry-run=server",
        "--set",
        "agents.defaults.blockedCIDRs={10.96.0.0/12}",
    ];
    let dry = install(lab, "kilonova", &kept).await.checked().unwrap();
    assert!(!dry.stdout.contains("WARNING"), "{}", dry.stdout);
    let agents = get(lab, "get namespace kilonova-agents").await;
    let labels = &agents["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "privileged");
    let budget = get(
        lab,
        "--namespace kilonova-system get pdb kilonova-controllers",
    )
    .await;
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let levels = get(lab, "get prioritylevelconfigurations").await;
    let ours = levels["items"].as_array().unwrap().iter();
    let ours = ours.filter(|l| {
        l["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("kilonova-")
    });
    assert_eq!(ours.count(), 3);
    for schema in [
        "kilonova-controllers",
        "kilonova-agent-leases",
        "kilonova-agents",
    ] {
        let schema = get(lab, &format!("get flowschema {schema}")).await;
        let dangling = schema["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let mut dangling = dangling.filter(|c| c["type"] == "Dangling" && c["status"] == "True");
        assert!(dangling.next().is_none(), "{schema}");
    }
}

#[tokio::test]
async fn the_check_says_what_is_not_ready() {
    let lab = lab();
    // Nothing makes pods here.
    let says = [
        "not ready: controllers: 0 of 2 are ready",
        "not ready: node group default: its DaemonSet was not looked at yet",
    ];
    wait_for("the check to say so", GENEROUS, || async {
        let mut command = std::process::Command::new(program("kilonova-controllers").unwrap());
        command.args(["check", "--timeout-seconds", "0", "--kubeconfig"]);
        command.arg(lab.kubeconfig());
        let output = run(command, "").await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        if says.iter().all(|words| output.stdout.contains(words)) {
            Ok(())
        } else {
            Err(output.stdout)
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn pods_are_what_pod_security_lets_in() {
    let lab = lab();
    let pod = get(
        lab,
        "--namespace kilonova-system get deployment kilonova-controllers",
    )
    .await;
    let template = &pod["spec"]["template"];
    let strict = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict",
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}"#;
    lab.apply(strict).await.unwrap().checked().unwrap();
    let mut spec = template["spec"].clone();
    spec["serviceAccountName"] = "default".into();
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "as-controllers", "namespace": "strict"}, "spec": spec});
    lab.apply(&pod.to_string())
        .await
        .unwrap()
        .checked()
        .unwrap();
}

#[tokio::test]
async fn upgraded_uninstalled_and_installed_again() {
    let lab = Lab::start(LabOptions::bare("chart-life")).await.unwrap();
    for name in ["kilonova-crds", "kilonova"] {
        install(&lab, name, &[]).await.checked().unwrap();
    }
    let more = [
        "--set",
        "controllers.replicas=3",
        "--set",
        "agents.groups.fast.nodeSelector.disk=fast",
    ];
    install(&lab, "kilonova", &more).await.checked().unwrap();
    let deployment = get(
        &lab,
        "--namespace kilonova-system get deployment kilonova-controllers",
    )
    .await;
    assert_eq!(deployment["spec"]["replicas"], 3);
    let sets = get(&lab, "--namespace kilonova-agents get daemonsets").await;
    assert_eq!(sets["items"].as_array().unwrap().len(), 2);
    // CRDs of an earlier version are not enough.
    let old = [
        "annotate",
        "--overwrite",
        "crd",
        "instances.kilonova.dev",
        "kilonova.dev/version=0.0.1",
    ];
    lab.kubectl(old).await.unwrap().checked().unwrap();
    let refused = install(&lab, "kilonova", &[]).await;
    let says = concat!(
        "is of version 0.0.1, and this is ",
        env!("CARGO_PKG_VERSION"),
        ": upgrade the chart kilonova-crds first"
    );
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    // Those of a later one are, and are told of.
    let new = old.map(|word| word.replace("0.0.1", "0.9.0"));
    lab.kubectl(new).await.unwrap().checked().unwrap();
    let warned = install(&lab, "kilonova", &[]).await.checked().unwrap();
    let says = concat!(
        "are of version 0.9.0, and this is ",
        env!("CARGO_PKG_VERSION"),
        ", which does not know all"
    );
    assert!(warned.stdout.contains(says), "{}", warned.stdout);
    install(&lab, "kilonova-crds", &["--force"])
        .await
        .checked()
        .unwrap();

    served(&lab).await;
    let flavor = r#"{"apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": "kept"},
        "spec": {"vcpus": 1, "memory": "256Mi", "disk": "1Gi"}}"#;
    lab.apply(flavor).await.unwrap().checked().unwrap();
    for name in ["kilonova", "kilonova-crds"] {
        let args = ["uninstall", name, "--namespace", NAMESPACE];
        lab.helm(args).await.unwrap().checked().unwrap();
    }
    let crds = get(&lab, "get crds").await;
    assert_eq!(crds["items"].as_array().unwrap().len(), 10, "CRDs are kept");
    get(&lab, "get flavor kept").await;
    let policies = get(&lab, "get validatingadmissionpolicies").await;
    assert_eq!(policies["items"], serde_json::json!([]));
    lab.kubectl([
        "wait",
        "--for=delete",
        "namespace/kilonova-agents",
        "--timeout=60s",
    ])
    .await
    .unwrap()
    .checked()
    .unwrap();
    for name in ["kilonova-crds", "kilonova"] {
        install(&lab, name, &[]).await.checked().unwrap();
    }
    get(&lab, "get flavor kept").await;
}
