//! The agent or a DHCP server ends under traffic.

use kilonova_e2e::cloud::{Flow, inventory};

use crate::{
    alone,
    guests::{another_dhcp_server, at, configured, create, dhcp_servers, difference, told_by_dhcp},
    world::WORLD,
};

#[tokio::test]
async fn b44_an_agent_that_is_killed_under_traffic_loses_no_packet_and_dhcp_is_soon_back() {
    let (_alone, cloud) = alone().await;
    let (node, agent) = (cloud.lab().node(0), cloud.lab().agent(0));
    let shop = cloud.tenant("b44").await.unwrap();
    let one = create(&shop, "node-1", "one", at("10.0.0.21")).await;
    let two = create(&shop, "node-1", "two", at("10.0.0.22")).await;
    configured(&two, "true").await;
    configured(&one, "true").await;
    one.ready("Running").await.unwrap();
    two.ready("Running").await.unwrap();
    let netns = one.netns().await.unwrap();
    let server = dhcp_servers(node, &netns).await;
    assert_eq!(server.len(), 1);
    let before = inventory(node).await.unwrap();
    let flows = [
        Flow::start(&one, "10.0.0.22").await.unwrap(),
        Flow::start(&one, WORLD).await.unwrap(),
    ];

    for flow in &flows {
        flow.goes_on().await.unwrap();
    }
    agent.kill().unwrap();
    for flow in &flows {
        flow.goes_on().await.unwrap();
    }
    agent.start().unwrap();
    another_dhcp_server(node, &netns, &server).await;
    assert_eq!(told_by_dhcp(&one).await["ip"], "10.0.0.21");
    // What it declares is carried out by the new agent: so it has looked at everything.
    let other = create(&shop, "node-1", "other", at("10.0.0.23")).await;
    other.ready("Running").await.unwrap();
    other.delete().await.unwrap();
    other.gone().await.unwrap();
    for flow in flows {
        flow.goes_on().await.unwrap();
        let answers = flow.end().await.unwrap();
        let all: Vec<_> = (0..).take(answers.len()).collect();
        assert_eq!(answers, all, "each was answered, once");
    }
    let after = inventory(node).await.unwrap();
    assert_eq!(difference(&before, &after), "", "nothing twice or less");

    let server = dhcp_servers(node, &netns).await;
    node.sh(&format!("kill -9 {}", server.join(" ")))
        .await
        .unwrap();
    another_dhcp_server(node, &netns, &server).await;
    for (guest, ip) in [(&one, "10.0.0.21"), (&two, "10.0.0.22")] {
        let told = told_by_dhcp(guest).await;
        assert_eq!(
            (told["ip"].as_str(), told["hostname"].as_str()),
            (ip, guest.name())
        );
    }
    shop.close().await.unwrap();
}
