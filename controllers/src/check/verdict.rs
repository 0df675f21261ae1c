//! What is wrong with an installation: pure.

use super::facts::{DEPLOYMENT, Facts};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kilonova_controllers_core::host_state::EVERY_INSTANCE_NEEDS;
use kilonova_crds::condition::{find, types};
use kilonova_crds::names::NODE_GROUP_LABEL;
use kilonova_crds::{Condition, ConditionStatus, Hypervisor};
use kube::ResourceExt;
use std::collections::BTreeSet;

/// The variable by which the chart tells an agent what its instances do not reach.
const BLOCKED_CIDRS: &str = "KILONOVA_BLOCKED_CIDRS";

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
        let none = format!(
            "node group {name}: no node has its labels, or all that do have taints which it does not bear"
        );
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
    let found = |node: &str| facts.hypervisors.iter().find(|h| h.name_any() == node);
    let lacks: Vec<_> = nodes
        .iter()
        .filter_map(|node| Some(format!("node {node}: {}", lack(found(node))?)))
        .collect();
    let hints = nodes.iter().flat_map(|node| {
        let hints = hints(found(node));
        hints.map(move |hint| format!("node {node}: {hint}"))
    });
    verdict.notes.extend(hints);
    verdict.notes.extend(open(group, name));
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

/// What keeps a node from running instances.
fn lack(hypervisor: Option<&Hypervisor>) -> Option<String> {
    let Some(hypervisor) = hypervisor else {
        return Some("its agent has not reported".to_owned());
    };
    let conditions = conditions(hypervisor);
    let needed = EVERY_INSTANCE_NEEDS.iter();
    let mut needed = needed.filter_map(|name| find(conditions, name));
    if let Some(bad) = needed.find(|c| c.status == ConditionStatus::False) {
        return Some(said(bad));
    }
    match find(conditions, types::READY) {
        Some(ready) if ready.status == ConditionStatus::True => None,
        Some(ready) => Some(ready.message.clone()),
        None => Some("its agent has not renewed its Lease yet".to_owned()),
    }
}

/// What else a node says of itself that is not as it should be.
fn hints(hypervisor: Option<&Hypervisor>) -> impl Iterator<Item = String> {
    let [libvirt, guests] = EVERY_INSTANCE_NEEDS;
    let decided = [types::READY, types::IN_USE, libvirt, guests];
    let conditions = hypervisor.map(conditions).unwrap_or_default();
    let bad = conditions.iter().filter(move |c| {
        c.status == ConditionStatus::False && !decided.contains(&c.type_.as_str())
    });
    bad.map(said)
}

fn conditions(hypervisor: &Hypervisor) -> &[Condition] {
    let status = hypervisor.status.as_ref();
    status
        .map(|status| &status.conditions[..])
        .unwrap_or_default()
}

fn said(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

/// Whether instances of a node group reach whatever their nodes do.
fn open(group: &DaemonSet, name: &str) -> Option<String> {
    let pod = group.spec.as_ref()?.template.spec.as_ref()?;
    let agent = pod.containers.first()?;
    let variables = agent.env.iter().flatten();
    let mut blocked = variables.filter(|v| v.name == BLOCKED_CIDRS && v.value.is_some());
    let flags = agent.args.iter().chain(&agent.command).flatten();
    let mut flags = flags.filter(|arg| arg.starts_with("--blocked-cidrs"));
    let none = blocked.next().is_none() && flags.next().is_none();
    none.then(|| {
        format!(
            "node group {name}: blockedCIDRs is empty: its instances reach what their nodes reach, such as pods, \
             services, the API server and other nodes; name the ranges that they shall not"
        )
    })
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
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "agent", "env": [{"name": BLOCKED_CIDRS, "value": "10.96.0.0/12"}]}]}}},
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
    fn a_nic_at_fault_on_each_node_is_no_failure() {
        let mut facts = healthy();
        let faulty = |name| {
            let nic = ("PhysicalNetworksReady", "False", "eth1 has an address");
            hypervisor(name, &[("Ready", "True", ""), nic])
        };
        facts.hypervisors = vec![faulty("a"), faulty("b")];
        let verdict = judge(&facts);
        assert!(verdict.problems.is_empty(), "{:?}", verdict.problems);
        let said = ["a", "b"].map(|node| format!("node {node}: Because: eth1 has an address"));
        assert_eq!(verdict.notes, said);
    }

    #[test]
    fn instances_that_reach_everything_are_worth_a_word() {
        let mut facts = healthy();
        let pod = |group: &mut DaemonSet| {
            let spec = group.spec.as_mut().unwrap();
            spec.template.spec.as_mut().unwrap().containers.remove(0)
        };
        let mut agent = pod(&mut facts.groups[0]);
        agent.env = None;
        let with = |agent| {
            let mut facts = healthy();
            pod(&mut facts.groups[0]);
            let spec = facts.groups[0].spec.as_mut().unwrap();
            spec.template.spec.as_mut().unwrap().containers = vec![agent];
            judge(&facts)
        };
        let verdict = with(agent.clone());
        assert!(verdict.problems.is_empty() && verdict.notes.len() == 1);
        assert!(verdict.notes[0].starts_with("node group default: blockedCIDRs is empty"));
        agent.args = Some(vec!["--blocked-cidrs=10.0.0.0/8".to_owned()]);
        assert_eq!(with(agent), Verdict::default());
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
