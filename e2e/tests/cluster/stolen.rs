//! What whoever is root on a node can do to the rest of the cluster with the tokens that he finds there.

use std::{fs, path::PathBuf, time::Instant};

use axum::http::Request;
use futures::{StreamExt as _, stream};
use kilonova_crds::names;
use kilonova_e2e::{
    cloud::Cloud,
    lab::{AGENTS_NAMESPACE, SYSTEM_NAMESPACE, write_private},
    process::Output,
};
use kube::{Client, Error};
use serde_json::{Value, json};

use crate::{
    cloud,
    hand::{kubectl, took},
    one_on_each,
};

/// Requests at a time.
const CONCURRENCY: usize = 16;
/// What Kubernetes lets everybody ask about himself.
const ONESELF: &str = "selfsubject";
/// What the agent's own account may ask for; policies keep it to its node, see below.
const REPORTS: &str = "hypervisors";
/// The account of a node namespace.
const ACCOUNT: &str = "kilonova-node";

#[tokio::test]
async fn a_nodes_tokens_are_good_for_nothing_outside_its_node_namespace() {
    let (_alone, cloud) = cloud().await;
    let cluster = cloud.cluster().unwrap();
    let (node, other) = (cluster.node(0).name(), cluster.node(1).name());
    let (own, others) = (names::node_namespace(node), names::node_namespace(other));
    let shop = cloud.tenant("stolen").await.unwrap();
    let instances = one_on_each(&cloud, &shop).await;

    let agent = Thief::new(&cloud, "agent", &pods_token(&cloud, node).await);
    let token = ["create", "token", ACCOUNT, "-n"];
    let token = |namespace| token.into_iter().chain([namespace]);
    let node_token = agent.kubectl(token(&own)).await.checked().unwrap().stdout;
    let node_token = Thief::new(&cloud, "node", node_token.trim());
    let mine = ["get", "domains.node.kilonova.dev", "-n", &own, "-o", "name"];
    let mine = node_token.kubectl(mine).await.checked().unwrap().stdout;
    assert_eq!(mine.lines().count(), 1, "{mine}");

    // Every resource and verb that there is, in the places where something is to be had.
    let start = Instant::now();
    let admin = cloud.client();
    let resources = resources(&admin).await;
    let places = [
        shop.namespace(),
        SYSTEM_NAMESPACE,
        AGENTS_NAMESPACE,
        &others,
    ];
    let attempts: Vec<_> = resources.iter().flat_map(|r| r.attempts(&places)).collect();
    assert!(attempts.len() > 1000, "{}", attempts.len());
    node_token.is_refused(&attempts, &[ONESELF]).await;
    agent.is_refused(&attempts, &[ONESELF, REPORTS]).await;
    took(&format!("{} requests", 2 * attempts.len()), start);

    // What policies refuse, and RBAC alone would not.
    let not_own = "an agent may ask for the token of its own node namespace only";
    agent.is_told(token(&others), not_own).await;
    let not_own = "an agent may report the Hypervisor of its own node only";
    let label = ["label", "hypervisor", other, "stolen=yes"];
    agent.is_told(label, not_own).await;
    // As an agent does it: without reading it first, which it may not.
    let status = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor",
        "metadata": {"name": other}, "status": {"conditions": []},
    });
    let apply = ["apply", "--server-side", "--subresource=status", "-f", "-"];
    let output = agent.kubectl_with(apply, &status.to_string()).await;
    refused(&output, not_own);
    let cordon = r#"{"spec": {"unschedulable": true}}"#;
    let patch = ["patch", "hypervisor", node, "--type=merge", "-p", cordon];
    agent
        .is_told(patch, "a Hypervisor's spec is the operator's")
        .await;

    // Nor in its own namespace what is not the agent's: orders come from the controllers.
    let domain = mine.lines().next().unwrap();
    for words in [
        vec!["delete", domain, "-n", &own],
        vec!["label", domain, "stolen=yes", "-n", &own],
        vec![
            "annotate",
            "namespace",
            &own,
            "kilonova.dev/node=node-2",
            "--overwrite",
        ],
        vec!["get", "secrets", "-n", &own],
    ] {
        node_token.is_told(words, "is forbidden").await;
    }
    for instance in &instances {
        instance.ready("Running").await.unwrap();
    }
    shop.close().await.unwrap();
}

/// The token of the agent's pod on a node, as the kubelet keeps it there.
async fn pods_token(cloud: &Cloud, node: &str) -> String {
    let there = format!("spec.nodeName={node}");
    let uid = [
        "-o",
        "jsonpath={.items[0].metadata.uid}",
        "--field-selector",
        &there,
    ];
    let args = ["get", "pods", "-n", AGENTS_NAMESPACE];
    let uid = kubectl(cloud, args.into_iter().chain(uid)).await;
    let token = "volumes/kubernetes.io~projected/kube-api-access-*/token";
    let node = cloud.machine(node).unwrap();
    let token = node
        .sh(&format!("cat /var/lib/kubelet/pods/{uid}/{token}"))
        .await;
    token.unwrap().trim().to_owned()
}

/// Somebody with a token and nothing else.
struct Thief<'a> {
    cloud: &'a Cloud,
    kubeconfig: PathBuf,
    token: String,
}

impl<'a> Thief<'a> {
    fn new(cloud: &'a Cloud, name: &str, token: &str) -> Self {
        let admin = fs::read_to_string(cloud.lab().kubeconfig()).unwrap();
        let mut config: Value = serde_json::from_str(&admin).unwrap();
        config["users"][0]["user"] = json!({ "token": token });
        let kubeconfig = cloud.lab().dir().join(format!("thief-{name}.kubeconfig"));
        write_private(&kubeconfig, &config.to_string()).unwrap();
        Self {
            cloud,
            kubeconfig,
            token: token.to_owned(),
        }
    }

    async fn kubectl<'b>(&self, args: impl IntoIterator<Item = &'b str>) -> Output {
        self.kubectl_with(args, "").await
    }

    async fn kubectl_with<'b>(
        &self,
        args: impl IntoIterator<Item = &'b str>,
        stdin: &str,
    ) -> Output {
        let kubeconfig = self.kubeconfig.display().to_string();
        let own = ["--kubeconfig".to_owned(), kubeconfig];
        let args = args.into_iter().map(str::to_owned);
        self.cloud
            .lab()
            .kubectl_with(own.into_iter().chain(args), stdin)
            .await
            .unwrap()
    }

    async fn is_told<'b>(&self, args: impl IntoIterator<Item = &'b str>, says: &str) {
        refused(&self.kubectl(args).await, says);
    }

    /// Tries all that is not excepted by a word in its path: each is forbidden, whether the object is there or not.
    async fn is_refused(&self, attempts: &[Attempt], except: &[&str]) {
        let client = self
            .cloud
            .lab()
            .client_with_token(&self.token)
            .await
            .unwrap();
        let tried = attempts
            .iter()
            .filter(|a| !except.iter().any(|word| a.path.contains(word)));
        let tried = stream::iter(tried).map(|attempt| async {
            let code = attempt.make(&client).await;
            (code != 403).then(|| format!("{} {}: {code}", attempt.method, attempt.path))
        });
        let let_in: Vec<_> = tried
            .buffer_unordered(CONCURRENCY)
            .filter_map(|x| async { x })
            .collect()
            .await;
        assert!(let_in.is_empty(), "{let_in:#?}");
    }
}

/// That a command failed, with these words.
fn refused(output: &Output, says: &str) {
    let (command, stderr) = (&output.command, &output.stderr);
    assert!(!output.success(), "{command}");
    assert!(stderr.contains(says), "{command}: {stderr}");
}

/// One request.
struct Attempt {
    method: &'static str,
    path: String,
}

impl Attempt {
    /// The status of the answer.
    async fn make(&self, client: &Client) -> u16 {
        let request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(
                "Content-Type",
                if self.method == "PATCH" {
                    "application/merge-patch+json"
                } else {
                    "application/json"
                },
            );
        let request = request.body(b"{}".to_vec()).unwrap();
        match client.request_text(request).await {
            Ok(_) => 200,
            Err(Error::Api(status)) => status.code,
            Err(error) => panic!("{} {}: {error}", self.method, self.path),
        }
    }
}

/// What the API server serves, as its discovery tells.
struct Resource {
    group: String,
    /// With its subresource: `pods`, `pods/exec`.
    name: String,
    namespaced: bool,
    verbs: Vec<String>,
}

impl Resource {
    fn attempts(&self, namespaces: &[&str]) -> Vec<Attempt> {
        let places: Vec<_> = if self.namespaced {
            namespaces
                .iter()
                .map(|n| format!("{}/namespaces/{n}", self.group))
                .collect()
        } else {
            vec![self.group.clone()]
        };
        let all = self
            .verbs
            .iter()
            .filter(|verb| self.namespaced && *verb == "list");
        let all = all.map(|_| Attempt {
            method: "GET",
            path: format!("{}/{}", self.group, self.name),
        });
        let here = places.iter().flat_map(|place| {
            self.verbs
                .iter()
                .filter_map(|verb| self.attempt(place, verb))
        });
        all.chain(here).collect()
    }

    fn attempt(&self, place: &str, verb: &str) -> Option<Attempt> {
        let collection = format!("{place}/{}", self.name);
        let one = match self.name.split_once('/') {
            Some((of, part)) => format!("{place}/{of}/any/{part}"),
            None => format!("{collection}/any"),
        };
        let (method, path) = match verb {
            "get" => ("GET", one),
            "list" => ("GET", collection),
            "watch" => ("GET", format!("{collection}?watch=true&timeoutSeconds=1")),
            "create" if self.name.contains('/') => ("POST", one),
            "create" => ("POST", collection),
            "update" => ("PUT", one),
            "patch" => ("PATCH", one),
            "delete" => ("DELETE", one),
            "deletecollection" => ("DELETE", collection),
            _ => return None,
        };
        Some(Attempt { method, path })
    }
}

async fn resources(admin: &Client) -> Vec<Resource> {
    let get = async |path: &str| -> Value {
        let request = Request::get(path).body(Vec::new()).unwrap();
        admin.request(request).await.unwrap()
    };
    let groups = get("/apis").await;
    let versions = groups["groups"].as_array().unwrap().iter();
    let versions = versions.map(|g| {
        format!(
            "/apis/{}",
            g["preferredVersion"]["groupVersion"].as_str().unwrap()
        )
    });
    let mut found = Vec::new();
    for group in ["/api/v1".to_owned()].into_iter().chain(versions) {
        let list = get(&group).await;
        for resource in list["resources"].as_array().unwrap() {
            let verbs = resource["verbs"].as_array().unwrap().iter();
            found.push(Resource {
                group: group.clone(),
                name: resource["name"].as_str().unwrap().to_owned(),
                namespaced: resource["namespaced"] == true,
                verbs: verbs.map(|v| v.as_str().unwrap().to_owned()).collect(),
            });
        }
    }
    found
}
