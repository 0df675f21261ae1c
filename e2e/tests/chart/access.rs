//! The table of docs/access.md, each cell asked of the real API server.

use std::fs;

use futures::{StreamExt as _, stream};
use kilonova_e2e::{
    lab::Lab,
    repo,
    wait::{GENEROUS, wait_for},
};

use serde_json::json;

use crate::world::lab;

/// Questions at a time: each is a process.
const CONCURRENCY: usize = 4;

/// What the permission to override is on.
const OVERRIDDEN: &str = "policies.kilonova.dev";

/// One cell: what one role may do of one row.
#[derive(Debug)]
struct Cell {
    role: String,
    verbs: Vec<String>,
    resources: Vec<String>,
    allowed: bool,
}

/// The cells of the page's first table.
fn cells() -> Vec<Cell> {
    let page = fs::read_to_string(repo::root().join("docs/access.md")).unwrap();
    let rows = page
        .lines()
        .filter(|line| line.starts_with('|') && line.matches('|').count() > 6)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
        });
    let rows: Vec<_> = rows.collect();
    let words = |cell: &str| {
        let cell = cell.trim_matches('`').split(' ').map(str::to_owned);
        cell.collect::<Vec<_>>()
    };
    let mut cells = Vec::new();
    for row in &rows[2..] {
        for (role, answer) in rows[0].iter().zip(row).skip(3) {
            cells.push(Cell {
                role: (*role).to_owned(),
                verbs: words(row[1]),
                resources: words(row[2]),
                allowed: *answer == "yes",
            });
        }
    }
    cells
}

/// A user for each role: in a namespace for the first three, cluster-wide for the others.
async fn bind(lab: &Lab) {
    let kubectl = async |line: &str| {
        lab.kubectl(line.split(' '))
            .await
            .unwrap()
            .checked()
            .unwrap();
    };
    kubectl("create namespace asked").await;
    for role in ["view", "edit", "admin"] {
        kubectl(&format!(
            "create rolebinding {role} --clusterrole {role} --user {role} --namespace asked"
        ))
        .await;
    }
    for role in ["catalog", "operator", "override"] {
        kubectl(&format!(
            "create clusterrolebinding asked-{role} --clusterrole kilonova-{role} --user {role}"
        ))
        .await;
    }
    // The roles of Kubernetes' own are put together by a controller, some time after ours are there.
    wait_for("the roles to be aggregated", GENEROUS, || async {
        for (role, verb) in [("view", "get"), ("edit", "create"), ("admin", "create")] {
            if !can(lab, role, verb, "instances").await {
                return Err(role);
            }
        }
        Ok(())
    })
    .await
    .unwrap();
}

async fn can(lab: &Lab, user: &str, verb: &str, resource: &str) -> bool {
    if resource == OVERRIDDEN {
        return can_override(lab, user).await;
    }
    let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let sub = format!("--subresource={sub}");
    let args = [
        "--namespace",
        "asked",
        "auth",
        "can-i",
        verb,
        resource,
        &sub,
        "--as",
        user,
    ];
    let output = lab.kubectl(args).await.unwrap();
    match output.stdout.trim() {
        "yes" => true,
        "no" => false,
        _ => panic!("{output:?}"),
    }
}

/// `kubectl auth can-i` knows only what the server serves, and there is no object behind this permission.
async fn can_override(lab: &Lab, user: &str) -> bool {
    let attributes = json!({"group": "kilonova.dev", "resource": "policies", "verb": "override"});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes}});
    let args = ["create", "-f", "-", "-o", "jsonpath={.status.allowed}"];
    let output = lab.kubectl_with(args, &review.to_string()).await.unwrap();
    output.checked().unwrap().stdout == "true"
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says() {
    let lab = lab();
    bind(lab).await;
    let cells = cells();
    assert_eq!(cells.len(), 9 * 6, "the table was read");
    let questions = cells.iter().flat_map(|cell| {
        let resources = cell.resources.iter();
        resources
            .flat_map(move |resource| cell.verbs.iter().map(move |verb| (cell, verb, resource)))
    });
    let wrong: Vec<String> = stream::iter(questions)
        .map(|(cell, verb, resource)| async move {
            let allowed = can(lab, &cell.role, verb, resource).await;
            let wrong = allowed != cell.allowed;
            wrong.then(|| format!("{} {verb} {resource}: {allowed}", cell.role))
        })
        .buffer_unordered(CONCURRENCY)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}
