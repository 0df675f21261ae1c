//! Nodes that do not answer, and domains whose Instance is gone or not known.

use crate::hollow::{Hollow, set_taints};
use crate::lab::{Tenant, alone, lab, ready_message, shared};
use kilonova_crds::node::Disposition;
use kilonova_crds::v1alpha1::{Capacity, Orphan, OrphanPort, PowerState};
use kilonova_crds::{Domain, names};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn b58_a_silent_node_is_unknown_and_its_end_must_be_said() {
    let _shared = shared().await;
    let tenant = Tenant::new("silent").await;
    let mut node = Hollow::start("silent-1", "silent").await;
    for name in ["stays", "goes"] {
        tenant.instance(name, &json!({})).await;
        tenant.until(name, "Running").await;
    }
    node.silence();
    let status = tenant.until("stays", "NodeUnreachable").await;
    assert_eq!(status.power_state, Some(PowerState::Unknown));
    tenant.delete("goes").await;
    let status = tenant.until("goes", "Terminating").await;
    assert!(
        ready_message(&status).contains("out-of-service"),
        "{status:?}"
    );

    let gone = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
    set_taints(&tenant.client, &node.name, &gone).await;
    tenant.until_gone("goes").await;
    let left = node.domains().await;
    let forfeited = left.iter().find(|d| d.spec.forfeited).unwrap();
    assert_eq!(forfeited.spec.disposition, Disposition::Purge);

    set_taints(&tenant.client, &node.name, &json!(null)).await;
    node.wake();
    tenant.until("stays", "Running").await;
    let look = || async {
        match node.domains().await.len() {
            1 => Ok(()),
            count => Err(format!("{count} Domains")),
        }
    };
    wait_for("the forfeited Domain to be purged", GENEROUS, look)
        .await
        .unwrap();
}

#[tokio::test]
async fn b64_a_domain_whose_instance_was_removed_by_force_is_kept_a_while() {
    let _alone = alone().await;
    let tenant = Tenant::new("force").await;
    let mut node = Hollow::start("force-1", "force").await;
    tenant.instance("web", &json!({})).await;
    tenant.until("web", "Running").await;
    // Its Purge would be ordered at once; so the finalizer goes in the moment of the deletion.
    let uid = tenant.uid("web").await;
    node.silence();
    for replica in lab().controllers() {
        replica.kill().unwrap();
    }
    tenant.delete("web").await;
    tenant
        .patch("web", &json!({"metadata": {"finalizers": null}}))
        .await;
    tenant.until_gone("web").await;
    for replica in lab().controllers() {
        replica.start().unwrap();
    }
    let domains: Api<Domain> = Api::namespaced(tenant.client.clone(), &node.namespace);
    let look = || async {
        let domain = domains.get(&uid).await.unwrap();
        let stamped = domain.metadata.annotations.clone().unwrap_or_default();
        match domain.spec.disposition {
            Disposition::Release if stamped.contains_key(names::ABANDONED_ANNOTATION) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    wait_for("the Domain to be released", GENEROUS, look)
        .await
        .unwrap();
    node.wake();
    let look = || async {
        match node.domains().await.as_slice() {
            [] => Ok(()),
            left => Err(format!("{:?}", left[0].spec.disposition)),
        }
    };
    wait_for("its retention to pass", GENEROUS, look)
        .await
        .unwrap();
}

#[tokio::test]
async fn b68_an_instance_without_status_finds_its_domain_again() {
    let _alone = alone().await;
    let tenant = Tenant::new("restored").await;
    let other = Hollow::start("restored-1", "restored").await;
    tenant.instance("web", &json!({})).await;
    let before = tenant.until("web", "Running").await;
    let node = Hollow::start("restored-2", "restored").await;
    assert_eq!(before.node_name.as_deref(), Some("restored-1"));
    let instance = tenant.instances().get("web").await.unwrap();
    let domain = other.domains().await.remove(0);

    // As after a restore without status: the API knows the Instance only, a node has the domain;
    // and it is the other node, where placement would not go by itself.
    for replica in lab().controllers() {
        replica.kill().unwrap();
    }
    let domains: Api<Domain> = Api::namespaced(tenant.client.clone(), &other.namespace);
    let (uid, params) = (&domain.spec.instance.uid, DeleteParams::default());
    domains.delete(uid, &params).await.unwrap();
    let empty = Patch::Merge(json!({"status": null}));
    let params = PatchParams::default();
    let instances = tenant.instances();
    instances
        .patch_status("web", &params, &empty)
        .await
        .unwrap();
    let port = &domain.spec.ports[0];
    node.report(&[Orphan {
        uuid: domain.spec.uuid.clone(),
        namespace: domain.spec.instance.namespace.clone(),
        namespace_uid: domain.spec.instance.namespace_uid.clone(),
        name: domain.spec.instance.name.clone(),
        uid: domain.spec.instance.uid.clone(),
        claim: Capacity {
            vcpus: domain.spec.vcpus,
            memory: domain.spec.memory.clone(),
            disk: domain.spec.disk.clone(),
        },
        ports: vec![OrphanPort {
            network_uid: port.segment.clone(),
            mac: port.mac.clone(),
            ips: port.ips.iter().map(|ip| ip.ip.clone()).collect(),
            segment: None,
        }],
    }])
    .await;
    for replica in lab().controllers() {
        replica.start().unwrap();
    }
    let after = tenant.until("web", "Running").await;
    assert_eq!(after.node_name.as_deref(), Some("restored-2"));
    assert_eq!(after.uuid, before.uuid);
    assert_eq!(after.addresses, before.addresses);
    let again = node.domains().await.remove(0);
    assert_eq!(
        again.spec.root_disk,
        kilonova_crds::node::RootDisk::Existing
    );
    assert_eq!(Some(again.spec.instance.uid), instance.metadata.uid);
}
