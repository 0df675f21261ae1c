//! Selectors, node affinity and tolerations: whether they match, with Kubernetes' meaning.

use crate::host_state::{HostTaint, TaintEffect};
use kilonova_crds::v1alpha1::affinity::{
    LabelOperator, LabelSelector, NodeOperator, NodeRequirement, NodeSelector, NodeSelectorTerm,
    Toleration, TolerationOperator,
};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Whether the selector chooses an object with those labels. An empty one chooses everything.
pub fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    contains(labels, &selector.match_labels)
        && selector.match_expressions.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator {
                LabelOperator::In => value.is_some_and(|v| requirement.values.contains(v)),
                LabelOperator::NotIn => !value.is_some_and(|v| requirement.values.contains(v)),
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        })
}

/// Whether the labels have all that are wanted.
pub fn contains(labels: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a Node with those labels matches any of the terms.
pub fn node_selected(selector: &NodeSelector, labels: &Labels) -> bool {
    let mut terms = selector.node_selector_terms.iter();
    terms.any(|term| node_term(term, labels))
}

/// Whether a Node with those labels matches the term. An empty term matches nothing, as in a Pod.
pub fn node_term(term: &NodeSelectorTerm, labels: &Labels) -> bool {
    !term.match_expressions.is_empty()
        && term
            .match_expressions
            .iter()
            .all(|requirement| node_requirement(requirement, labels))
}

fn node_requirement(requirement: &NodeRequirement, labels: &Labels) -> bool {
    let value = labels.get(&requirement.key);
    let number = || value.and_then(|v| v.parse::<i64>().ok());
    let bound = || {
        requirement
            .values
            .first()
            .and_then(|v| v.parse::<i64>().ok())
    };
    match requirement.operator {
        NodeOperator::In => value.is_some_and(|v| requirement.values.contains(v)),
        NodeOperator::NotIn => !value.is_some_and(|v| requirement.values.contains(v)),
        NodeOperator::Exists => value.is_some(),
        NodeOperator::DoesNotExist => value.is_none(),
        NodeOperator::Gt => number().zip(bound()).is_some_and(|(n, b)| n > b),
        NodeOperator::Lt => number().zip(bound()).is_some_and(|(n, b)| n < b),
    }
}

/// Whether one of the tolerations bears the taint.
pub fn tolerated(taint: &HostTaint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let operator = toleration.operator.unwrap_or_default();
        (effect.is_empty() || effect == effect_name(taint.effect))
            && match operator {
                TolerationOperator::Exists => key.is_empty() || key == taint.key,
                TolerationOperator::Equal => {
                    key == taint.key
                        && toleration.value.as_deref().unwrap_or_default() == taint.value
                }
            }
    })
}

fn effect_name(effect: TaintEffect) -> &'static str {
    match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labels(value: Value) -> Labels {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn label_selectors() {
        let web = labels(json!({"app": "web", "tier": "1"}));
        for (selector, matches) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web", "tier": "2"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "In", "values": ["web"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
        ] {
            let parsed = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(selects(&parsed, &web), matches, "{selector}");
        }
    }

    #[test]
    fn node_terms() {
        let node = labels(json!({"zone": "a", "gen": "7", "odd": "x"}));
        for (terms, matches) in [
            (json!([{"matchExpressions": []}]), false),
            (
                json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}, {"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["6"]}]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["7"]}]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [{"key": "gen", "operator": "Lt", "values": ["8"]}, {"key": "zone", "operator": "NotIn", "values": ["b"]}]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [{"key": "odd", "operator": "Lt", "values": ["8"]}]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [{"key": "none", "operator": "Gt", "values": ["-1"]}]}]),
                false,
            ),
        ] {
            let parsed = serde_json::from_value(json!({"nodeSelectorTerms": terms})).unwrap();
            assert_eq!(node_selected(&parsed, &node), matches, "{terms}");
        }
    }

    #[test]
    fn tolerations() {
        let taint = HostTaint {
            key: "k".into(),
            value: "v".into(),
            effect: TaintEffect::NoSchedule,
        };
        for (toleration, bears) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "j", "operator": "Exists"}), false),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "k"}), false),
            (
                json!({"key": "k", "value": "v", "effect": "NoSchedule"}),
                true,
            ),
            (
                json!({"key": "k", "value": "v", "effect": "NoExecute"}),
                false,
            ),
        ] {
            let parsed: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerated(&taint, &[parsed]), bears, "{toleration}");
        }
        assert!(!tolerated(&taint, &[]));
    }
}
