//! The agent's two tokens against every resource and verb that the server's discovery lists, compared with what is
//! written here. A right that is not written down, and one that is and is not there, fails alike.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use serde_json::json;

use crate::{
    api_common::Asker,
    world::{NAMESPACE_1, NAMESPACE_2, world},
};

/// Verbs that discovery does not list.
const HIDDEN: [(&str, &str, &str); 10] = [
    ("", "users", "impersonate"),
    ("", "groups", "impersonate"),
    ("", "serviceaccounts", "impersonate"),
    (
        "authentication.k8s.io",
        "userextras/authentication.kubernetes.io/node-name",
        "impersonate",
    ),
    ("rbac.authorization.k8s.io", "clusterroles", "bind"),
    ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
    ("rbac.authorization.k8s.io", "roles", "bind"),
    ("rbac.authorization.k8s.io", "roles", "escalate"),
    ("kilonova.dev", "policies", "override"),
    ("certificates.k8s.io", "signers", "approve"),
];

/// Requests at a time: the server answers them from memory.
const CONCURRENCY: usize = 64;

/// Names that roles of ours name.
const NAMES: [&str; 4] = [
    "",
    "kilonova-node",
    "kilonova-agent",
    "kilonova-controllers",
];

/// Where a right holds.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In every namespace, or at cluster scope.
    Everywhere,
    /// In the agent's own node namespace.
    Own,
}
use Place::{Everywhere, Own};

/// A right: resource and group, verbs, where, and the one name that it is for (empty: every name).
type Right = (
    &'static str,
    &'static str,
    &'static [&'static str],
    Place,
    &'static str,
);

/// What Kubernetes gives everybody who has a token of a `ServiceAccount`.
const EVERYBODY: &[Right] = &[
    (
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        &["create"],
        Everywhere,
        "",
    ),
    (
        "authorization.k8s.io",
        "selfsubjectrulesreviews",
        &["create"],
        Everywhere,
        "",
    ),
    (
        "authentication.k8s.io",
        "selfsubjectreviews",
        &["create"],
        Everywhere,
        "",
    ),
];

/// The token of the agent's pod. Policies narrow each to the agent's own node.
const AGENT: &[Right] = &[
    (
        "kilonova.dev",
        "hypervisors",
        &["get", "create", "patch"],
        Everywhere,
        "",
    ),
    (
        "kilonova.dev",
        "hypervisors/status",
        &["patch"],
        Everywhere,
        "",
    ),
    (
        "",
        "serviceaccounts/token",
        &["create"],
        Everywhere,
        "kilonova-node",
    ),
];

/// The token of the node namespace.
const NODE: &[Right] = &[
    (
        "node.kilonova.dev",
        "domains",
        &["get", "list", "watch"],
        Own,
        "",
    ),
    (
        "node.kilonova.dev",
        "segments",
        &["get", "list", "watch"],
        Own,
        "",
    ),
    (
        "node.kilonova.dev",
        "domains/status",
        &["update", "patch"],
        Own,
        "",
    ),
    (
        "node.kilonova.dev",
        "segments/status",
        &["update", "patch"],
        Own,
        "",
    ),
    ("", "secrets", &["get", "list", "watch"], Own, ""),
    // A Namespace is "in" itself: this is its own Namespace object only.
    ("", "namespaces", &["get"], Own, ""),
    ("coordination.k8s.io", "leases", &["create"], Own, ""),
    (
        "coordination.k8s.io",
        "leases",
        &["get", "update", "patch"],
        Own,
        "kilonova-agent",
    ),
];

/// One question to the authorizer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    group: String,
    resource: String,
    verb: String,
    namespace: String,
    name: &'static str,
}

impl Question {
    fn is_allowed_by(&self, rights: &[Right]) -> bool {
        rights.iter().any(|(group, resource, verbs, place, name)| {
            self.group == *group
                && self.resource == *resource
                && verbs.contains(&self.verb.as_str())
                && (*place == Everywhere || self.namespace == NAMESPACE_1)
                && (name.is_empty() || self.name == *name)
        })
    }

    async fn is_allowed(&self, client: &Asker) -> bool {
        let (resource, subresource) = self
            .resource
            .split_once('/')
            .unwrap_or((&self.resource, ""));
        let attributes = json!({"group": self.group, "resource": resource, "subresource": subresource, "verb": self.verb,
            "namespace": self.namespace, "name": self.name});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        client.post(path, &review).await.unwrap()["status"]["allowed"] == true
    }
}

/// Every resource, subresources too, with its verbs; and the hidden ones.
async fn discovered(client: &Asker) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let groups = client.get("/apis").await.unwrap();
    let versions = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["versions"].as_array().unwrap());
    let paths =
        versions.map(|version| format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
    for path in paths.chain(["/api/v1".to_owned()]) {
        let list = client.get(&path).await.unwrap();
        let group_version = list["groupVersion"].as_str().unwrap();
        let group = group_version
            .rsplit_once('/')
            .map_or("", |(group, _)| group);
        for resource in list["resources"].as_array().unwrap() {
            let verbs = resource["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|verb| verb.as_str().unwrap().to_owned());
            found
                .entry((
                    group.to_owned(),
                    resource["name"].as_str().unwrap().to_owned(),
                ))
                .or_default()
                .extend(verbs);
        }
    }
    for (group, resource, verb) in HIDDEN {
        found
            .entry((group.to_owned(), resource.to_owned()))
            .or_default()
            .insert(verb.to_owned());
    }
    found
}

fn questions(resources: &BTreeMap<(String, String), BTreeSet<String>>) -> Vec<Question> {
    // A right for one name is found by that name; two namespaces are enough to see where it holds.
    let system = ["kilonova-system", "kilonova-agents"];
    let unnamed = ["", NAMESPACE_1, NAMESPACE_2, "shop"];
    let unnamed = unnamed.into_iter().chain(system).map(|ns| (ns, ""));
    let named = [NAMESPACE_1].into_iter().chain(system);
    let named = named.flat_map(|namespace| NAMES.map(|name| (namespace, name)));
    let places: Vec<_> = unnamed.chain(named).collect();
    let mut questions = Vec::new();
    for ((group, resource), verbs) in resources {
        for verb in verbs {
            let collective = matches!(verb.as_str(), "list" | "watch" | "deletecollection");
            let places = places
                .iter()
                .filter(|(_, name)| !collective || name.is_empty());
            questions.extend(places.map(|(namespace, name)| Question {
                group: group.clone(),
                resource: resource.clone(),
                verb: verb.clone(),
                namespace: (*namespace).to_owned(),
                name,
            }));
        }
    }
    questions
}

/// The questions whose answer is not what is written down.
async fn surprises(client: &Asker, questions: &[Question], rights: &[&[Right]]) -> Vec<String> {
    let rights = rights.concat();
    let answers = stream::iter(questions)
        .map(|question| async move { (question, question.is_allowed(client).await) });
    let surprise = |(question, allowed): (&Question, bool)| {
        let written = question.is_allowed_by(&rights);
        (written != allowed)
            .then(|| format!("written: {written}, allowed: {allowed}: {question:?}"))
    };
    answers
        .buffer_unordered(CONCURRENCY)
        .filter_map(|answer| std::future::ready(surprise(answer)))
        .collect()
        .await
}

#[tokio::test]
async fn the_agents_tokens_have_the_written_rights_and_no_other() {
    let world = world();
    let questions = questions(&discovered(&world.admin().await).await);
    assert!(
        questions.len() > 5000,
        "discovery is complete: {}",
        questions.len()
    );
    let (agent, node) = (world.agent().await, world.node().await);
    let surprises = [
        surprises(&agent, &questions, &[EVERYBODY, AGENT]).await,
        surprises(&node, &questions, &[EVERYBODY, NODE]).await,
    ];
    assert!(
        surprises.iter().all(Vec::is_empty),
        "{} questions: {surprises:#?}",
        questions.len()
    );
}
