//! What the API server refuses by schema and CEL, and what it says; and that what is good is taken.
//!
//! Every case is a good object with one change. A rule without a case here fails the test `every_rule_has_a_case`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the tables read better without references"
)]

#[path = "../api_common/mod.rs"]
mod api_common;
mod instances;
mod networks;
mod offering;
mod others;

use std::collections::BTreeSet;

use api_common::{Asker, Refusal, change, collection, good, lab, subnet};
use others::{accepted, updates};
use serde_json::{Value, json};

/// One change and what the answer must say.
struct Case {
    kind: &'static str,
    change: Value,
    says: &'static str,
}

/// A case for a change of the whole object.
fn case(kind: &'static str, change: Value, says: &'static str) -> Case {
    Case { kind, change, says }
}

/// A case for a change of the spec.
fn spec(kind: &'static str, change: Value, says: &'static str) -> Case {
    case(kind, json!({"spec": change}), says)
}

fn long_name() -> Value {
    json!({"metadata": {"name": "n".repeat(64)}})
}

const KINDS: [&str; 10] = [
    "Flavor",
    "NetworkClass",
    "ClusterImage",
    "Hypervisor",
    "Network",
    "Image",
    "KeyPair",
    "Instance",
    "Domain",
    "Segment",
];

fn creations() -> Vec<Case> {
    [
        offering::operators(),
        networks::classes(),
        offering::images(),
        offering::key_pairs(),
        networks::networks(),
        instances::instances(),
        instances::interfaces(),
        instances::placement(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Creates without keeping it, and with unknown fields refused.
async fn try_create(client: &Asker, kind: &str, object: &Value) -> Result<Value, Refusal> {
    let path = format!(
        "{}?dryRun=All&fieldValidation=Strict",
        collection(kind, "default")
    );
    client.post(&path, object).await
}

fn complaint(case: &Case, answer: &Result<Value, Refusal>) -> Option<String> {
    let Case { kind, change, says } = case;
    match answer {
        Err(refusal) if refusal.message.contains(says) && (400..=422).contains(&refusal.code) => {
            None
        }
        Err(refusal) => Some(format!(
            "{kind} with {change}\n  must say: {says}\n  said:     {}",
            refusal.message
        )),
        Ok(_) => Some(format!(
            "{kind} with {change}\n  must say: {says}\n  was taken"
        )),
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_a_sentence() {
    let client = Asker(lab().client().await.unwrap());
    let mut complaints = Vec::new();
    for case in creations() {
        // The schema is looked at before the policies: the namespace of Domains and Segments does not matter here.
        let mut object = good(case.kind);
        change(&mut object, &case.change);
        complaints.extend(complaint(
            &case,
            &try_create(&client, case.kind, &object).await,
        ));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn what_is_good_is_taken() {
    let client = Asker(lab().client().await.unwrap());
    let as_it_is = KINDS
        .iter()
        .filter(|kind| !matches!(**kind, "Domain" | "Segment"))
        .map(|kind| (*kind, json!({})));
    for (kind, patch) in as_it_is.chain(accepted()) {
        let mut object = good(kind);
        change(&mut object, &patch);
        if object["spec"].is_null() {
            object["spec"] = json!({});
        }
        if let Err(refusal) = try_create(&client, kind, &object).await {
            panic!("{kind} with {patch} was refused: {}", refusal.message);
        }
    }
}

#[tokio::test]
async fn what_is_immutable_stays() {
    let client = Asker(lab().client().await.unwrap());
    for kind in updates()
        .iter()
        .map(|case| case.kind)
        .collect::<BTreeSet<_>>()
    {
        let mut object = good(kind);
        object["metadata"]["name"] = json!("immutable");
        client
            .post(&collection(kind, "default"), &object)
            .await
            .unwrap();
    }
    let mut complaints = Vec::new();
    for case in updates() {
        let path = format!("{}/immutable?dryRun=All", collection(case.kind, "default"));
        complaints.extend(complaint(&case, &client.patch(&path, &case.change).await));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));

    let mutable = json!({"spec": {"power": "Off", "restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "tolerations": null}});
    client
        .patch(
            &format!("{}/immutable", collection("Instance", "default")),
            &mutable,
        )
        .await
        .unwrap();
    let mutable = json!({"spec": {"ids": ["100-299"], "allowedNamespaces": null}});
    client
        .patch(
            &format!("{}/immutable", collection("NetworkClass", "default")),
            &mutable,
        )
        .await
        .unwrap();
    let mut live = subnet();
    change(
        &mut live,
        &json!({"dns": ["10.0.0.2"], "ranges": null, "routes": null}),
    );
    let mutable = json!({"spec": {"subnets": [live]}});
    client
        .patch(
            &format!("{}/immutable", collection("Network", "default")),
            &mutable,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_object_does_not_look_finished() {
    let client = Asker(lab().client().await.unwrap());
    for kind in [
        "ClusterImage",
        "Hypervisor",
        "Network",
        "Image",
        "KeyPair",
        "Instance",
    ] {
        let answer = try_create(&client, kind, &good(kind)).await.unwrap();
        assert_eq!(
            answer["status"],
            json!({"observedGeneration": -1}),
            "{kind}"
        );
    }
}

/// Every message of a rule in the definitions has a case of its kind.
#[test]
fn every_rule_has_a_case() {
    let cases: BTreeSet<(String, String)> = creations()
        .iter()
        .chain(&updates())
        .map(|case| (case.kind.to_owned(), case.says.to_owned()))
        .collect();
    let mut rules = BTreeSet::new();
    for crd in kilonova_crds::schema::definitions().unwrap() {
        messages(
            &serde_json::to_value(&crd.spec.versions).unwrap(),
            &crd.spec.names.kind,
            &mut rules,
        );
    }
    assert!(rules.len() > 40, "the rules are found: {}", rules.len());
    let without: Vec<_> = rules.difference(&cases).collect();
    assert!(without.is_empty(), "rules without a case: {without:#?}");
}

fn messages(schema: &Value, kind: &str, into: &mut BTreeSet<(String, String)>) {
    match schema {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                into.insert((
                    kind.to_owned(),
                    rule["message"]
                        .as_str()
                        .unwrap_or("a rule without a message")
                        .to_owned(),
                ));
            }
            fields
                .values()
                .for_each(|value| messages(value, kind, into));
        }
        Value::Array(items) => items.iter().for_each(|value| messages(value, kind, into)),
        _ => {}
    }
}
