//! Kilonova's own part of the cluster: CRDs, RBAC, admission policies, Nodes and credentials.
//!
//! Controllers and agents get what the chart gives them and no more: a token of their `ServiceAccount`, the agent's
//! bound to its Node.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, Node as KubeNode, ServiceAccount},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kilonova_crds::names;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    kubeconfig::{self, User},
    manifests::{self, AGENTS_NAMESPACE, SYSTEM_NAMESPACE},
    objects::{apply_all, delete_all, object},
    options::NodeOptions,
    pki::{Pki, write_private},
    policies,
};
use crate::{
    Error, Result,
    wait::{GENEROUS, wait_for},
};

/// How long the lab's tokens are good for: as long as anybody may leave `make up` running.
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

/// Namespaces of the system that are not there, and that [`install`] would therefore make.
///
/// # Errors
/// When the API server does not answer, or Helm is not built.
pub async fn missing_namespaces(client: &Client) -> Result<Vec<String>> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut missing = Vec::new();
    for namespace in system(client, false).await?.0 {
        let name = namespace.name_any();
        let failed = Error::api(format!("read the Namespace {name}"));
        if api.get_opt(&name).await.map_err(failed)?.is_none() {
            missing.push(name);
        }
    }
    Ok(missing)
}

/// Installs the CRDs, RBAC and policies of the charts, and waits until all of them are in force.
///
/// # Errors
/// When the API server refuses something, or Helm is not built.
pub async fn install(client: &Client) -> Result<()> {
    let mutating = serves_mutating_policies(client).await?;
    let (namespaces, mut others) = system(client, mutating).await?;
    others.extend(manifests::crds()?);
    apply_all(client, &namespaces).await?;
    apply_all(client, &others).await?;
    crds_established(client).await?;
    policies::in_force(client, mutating).await
}

/// Removes what [`install`] put there, of the Namespaces those named, and waits until they are gone. The CRDs stay: with
/// them all objects of theirs would go.
///
/// # Errors
/// When the API server refuses something.
pub async fn remove(client: &Client, made: &[String]) -> Result<()> {
    let mutating = serves_mutating_policies(client).await?;
    let (mut namespaces, others) = system(client, mutating).await?;
    namespaces.retain(|namespace| made.contains(&namespace.name_any()));
    delete_all(client, &others).await?;
    delete_all(client, &namespaces).await?;
    let api: Api<Namespace> = Api::all(client.clone());
    for name in made {
        wait_for(format!("the Namespace {name} to go"), GENEROUS, || async {
            match api.get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(found)) => Err(format!("{:?}", found.status)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
    }
    Ok(())
}

/// What the chart puts into this cluster, namespaces apart: they come first.
async fn system(
    client: &Client,
    mutating: bool,
) -> Result<(Vec<DynamicObject>, Vec<DynamicObject>)> {
    let namespace = object(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE},
    }))?;
    let version = client.apiserver_version().await;
    let version = version.map_err(Error::api("ask the API server's version"))?;
    let (mut namespaces, others): (Vec<_>, Vec<_>) =
        manifests::system(&version.git_version, mutating)
            .await?
            .into_iter()
            .partition(is_namespace);
    namespaces.push(namespace);
    Ok((namespaces, others))
}

fn is_namespace(object: &DynamicObject) -> bool {
    let types = object.types.as_ref();
    types.is_some_and(|types| types.kind == "Namespace")
}

/// `MutatingAdmissionPolicy` is served by default from 1.36 on, and a test may switch it off.
async fn serves_mutating_policies(client: &Client) -> Result<bool> {
    let group = "admissionregistration.k8s.io/v1";
    let served = client.list_api_group_resources(group).await;
    let served = served.map_err(Error::api(format!("list what {group} serves")))?;
    let name = "mutatingadmissionpolicies";
    Ok(served.resources.iter().any(|r| r.name == name))
}

async fn crds_established(client: &Client) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    wait_for("the CRDs to be established", GENEROUS, || async {
        let list = crds.list(&ListParams::default()).await;
        let list = list.map_err(|error| error.to_string())?;
        let waiting = list.items.iter().filter(|crd| !is_established(crd));
        let waiting: Vec<_> = waiting.map(ResourceExt::name_any).collect();
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(waiting.join(", "))
        }
    })
    .await
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let status = crd.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|list| {
        list.iter()
            .any(|c| c.type_ == "Established" && c.status == "True")
    })
}

/// Makes the Node of a node: ready, without the taint that admission puts on new ones.
pub(super) async fn create_node(client: &Client, node: &NodeOptions) -> Result<()> {
    let nodes: Api<KubeNode> = Api::all(client.clone());
    let mut labels: BTreeMap<String, String> = node.labels.iter().cloned().collect();
    for (key, value) in [
        ("kubernetes.io/hostname", node.name.as_str()),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
    ] {
        labels
            .entry(key.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    let failed = || Error::api(format!("create the Node {}", node.name));
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}});
    let object: KubeNode = serde_json::from_value(object).map_err(|source| Error::Json {
        what: "a Node".to_owned(),
        source,
    })?;
    nodes
        .create(&PostParams::default(), &object)
        .await
        .map_err(failed())?;
    let untainted = Patch::Merge(json!({"spec": {"taints": null}}));
    nodes
        .patch(&node.name, &PatchParams::default(), &untainted)
        .await
        .map_err(failed())?;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Lab", "message": "made by the lab"}]}});
    nodes
        .patch_status(&node.name, &PatchParams::default(), &Patch::Merge(ready))
        .await
        .map_err(failed())?;
    Ok(())
}

/// Writes the kubeconfig of a `ServiceAccount` of the chart's, its token in a file beside it.
pub(super) async fn credentials(
    client: &Client,
    pki: &Pki,
    account: &str,
    node: Option<&str>,
    to: &Path,
) -> Result<()> {
    let token = token(client, account, node).await?;
    let token_file = to.with_extension("token");
    write_private(&token_file, &token)?;
    kubeconfig::write(
        to,
        &kubeconfig::lab_server(),
        pki,
        &User::TokenFile(&token_file),
    )
}

/// A token of a `ServiceAccount` of the chart's, bound to a Node where one is named.
///
/// # Errors
/// When the API server gives none.
pub async fn token(client: &Client, account: &str, node: Option<&str>) -> Result<String> {
    let namespace = if account == names::AGENT_SERVICE_ACCOUNT {
        AGENTS_NAMESPACE
    } else {
        SYSTEM_NAMESPACE
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let failed = || {
        Error::api(format!(
            "get a token of the ServiceAccount {namespace}/{account}"
        ))
    };
    let bound_object_ref = match node {
        None => None,
        Some(name) => {
            let object = Api::<KubeNode>::all(client.clone())
                .get(name)
                .await
                .map_err(failed())?;
            Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(name.to_owned()),
                uid: object.uid(),
            })
        }
    };
    let spec = TokenRequestSpec {
        expiration_seconds: Some(TOKEN_SECONDS),
        bound_object_ref,
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest {
        spec: Some(spec),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await;
    let token = answer
        .map_err(failed())?
        .status
        .and_then(|status| status.token);
    token.ok_or_else(|| Error::Missing {
        what: format!("the token of {account}"),
        remedy: "the API server gave an empty answer".to_owned(),
    })
}
