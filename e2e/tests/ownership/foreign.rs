//! libvirt domains that are nobody's, or another cluster's.

use kilonova_crds::{ConditionStatus::False, condition::types::SCHEDULED, v1alpha1::Hypervisor};
use kilonova_e2e::{
    cloud::{Cloud, summary},
    lab::Node,
};
use serde_json::json;

use crate::{hand, on, shared};

const NOBODYS: &str = "11111111-9d1e-4b57-8a53-0d8e35bfb0c1";
const ANOTHERS: &str = "22222222-9d1e-4b57-8a53-0d8e35bfb0c1";

#[tokio::test]
async fn a_foreign_domain_is_never_touched_and_what_it_uses_is_not_free() {
    let (_shared, cloud) = shared().await;
    let node = cloud.lab().node(0);
    let shop = cloud.tenant("foreign").await.unwrap();
    let web = shop.create("web", on("node-1", json!({}))).await.unwrap();
    web.ready("Running").await.unwrap();
    let has_capacity = |h: &Hypervisor| h.status.as_ref().is_some_and(|s| s.capacity.is_some());
    let hypervisor = cloud.hypervisor("node-1", "capacity", has_capacity).await;
    let capacity = hypervisor.unwrap().status.unwrap().capacity.unwrap();
    let whole = capacity.memory.bytes().unwrap();
    let half = (whole / 2) >> 20 << 20;
    define(node, half >> 20, &web.uuid().await.unwrap()).await;
    let before = look(node).await;

    told(&cloud, 1, half).await;
    // 5/8 of a node of which half is taken.
    let flavor = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": "large"},
        "spec": {"vcpus": 1, "memory": format!("{}Mi", (whole / 8 * 5) >> 20), "disk": "256Mi"},
    });
    cloud.apply(&[flavor]).await.unwrap();
    let large = on("node-1", json!({"flavor": "large", "power": "Off"}));
    let large = shop.create("large", large).await.unwrap();
    let waits = large
        .condition(SCHEDULED, False, "NoValidHost")
        .await
        .unwrap();
    assert!(
        summary(&waits).contains("1 too little memory"),
        "{}",
        summary(&waits)
    );

    let agent = &hand::agent(&cloud, "node-1")[0];
    agent.kill().unwrap();
    agent.start().unwrap();
    let beside = shop
        .create("beside", on("node-1", json!({})))
        .await
        .unwrap();
    beside.ready("Running").await.unwrap();
    beside.delete().await.unwrap();
    beside.gone().await.unwrap();
    node.libvirt().kill().unwrap();
    agent.kill().unwrap();
    node.libvirt().start().await.unwrap();
    agent.start().unwrap();
    web.delete().await.unwrap();
    web.gone().await.unwrap();
    assert_eq!(look(node).await, before);

    // What is off uses no memory: the large one is placed.
    node.virsh(["destroy", NOBODYS]).await.unwrap();
    told(&cloud, 0, 0).await;
    large
        .until("a node", |i| {
            i.status.as_ref().is_some_and(|s| s.node_name.is_some())
        })
        .await
        .unwrap();
    node.sh(&format!(
        "for uuid in {NOBODYS} {ANOTHERS}; do virsh -q undefine $uuid; done; \
         rm -r /var/lib/kilonova/instances/{ANOTHERS} /var/lib/libvirt/images/nobodys.raw"
    ))
    .await
    .unwrap();
    shop.close().await.unwrap();
}

/// Waits until the Hypervisor says that others use this, and lists nothing of theirs as an orphan.
async fn told(cloud: &Cloud, vcpus: u32, memory: u64) {
    let what = format!("{vcpus} foreign vCPUs, {memory} bytes of memory");
    let says = |h: &Hypervisor| {
        let status = h.status.clone().unwrap_or_default();
        let uses = |f: kilonova_crds::v1alpha1::Capacity| {
            (f.vcpus, f.memory.bytes().ok()) == (vcpus, Some(memory))
        };
        status.orphans.is_empty() && status.foreign.is_some_and(uses)
    };
    cloud.hypervisor("node-1", &what, says).await.unwrap();
}

/// Defines two: one of nobody's with one vCPU, which is started, and one of another cluster's with a directory as our
/// instances have it, made after one of ours.
async fn define(node: &Node, mebibytes: u64, ours: &str) {
    let nobodys = xml(
        "nobodys",
        NOBODYS,
        (1, mebibytes),
        "",
        "/var/lib/libvirt/images/nobodys.raw",
    );
    let owner = format!(
        "<metadata><kilonova:owner xmlns:kilonova='https://kilonova.dev/xmlns/instance/1' cluster='another' \
         namespace='foreign' namespaceUid='n' name='web' uid='{ANOTHERS}' uuid='{ANOTHERS}' definition='d'/></metadata>"
    );
    let disk = format!("/var/lib/kilonova/instances/{ANOTHERS}/disk.qcow2");
    let anothers = xml("anothers", ANOTHERS, (1, 64), &owner, &disk);
    let script = format!(
        r#"truncate -s 16M /var/lib/libvirt/images/nobodys.raw
chmod 666 /var/lib/libvirt/images/nobodys.raw
cd /var/lib/kilonova/instances
cp -a {ours} {ANOTHERS}
sed -i -E 's/{ours}/{ANOTHERS}/g; s/("clusterId": ?)"[^"]*"/\1"another"/' {ANOTHERS}/record.json
grep -q '"another"' {ANOTHERS}/record.json
rm {ANOTHERS}/disk.qcow2
qemu-img create -q -f qcow2 {ANOTHERS}/disk.qcow2 16M
chmod 666 {ANOTHERS}/disk.qcow2
echo "{nobodys}" > /run/nobodys.xml
echo "{anothers}" > /run/anothers.xml
for name in nobodys anothers; do virsh -q define /run/$name.xml; done
virsh -q start nobodys
"#
    );
    node.sh(&script).await.unwrap();
}

fn xml(name: &str, uuid: &str, (vcpus, mebibytes): (u32, u64), more: &str, disk: &str) -> String {
    let format = disk.rsplit('.').next().unwrap();
    format!(
        "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>{more}<memory unit='MiB'>{mebibytes}</memory>\
         <vcpu>{vcpus}</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><devices><disk type='file' \
         device='disk'><driver name='qemu' type='{format}'/><source file='{disk}'/><target dev='vda' bus='virtio'/>\
         </disk></devices></domain>"
    )
}

/// Everything of the two: which start it is, how it is defined, its files and their times.
async fn look(node: &Node) -> String {
    let script = format!(
        r"for uuid in {NOBODYS} {ANOTHERS}; do
virsh -q domid $uuid; virsh -q domstate $uuid; virsh -q dumpxml $uuid; virsh -q dumpxml --inactive $uuid
done
for file in $(find /var/lib/kilonova/instances/{ANOTHERS} /var/lib/libvirt/images/nobodys.raw -type f | sort); do
stat -c '%n %s %y %U %a' $file; sha256sum $file
done"
    );
    node.sh(&script).await.unwrap()
}
