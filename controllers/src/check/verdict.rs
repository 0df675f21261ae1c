//! What is wrong with an installation: pure.

use super::facts::{DEPLOYMENT, Facts};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kilonova_crds::condition::types;
use kilonova_crds::names::NODE_GROUP_LABEL;
use kilonova_crds::{ConditionStatus, Hypervisor};
use kube::ResourceExt;
use std::collections::BTreeSet;

/// What follows from the facts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What must be otherwise for an installation that is ready.
    pub problems: Vec<String>,
    /// What is worth knowing all the same.
    pub notes: Vec<String>,
}

/// Judges an installation.
pub fn judge(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.problems.extend(controllers(facts));
    if facts.groups.is_empty() {
        let none = "there is no node group: see agents.groups in the chart's values";
        verdict.problems.push(none.to_owned());
    }
    for group in &facts.groups {
        judge_group(group, facts, &mut verdict);
    }
    verdict
}

/// What is wrong with the controllers.
fn controllers(facts: &Facts) -> Option<String> {
    let Some(deployment) = &facts.deployment else {
        return Some(format!("there is no Deployment {DEPLOYMENT}"));
    };
    let (ready, wanted) = replicas(deployment);
    if ready >= wanted {
        return None;
    }
    let why = reasons(&facts.controllers, &facts.refusals, DEPLOYMENT);
    Some(format!("controllers: {ready} of {wanted} are ready{why}"))
}

/// How many are ready of the current generation, and how many there shall be.
fn replicas(deployment: &Deployment) -> (i32, i32) {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let status = deployment.status.clone().unwrap_or_default();
    let current = status.observed_generation >= deployment.metadata.generation;
    let ready = status.ready_replicas.unwrap_or_default();
    let ready = ready.min(status.updated_replicas.unwrap_or_default());
    (if current { ready } else { 0 }, wanted.unwrap_or(1))
}

fn judge_group(group: &DaemonSet, facts: &Facts, verdict: &mut Verdict) {
    let name = label(group).unwrap_or_default();
    let status = group.status.clone().unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    if status.observed_generation < group.metadata.generation {
        let unseen = format!("node group {name}: its DaemonSet was not looked at yet");
        return verdict.problems.push(unseen);
    }
    if wanted == 0 {
        let none = format!("node group {name}: no node has its labels and no taint it bears not");
        return verdict.problems.push(none);
    }
    let pods = facts.agents.iter().filter(|pod| label(*pod) == Some(name));
    let pods: Vec<_> = pods.cloned().collect();
    if status.number_ready < wanted {
        let ready = status.number_ready;
        let why = reasons(&pods, &facts.refusals, &group.name_any());
        let problem = format!("node group {name}: {ready} of {wanted} agents are ready{why}");
        verdict.problems.push(problem);
    }
    let nodes: BTreeSet<_> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
        .collect();
    let lacks: Vec<_> = nodes
        .iter()
        .filter_map(|node| Some(format!("node {node}: {}", lack(node, &facts.hypervisors)?)))
        .collect();
    if !nodes.is_empty() && lacks.len() == nodes.len() {
        let none = format!("node group {name}: no Hypervisor is ready");
        verdict.problems.push(none);
        verdict.problems.extend(lacks);
    } else {
        verdict.notes.extend(lacks);
    }
}

fn label<K: kube::Resource>(object: &K) -> Option<&str> {
    let labels = object.meta().labels.as_ref()?;
    labels.get(NODE_GROUP_LABEL).map(String::as_str)
}

/// What a node lacks to run instances.
fn lack(node: &str, hypervisors: &[Hypervisor]) -> Option<String> {
    let Some(found) = hypervisors.iter().find(|h| h.name_any() == node) else {
        return Some("its agent has not reported".to_owned());
    };
    let conditions = found.status.as_ref().map(|status| &status.conditions[..]);
    let conditions = conditions.unwrap_or_default();
    let bad = conditions
        .iter()
        .filter(|c| c.type_ != types::READY && c.type_ != types::IN_USE)
        .find(|c| c.status == ConditionStatus::False);
    if let Some(condition) = bad {
        return Some(format!("{}: {}", condition.reason, condition.message));
    }
    match conditions.iter().find(|c| c.type_ == types::READY) {
        Some(ready) if ready.status == ConditionStatus::True => None,
        Some(ready) => Some(ready.message.clone()),
        None => Some("its agent has not renewed its Lease yet".to_owned()),
    }
}

/// Why pods are missing or not ready, as far as the API tells: at most one reason of each kind.
fn reasons(pods: &[Pod], refusals: &[Event], owner: &str) -> String {
    let waiting = pods.iter().filter_map(|pod| {
        let status = pod.status.as_ref()?;
        let unscheduled = status.conditions.iter().flatten();
        let unscheduled = unscheduled
            .filter(|c| c.type_ == "PodScheduled" && c.status == "False")
            .find_map(|c| c.message.clone());
        let containers = status.container_statuses.iter().flatten();
        let said = containers.filter(|c| !c.ready).find_map(container);
        Some(format!("{}: {}", pod.name_any(), said.or(unscheduled)?))
    });
    let mut refused = refusals.iter().filter_map(|event| {
        let about = event.involved_object.name.as_deref()?;
        about.starts_with(owner).then(|| event.message.clone())?
    });
    let distinct: BTreeSet<_> = waiting.take(3).chain(refused.next_back()).collect();
    let lines = distinct.iter().flat_map(|why| ["\n    ", why.as_str()]);
    lines.collect()
}

/// What keeps a container from being ready.
fn container(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.as_deref().unwrap_or_default();
        let reason = waiting.reason.as_deref().unwrap_or_default();
        return Some(format!("{reason} {message}").trim().to_owned());
    }
    if let Some(ended) = &state.terminated {
        return Some(format!("ended with code {}", ended.exit_code));
    }
    Some("runs, and is not ready yet".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::{Value, json};

    fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn deployment(ready: i32) -> Deployment {
        of(json!({
            "metadata": {"name": DEPLOYMENT, "generation": 2},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": {"observedGeneration": 2, "readyReplicas": ready, "updatedReplicas": ready},
        }))
    }

    fn group(wanted: i32, ready: i32) -> DaemonSet {
        of(json!({
            "metadata": {"name": "kilonova-agent-default", "generation": 1, "labels": {NODE_GROUP_LABEL: "default"}},
            "status": {"observedGeneration": 1, "desiredNumberScheduled": wanted, "numberReady": ready,
                "currentNumberScheduled": wanted, "numberMisscheduled": 0},
        }))
    }

    fn agent(node: &str) -> Pod {
        of(
            json!({"metadata": {"name": format!("agent-{node}"), "labels": {NODE_GROUP_LABEL: "default"}},
            "spec": {"nodeName": node, "containers": []}}),
        )
    }

    fn hypervisor(name: &str, conditions: &[(&str, &str, &str)]) -> Hypervisor {
        let condition = |(kind, status, message): &(&str, &str, &str)| {
            json!({"type": kind, "status": status, "reason": "Because", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        of(
            json!({"apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor", "metadata": {"name": name},
            "spec": {}, "status": {"conditions": conditions}}),
        )
    }

    fn healthy() -> Facts {
        Facts {
            deployment: Some(deployment(2)),
            groups: vec![group(2, 2)],
            agents: vec![agent("a"), agent("b")],
            hypervisors: vec![
                hypervisor("a", &[("Ready", "True", "")]),
                hypervisor("b", &[("Ready", "True", "")]),
            ],
            ..Facts::default()
        }
    }

    #[test]
    fn a_good_installation_has_no_problem() {
        assert_eq!(judge(&healthy()), Verdict::default());
    }

    #[test]
    fn one_node_that_lacks_something_is_a_note_and_all_of_them_a_problem() {
        let mut facts = healthy();
        let lame = |name| hypervisor(name, &[("LibvirtReady", "False", "no socket")]);
        facts.hypervisors[1] = lame("b");
        let verdict = judge(&facts);
        assert_eq!(verdict.notes, ["node b: Because: no socket"]);
        assert!(verdict.problems.is_empty());
        facts.hypervisors = vec![lame("a")];
        let said = judge(&facts).problems.join("\n");
        assert!(said.contains("no Hypervisor is ready") && said.contains("node a: Because"));
        assert!(said.contains("node b: its agent has not reported"));
    }

    #[test]
    fn what_refuses_pods_is_said() {
        let mut facts = healthy();
        facts.deployment = Some(deployment(1));
        facts.groups = vec![group(2, 0)];
        facts.agents = Vec::new();
        let refusal = json!({"metadata": {}, "reason": "FailedCreate", "message": "violates PodSecurity baseline",
            "involvedObject": {"kind": "DaemonSet", "name": "kilonova-agent-default"}});
        facts.refusals = vec![of(refusal)];
        let problems = judge(&facts).problems;
        assert_eq!(problems[0], "controllers: 1 of 2 are ready");
        let group =
            "node group default: 0 of 2 agents are ready\n    violates PodSecurity baseline";
        assert_eq!(problems[1..], [group.to_owned()]);
    }

    #[test]
    fn nothing_installed_is_no_success() {
        let problems = judge(&Facts::default()).problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
        let mut facts = healthy();
        facts.groups = vec![group(0, 0)];
        assert!(judge(&facts).problems[0].contains("no node has its labels"));
    }
}
