//! `KILONOVA_CLUSTER=existing make up`, pointed at a control plane that has nothing of Kilonova's.

use std::{fs, path::Path, time::Duration};

use kilonova_e2e::{
    lab::{Lab, LabOptions, NodeOptions, network},
    process::{Output, run_for},
    repo,
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

/// Policies take some seconds until they are in force.
const LIMIT: Duration = Duration::from_mins(3);

/// The admin's kubeconfig, as it leads there from a node.
fn kubeconfig(lab: &Lab) -> std::path::PathBuf {
    let text = fs::read_to_string(lab.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let server = format!("https://{}:{}", network::CONTROL_PLANE, network::API_PORT);
    config["clusters"][0]["cluster"]["server"] = json!(server);
    let path = lab.dir().join("from-node.kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// Runs the lab's program on the node, as `make` does on a machine of the user's.
async fn kilonova_lab(lab: &Lab, dir: &Path, command: &str, node: &str) -> Output {
    let program = repo::lab_binary().unwrap();
    let mut call = lab.node(0).command([program.to_str().unwrap(), command]);
    call.env("KILONOVA_CLUSTER", "existing")
        .env("KUBECONFIG", kubeconfig(lab))
        .env("KILONOVA_EXISTING_DIR", dir)
        .env("KILONOVA_VIRT_TYPE", "qemu")
        .env("NODE_NAME", node);
    run_for(call, "", LIMIT).await.unwrap()
}

async fn get(lab: &Lab, what: &[&str]) -> Output {
    lab.kubectl(&[&["get"], what].concat()).await.unwrap()
}

#[tokio::test]
async fn controllers_and_agent_for_a_cluster_of_the_users_come_and_go() {
    let node = NodeOptions {
        agent: false,
        ..NodeOptions::new("node-1")
    };
    let lab = Lab::start(LabOptions::bare("existing").node(node))
        .await
        .unwrap();
    let dir = lab.dir().join("existing");
    let refused = kilonova_lab(&lab, &dir, "up", "nobody").await;
    assert!(!refused.success());
    let sentence = "set NODE_NAME to its name there";
    assert!(refused.stderr.contains(sentence), "{}", refused.stderr);
    let crds = get(&lab, &["crds", "-o", "name"]).await.checked().unwrap();
    assert_eq!(crds.stdout, "", "nothing is changed before all is there");

    let up = kilonova_lab(&lab, &dir, "up", "node-1").await;
    up.checked().unwrap();
    let again = kilonova_lab(&lab, &dir, "up", "node-1").await;
    let again = again.checked().unwrap();
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(said.contains("up already"), "{said}");
    let hypervisor = get(&lab, &["hv", "node-1", "-o", "wide"]).await;
    hypervisor.checked().unwrap();
    let instance = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance",
        "metadata": {"name": "web-1", "namespace": "default"},
        "spec": {"flavor": "none", "image": {"kind": "Image", "name": "none"}},
    });
    let applied = lab.apply(&instance.to_string()).await.unwrap();
    applied.checked().unwrap();
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}";
    wait_for("the controllers to look at it", GENEROUS, || async {
        let reason = get(&lab, &["inst", "web-1", "-o", path]).await.stdout;
        (reason == "FlavorMissing").then_some(()).ok_or(reason)
    })
    .await
    .unwrap();
    let deleted = lab.kubectl(["delete", "inst", "web-1"]).await.unwrap();
    deleted.checked().unwrap();
    for file in [
        "credentials/kilonova-agent.token",
        "credentials/kilonova-agent.kubeconfig",
    ] {
        let mode = fs::metadata(dir.join(file)).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
        assert_eq!(mode & 0o077, 0, "{file}");
    }

    let down = kilonova_lab(&lab, &dir, "down", "node-1").await;
    down.checked().unwrap();
    assert!(!dir.exists());
    for program in ["kilonova-agent", "kilonova-contr"] {
        let left = run_for(lab.node(0).command(["pgrep", program]), "", GENEROUS);
        let left = left.await.unwrap();
        assert_eq!(left.stdout, "", "{program} runs");
    }
    let gone = ["hv/node-1", "clusterrole/kilonova-controllers"];
    for object in gone {
        let found = get(&lab, &[object]).await;
        assert!(
            !found.success() && found.stderr.contains("NotFound"),
            "{found:?}"
        );
    }
    let kept = get(&lab, &["crd", "instances.kilonova.dev"]).await;
    kept.checked().unwrap();
    for namespace in ["kilonova-system", "kilonova-node-node-1"] {
        wait_for(format!("{namespace} to be gone"), GENEROUS, || async {
            let found = get(&lab, &["namespace", namespace]).await;
            (!found.success()).then_some(()).ok_or(found.stdout)
        })
        .await
        .unwrap();
    }
}
