//! From `create` to a guest that answers, and what it costs.

use kilonova_crds::v1alpha1::PowerState;
use kilonova_e2e::cloud::InstanceHandle;
use serde_json::json;

use crate::cloud;

#[tokio::test]
async fn b01_b02_a_created_instance_runs_answers_ssh_and_is_what_was_ordered() {
    let cloud = cloud().await;
    let shop = cloud.tenant("b01").await.unwrap();
    let script = "#!/bin/sh\necho \"user data ran on $(hostname)\"\n";
    let web = shop
        .create("web-1", json!({"flavor": "duo", "userData": script}))
        .await
        .unwrap();
    let ready = web.ready("Running").await.unwrap();
    let status = ready.status.unwrap();
    assert_eq!(status.power_state, Some(PowerState::Running));
    assert_eq!(status.node_name.as_deref(), Some("node-1"));
    assert_eq!(status.uuid, ready.metadata.uid, "one id for life");
    assert_eq!(
        status.addresses.as_deref(),
        Some(web.ip().await.unwrap().as_str())
    );
    assert_eq!(web.domain_state().await.unwrap(), "running");
    let listed = cloud.lab().node(0).virsh(["list", "--name"]).await.unwrap();
    let name = web.domain_name().await.unwrap();
    assert!(listed.lines().any(|line| line.trim() == name), "{listed}");

    assert_eq!(web.sh("nproc").await.unwrap(), "2");
    assert_eq!(web.sh("hostname").await.unwrap(), "web-1");
    let memory: u64 = web
        .sh("awk '$1 == \"MemTotal:\" {print $2}' /proc/meminfo")
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert!((110 * 1024..=160 * 1024).contains(&memory), "{memory} KiB");
    let sectors = web.sh("cat /sys/block/vda/size").await.unwrap();
    assert_eq!(sectors, (256 * 1024 * 1024 / 512).to_string());
    let addresses = web.sh("ip -o -4 addr show eth0").await.unwrap();
    let address = format!("inet {}/24", web.ip().await.unwrap());
    assert!(addresses.contains(&address), "{addresses}");
    let mac = &status.interfaces[0].mac;
    assert_eq!(
        &web.sh("cat /sys/class/net/eth0/address").await.unwrap(),
        mac
    );

    web.console_shows("web-1 login:").await.unwrap();
    web.console_shows("user data ran on web-1").await.unwrap();
    smbios_is_nova_s(&web, &status.uuid.unwrap()).await;
    shop.close().await.unwrap();
}

/// By which cloud-init's OpenStack data source knows where it is.
async fn smbios_is_nova_s(web: &InstanceHandle<'_>, uuid: &str) {
    let script = "cd /sys/class/dmi/id && cat sys_vendor product_name product_uuid";
    let said = web.sh(script).await.unwrap().to_lowercase();
    let wanted = format!("openstack foundation\nopenstack nova\n{uuid}");
    assert_eq!(said, wanted);
}
