//! One control plane for all tests of this program, with the charts installed by Helm as a person does it.

use std::{path::PathBuf, sync::OnceLock};

use kilonova_e2e::{
    build::Helm,
    lab::{Lab, LabOptions},
    process::Output,
    repo,
    wait::{GENEROUS, wait_for},
};

/// Where the charts are installed.
pub const NAMESPACE: &str = "kilonova-system";

/// The control plane, both charts installed.
pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Option<Lab>> = OnceLock::new();
    let made = LAB.get_or_init(|| {
        // On a thread of its own: the test that comes here is inside a runtime already.
        let work = || tokio::runtime::Runtime::new().unwrap().block_on(make());
        std::thread::scope(|scope| scope.spawn(work).join().ok())
    });
    made.as_ref()
        .expect("the first test says why there is none")
}

async fn make() -> Lab {
    let lab = Lab::start(LabOptions::bare("chart")).await.unwrap();
    // Without the CRDs the chart refuses, and says what to do.
    let early = install(&lab, "kilonova", &[]).await;
    assert!(!early.success());
    let says = "instances.kilonova.dev is not there: install the chart kilonova-crds first";
    assert!(early.stderr.contains(says), "{}", early.stderr);
    for name in ["kilonova-crds", "kilonova"] {
        install(&lab, name, &[]).await.checked().unwrap();
    }
    served(&lab).await;
    lab
}

/// Waits until the API server serves the objects: some time after their CRDs were made.
pub async fn served(lab: &Lab) {
    let kinds =
        "instances,networks,images,keypairs,flavors,networkclasses,clusterimages,hypervisors";
    wait_for("the API server to serve our objects", GENEROUS, || async {
        let output = lab.kubectl(["get", kinds, "--all-namespaces"]).await;
        output.and_then(Output::checked)
    })
    .await
    .unwrap();
}

/// `helm upgrade --install`.
pub async fn install(lab: &Lab, name: &str, more: &[&str]) -> Output {
    let chart = chart(name).display().to_string();
    let mut args = vec!["upgrade", "--install", name, &chart];
    args.extend(["--namespace", NAMESPACE, "--create-namespace"]);
    args.extend(more);
    lab.helm(args).await.unwrap()
}

/// The directory of a chart.
pub fn chart(name: &str) -> PathBuf {
    repo::root().join("charts").join(name)
}

/// Helm without a cluster.
pub async fn helm(args: &[&str]) -> Output {
    let mut command = Helm::find().unwrap().command();
    command.args(args);
    kilonova_e2e::process::run(command, "").await.unwrap()
}

/// What the chart renders without a cluster.
pub async fn template(more: &[&str]) -> Output {
    let chart = chart("kilonova").display().to_string();
    let mut args = vec!["template", "kilonova", &chart, "--namespace", NAMESPACE];
    args.extend(["--kube-version", "1.36.0"]);
    args.extend(more);
    helm(&args).await
}

/// The documents of a rendered chart.
pub fn documents(rendered: &str) -> Vec<serde_json::Value> {
    rendered
        .split("\n---")
        .filter(|document| document.contains("\nkind:"))
        .map(|document| serde_saphyr::from_str(document.trim_start_matches("---")).unwrap())
        .collect()
}
