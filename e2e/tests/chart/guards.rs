//! What is refused once the chart is installed, with the sentences that people read.

use kilonova_e2e::{
    lab::Lab,
    wait::{GENEROUS, wait_for},
};

use crate::world::lab;

/// An Instance, protected.
const PROTECTED: &str = r#"{"apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance", "metadata": {"name": "precious"},
    "spec": {"flavor": "small", "image": {"kind": "ClusterImage", "name": "tiny"}, "deletionProtection": true}}"#;

async fn kubectl(lab: &Lab, line: &str) -> Result<String, String> {
    let output = lab.kubectl(line.split(' ')).await.unwrap();
    if output.success() {
        Ok(output.stdout)
    } else {
        Err(output.stderr)
    }
}

/// Policies are in force some seconds after they were written.
async fn refused(lab: &Lab, line: &str, says: &str) {
    wait_for(format!("{line} to be refused"), GENEROUS, || async {
        match kubectl(lab, &format!("{line} --dry-run=server")).await {
            Err(error) if error.contains(says) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_instances_depend_on_is_not_deleted_by_a_slip() {
    let lab = lab();
    let says = "kubectl annotate crd instances.kilonova.dev kilonova.dev/allow-delete=true";
    refused(lab, "delete crd instances.kilonova.dev", says).await;
    kubectl(
        lab,
        "annotate crd networks.kilonova.dev kilonova.dev/allow-delete=true",
    )
    .await
    .unwrap();
    kubectl(lab, "delete crd networks.kilonova.dev --dry-run=server")
        .await
        .unwrap();
    kubectl(
        lab,
        "annotate crd networks.kilonova.dev kilonova.dev/allow-delete-",
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_protected_instance_outlives_its_namespaces_deletion() {
    let lab = lab();
    kubectl(lab, "create namespace keeping").await.unwrap();
    let args = ["--namespace", "keeping", "apply", "-f", "-"];
    lab.kubectl_with(args, PROTECTED)
        .await
        .unwrap()
        .checked()
        .unwrap();
    let precious = "--namespace keeping delete instance precious";
    let says = r#"this Instance is protected from deletion; to lift that: kubectl patch instance precious --namespace keeping --type merge --patch '{"spec":{"deletionProtection":false}}'"#;
    refused(lab, precious, says).await;
    refused(lab, "--namespace keeping delete instances --all", says).await;

    kubectl(lab, "delete namespace keeping --wait=false")
        .await
        .unwrap();
    wait_for("the namespace to say what keeps it", GENEROUS, || async {
        let text = kubectl(lab, "get namespace keeping -o json").await?;
        let told = text.contains("NamespaceDeletionContentFailure")
            && text.contains("protected from deletion");
        if told { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();
    let lift = r#"--namespace keeping patch instance precious --type merge --patch {"spec":{"deletionProtection":false}}"#;
    kubectl(lab, lift).await.unwrap();
    // Nobody is there who would remove our finalizer, where the API server gave it one.
    let forced = r#"--namespace keeping patch instance precious --type merge --patch {"metadata":{"finalizers":null}}"#;
    kubectl(lab, forced).await.unwrap();
    wait_for("the namespace to be gone", GENEROUS, || async {
        match kubectl(lab, "get namespace keeping").await {
            Err(error) if error.contains("not found") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn orphans_are_given_away_by_operators_only() {
    let lab = lab();
    kubectl(lab, "create namespace adopting").await.unwrap();
    kubectl(
        lab,
        "create rolebinding ana --clusterrole admin --user ana --namespace adopting",
    )
    .await
    .unwrap();
    kubectl(
        lab,
        "create clusterrolebinding otto --clusterrole kilonova-override --user otto",
    )
    .await
    .unwrap();
    kubectl(
        lab,
        "create rolebinding otto --clusterrole edit --user otto --namespace adopting",
    )
    .await
    .unwrap();
    let instance = PROTECTED
        .replace("precious", "taker")
        .replace("true", "false");
    let args = ["--namespace", "adopting", "--as", "ana", "apply", "-f", "-"];
    wait_for("ana to be admin", GENEROUS, || async {
        let output = lab
            .kubectl_with(args, &instance)
            .await
            .map_err(|e| e.to_string())?;
        output.checked().map(drop).map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    let annotate =
        "--namespace adopting annotate instance taker kilonova.dev/adopt-orphan=some-uid";
    let says = "is said by an operator who may override policies";
    refused(lab, &format!("{annotate} --as ana"), says).await;
    kubectl(lab, &format!("{annotate} --as otto"))
        .await
        .unwrap();
    // What stands there may stay, and be taken away.
    kubectl(
        lab,
        "--namespace adopting label instance taker a=b --as ana",
    )
    .await
    .unwrap();
    kubectl(
        lab,
        "--namespace adopting annotate instance taker kilonova.dev/adopt-orphan- --as ana",
    )
    .await
    .unwrap();
}
