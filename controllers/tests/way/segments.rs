//! Networks in a physical network: who may have one, which segment it gets, and until when.

use crate::hollow::Hollow;
use crate::lab::{Tenant, alone, ready_message, shared};
use crate::leading::change_leader;
use kilonova_crds::condition::{find, types};
use kilonova_crds::v1alpha1::NetworkStatus;
use kilonova_crds::{Network, Segment};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

impl Tenant {
    /// A class of VLANs in the physical network of the hollow node of that name.
    async fn vlans(&self, class: &str, node: &str, ids: &[&str]) {
        let spec = json!({"type": "vlan", "physicalNetwork": node, "ids": ids});
        self.class(class, spec).await;
    }

    /// A Network of that class; 10.0.0.0/24.
    async fn network_of(&self, name: &str, class: &str) {
        let spec = json!({"class": class, "subnets": [{"cidr": "10.0.0.0/24"}]});
        self.ours("Network", name, spec).await;
    }

    /// Waits until a Network's condition Ready has that reason, and gives the status.
    async fn network_is(&self, name: &str, reason: &str) -> NetworkStatus {
        let api = self.networks();
        let look = || async {
            let status = api.get(name).await.unwrap().status.unwrap_or_default();
            let ready = find(&status.conditions, types::READY).cloned();
            match ready {
                Some(ready) if ready.reason == reason => Ok(status),
                ready => Err(format!("{ready:?}")),
            }
        };
        let what = format!("Network {name} to be {reason}");
        wait_for(what, GENEROUS, look).await.unwrap()
    }

    async fn id(&self, name: &str) -> Option<u32> {
        let status = self.network_is(name, "SegmentChosen").await;
        status.segment.unwrap().id
    }

    async fn delete_network(&self, name: &str) {
        let params = DeleteParams::default();
        self.networks().delete(name, &params).await.unwrap();
    }

    async fn network_gone(&self, name: &str) {
        wait_for("the Network to be gone", GENEROUS, || async {
            match self.networks().get_opt(name).await {
                Ok(None) => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
        .await
        .unwrap();
    }

    async fn in_network(&self, name: &str, network: &str) {
        let interfaces = json!({"interfaces": [{"name": "eth0", "network": network}]});
        self.instance(name, &interfaces).await;
    }
}

fn message(status: &NetworkStatus) -> String {
    let ready = find(&status.conditions, types::READY).unwrap();
    ready.message.clone()
}

#[tokio::test]
async fn a_network_has_its_vlan_until_nothing_names_it() {
    let _shared = shared().await;
    let tenant = Tenant::new("vlans").await;
    let node = Hollow::start("vlans-1", "vlans").await;
    tenant.vlans("vlans", "vlans-1", &["100-101"]).await;
    tenant.vlans("vlans-too", "vlans-1", &["101-102"]).await;
    for (name, class, id) in [
        ("one", "vlans", 100),
        ("two", "vlans", 101),
        ("three", "vlans-too", 102),
    ] {
        tenant.network_of(name, class).await;
        assert_eq!(tenant.id(name).await, Some(id), "{name}");
    }
    tenant.network_of("four", "vlans").await;
    let status = tenant.network_is("four", "NoSegmentFree").await;
    assert!(message(&status).ends_with("100-101"), "{status:?}");

    tenant.in_network("web", "one").await;
    let status = tenant.until("web", "Running").await;
    assert_eq!(status.interfaces[0].segment.id, Some(100));
    let uid = tenant.networks().get("one").await.unwrap().uid().unwrap();
    let segments: Api<Segment> = Api::namespaced(tenant.client.clone(), &node.namespace);
    let segment = segments.get(&uid).await.unwrap().spec;
    assert_eq!(segment.id, Some(100));
    assert_eq!(segment.physical_network.as_deref(), Some("vlans-1"));

    tenant.delete_network("one").await;
    tenant.in_network("late", "four").await;
    let status = tenant.until("late", "NetworkNotReady").await;
    assert!(ready_message(&status).contains("is taken"), "{status:?}");
    tenant.network_is("one", "Terminating").await;
    tenant.delete("web").await;
    assert_eq!(tenant.id("four").await, Some(100), "free at last");
    tenant.until("late", "Running").await;

    // More ids help whoever waits, too.
    tenant.network_of("five", "vlans").await;
    tenant.network_is("five", "NoSegmentFree").await;
    tenant.vlans("vlans", "vlans-1", &["100-101", "300"]).await;
    assert_eq!(tenant.id("five").await, Some(300));
}

#[tokio::test]
async fn who_may_have_a_network_is_told_by_labels() {
    let _shared = shared().await;
    let tenant = Tenant::new("edge").await;
    let flat = |more: Value| {
        let mut spec = json!({"type": "flat", "physicalNetwork": "edge-1"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap());
        spec
    };
    tenant.class("edge", flat(json!({}))).await;
    tenant.network_of("outside", "edge").await;
    let status = tenant.network_is("outside", "NotAllowed").await;
    assert!(
        message(&status).contains("no allowedNamespaces"),
        "{status:?}"
    );
    let gold = json!({"allowedNamespaces": {"matchLabels": {"tier": "gold"}}});
    tenant.class("edge", flat(gold)).await;
    let wait = || async {
        let status = tenant.network_is("outside", "NotAllowed").await;
        let said = message(&status);
        said.contains("do not match").then_some(()).ok_or(said)
    };
    wait_for("the class to be seen", GENEROUS, wait)
        .await
        .unwrap();
    label(&tenant, json!({"tier": "gold"})).await;
    assert_eq!(tenant.id("outside").await, None);
    label(&tenant, json!({"tier": null})).await;
    tenant.network_of("second", "edge").await;
    tenant.network_is("second", "NotAllowed").await;
    label(&tenant, json!({"tier": "gold"})).await;
    let status = tenant.network_is("second", "NoSegmentFree").await;
    assert!(message(&status).contains("untagged frames of physical network \"edge-1\""));
    tenant.network_is("outside", "SegmentChosen").await;
    tenant.delete_network("outside").await;
    tenant.network_is("second", "SegmentChosen").await;
}

async fn label(tenant: &Tenant, labels: Value) {
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(tenant.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let params = PatchParams::default();
    api.patch(&tenant.namespace, &params, &patch).await.unwrap();
}

#[tokio::test]
async fn an_instance_goes_where_its_physical_network_is() {
    let _shared = shared().await;
    let tenant = Tenant::new("phys").await;
    let _plain = Hollow::start("phys-1", "phys").await;
    let _near = Hollow::start("phys-2", "phys").await;
    tenant.vlans("phys", "phys-2", &["7"]).await;
    tenant.network_of("near", "phys").await;
    tenant.in_network("web", "near").await;
    let status = tenant.until("web", "Running").await;
    assert_eq!(status.node_name.as_deref(), Some("phys-2"));
    let jumbo = json!({"type": "vlan", "physicalNetwork": "phys-2", "ids": ["8"], "mtu": 9000});
    tenant.class("phys-jumbo", jumbo).await;
    tenant.network_of("wide", "phys-jumbo").await;
    tenant.in_network("big", "wide").await;
    let status = tenant.until("big", "NoValidHost").await;
    let said = ready_message(&status);
    assert!(
        said.contains("1 physical network missing") && said.contains("1 MTU of the NIC too small"),
        "{said}"
    );
}

#[tokio::test]
async fn another_leader_gives_no_vlan_twice() {
    let _alone = alone().await;
    let tenant = Tenant::new("revlan").await;
    let ids = ["40-45"];
    tenant.vlans("revlan", "revlan-1", &ids).await;
    let mut given = Vec::new();
    for name in ["a", "b", "c"] {
        tenant.network_of(name, "revlan").await;
        given.push(tenant.id(name).await);
    }
    assert_eq!(given, [Some(40), Some(41), Some(42)]);
    tenant.delete_network("b").await;
    tenant.network_gone("b").await;
    change_leader(&tenant.client).await;
    for (name, id) in [("d", 41), ("e", 43)] {
        tenant.network_of(name, "revlan").await;
        assert_eq!(tenant.id(name).await, Some(id), "{name}");
    }
    let all: Vec<Network> = tenant
        .networks()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let kept = |name: &str| {
        let network = all.iter().find(|n| n.name_any() == name).unwrap();
        network
            .status
            .as_ref()
            .unwrap()
            .segment
            .as_ref()
            .unwrap()
            .id
    };
    assert_eq!((kept("a"), kept("c")), (Some(40), Some(42)));
}
