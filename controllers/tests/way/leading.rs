//! Leader election: one writes, another takes over, and the way goes on.

use crate::hollow::Hollow;
use crate::lab::{Tenant, alone, lab};
use k8s_openapi::api::coordination::v1::Lease;
use kilonova_crds::names::LEADER_LEASE;
use kilonova_e2e::lab::SYSTEM_NAMESPACE;
use kilonova_e2e::process::Service;
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Who leads, and how often it changed hands.
async fn leader(leases: &Api<Lease>) -> (String, i32) {
    let lease = leases.get(LEADER_LEASE).await.unwrap();
    let spec = lease.spec.unwrap();
    let holder = spec.holder_identity.unwrap_or_default();
    (holder, spec.lease_transitions.unwrap_or_default())
}

/// Waits until another than that one leads.
async fn after(leases: &Api<Lease>, transitions: i32) -> (String, i32) {
    let look = || async {
        match leader(leases).await {
            (holder, now) if now > transitions && !holder.is_empty() => Ok((holder, now)),
            (holder, now) => Err(format!("{holder:?} at {now}")),
        }
    };
    wait_for("another leader", GENEROUS, look).await.unwrap()
}

/// Kills the leader, waits until another one leads, and starts the first one again.
pub async fn change_leader(client: &Client) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let (holder, transitions) = leader(&leases).await;
    let leads = leading(&holder, transitions);
    leads.kill().unwrap();
    after(&leases, transitions).await;
    leads.start().unwrap();
}

/// The process that leads.
fn leading(holder: &str, transitions: i32) -> &'static Service {
    let says = format!("leading transitions={transitions}");
    let mut controllers = lab().controllers().iter();
    let leads = controllers.find(|c| c.log().contains(&says));
    leads.unwrap_or_else(|| panic!("{holder} is nobody"))
}

#[tokio::test]
async fn b51_the_way_goes_on_under_another_leader() {
    let _alone = alone().await;
    let tenant = Tenant::new("lead").await;
    let nodes = [
        Hollow::start("lead-1", "lead").await,
        Hollow::start("lead-2", "lead").await,
    ];
    let leases: Api<Lease> = Api::namespaced(tenant.client.clone(), SYSTEM_NAMESPACE);
    let names: Vec<String> = (0..14).map(|n| format!("i-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        tenant.instance(name, &json!({})).await;
        if n % 5 == 2 {
            let (holder, transitions) = leader(&leases).await;
            let leads = leading(&holder, transitions);
            if n == 2 {
                leads.stop(Duration::from_secs(10)).unwrap();
            } else {
                leads.kill().unwrap();
            }
            after(&leases, transitions).await;
            leads.start().unwrap();
        }
    }
    let mut addresses = BTreeSet::new();
    for name in &names {
        let status = tenant.until(name, "Running").await;
        assert!(addresses.insert(status.addresses), "{name}: given twice");
    }
    let domains = nodes[0].domains().await.len() + nodes[1].domains().await.len();
    assert_eq!(domains, names.len(), "each has one domain");
}
