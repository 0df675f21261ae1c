//! A guest that lies: what it sends as somebody else leaves it, and reaches nobody.

use kilonova_e2e::{
    cloud::InstanceHandle,
    wait::{GENEROUS, wait_for},
};

use crate::{
    capture::Capture,
    guests::{at, configured, create, mac, pings, told_by_dhcp},
    together,
};

const LIAR: &str = "10.0.0.21";
const PEER: &str = "10.0.0.22";
/// Nobody has it.
const OTHER: &str = "10.0.0.99";
const GATEWAY: &str = "10.0.0.1";
/// Nobody has it either.
const OTHER_MAC: &str = "02:00:00:00:00:99";

/// Once as itself, then as others, then as itself again. The sizes of the echo requests tell them apart.
const LIES: &str = "
ping -c 2 -W 5 -s 101 PEER
for false in OTHER GATEWAY; do
  ip addr add $false/32 dev eth0
  ping -c 2 -W 1 -s 102 -I $false PEER
  arping -c 2 -U -s $false -I eth0 $false
  arping -c 2 -A -s $false -I eth0 $false
  ip addr del $false/32 dev eth0
done
ip link set dev eth0 address OTHER_MAC
ping -c 2 -W 1 -s 103 PEER
arping -c 2 -U -s LIAR -I eth0 LIAR
ip link set dev eth0 address MAC
ping -c 5 -W 10 -s 104 PEER
echo told
";

#[tokio::test]
async fn b41_a_guest_that_takes_anothers_mac_or_address_reaches_nobody() {
    let (_guard, cloud) = together().await;
    let shop = cloud.tenant("b41").await.unwrap();
    let liar = create(&shop, "node-2", "liar", at(LIAR)).await;
    let peer = create(&shop, "node-2", "peer", at(PEER)).await;
    configured(&peer, "true").await;
    configured(&liar, "true").await;
    let own = mac(&liar).await;
    let sent = Capture::at(&cloud, &liar).await;
    let come = Capture::at(&cloud, &peer).await;
    tell(&liar, &own).await;

    // Frames keep their order: after the last one that passes, no other comes.
    for echo in ["length 109", "length 112"] {
        come.until(&format!("{LIAR} > {PEER}: ICMP echo request"))
            .await;
        come.until(echo).await;
    }
    for lie in [
        format!("{OTHER_MAC} > "),
        format!(
            "{own} > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request who-has {OTHER}"
        ),
        format!(
            "{own} > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Reply {OTHER} is-at {own}"
        ),
        format!("Reply {GATEWAY} is-at {own}"),
        format!("{OTHER} > {PEER}: ICMP echo request"),
        format!("{GATEWAY} > {PEER}: ICMP echo request"),
    ] {
        assert!(!sent.lines(&lie).is_empty(), "it was not told: {lie}");
        assert_eq!(come.lines(&lie), [""; 0], "it came through");
    }
    assert_eq!(come.lines(OTHER), [""; 0]);
    assert_eq!(come.lines(OTHER_MAC), [""; 0]);
    let from_liar = come.lines(&format!("{own} > "));
    let ipv6: Vec<_> = from_liar.iter().filter(|l| l.contains("IPv6")).collect();
    assert!(ipv6.is_empty(), "{ipv6:?}");
    assert!(pings(&peer, GATEWAY).await);
    let neighbours = peer.sh("ip neigh show").await.unwrap();
    for line in neighbours.lines().filter(|line| line.contains(&own)) {
        assert!(line.starts_with(&format!("{LIAR} ")), "{neighbours}");
    }
    rogue_dhcp(&liar, &peer, &sent, &come).await;
    shop.close().await.unwrap();
}

/// Lets it lie, which takes its own connections away for a while, until it is itself again.
async fn tell(liar: &InstanceHandle<'_>, own: &str) {
    let words = [
        ("OTHER_MAC", OTHER_MAC),
        ("MAC", own),
        ("LIAR", LIAR),
        ("PEER", PEER),
        ("OTHER", OTHER),
        ("GATEWAY", GATEWAY),
    ];
    let fill = |text: String, (word, value): (&str, &str)| text.replace(word, value);
    let lies = words.into_iter().fold(LIES.to_owned(), fill);
    let start = format!(
        "cat > /tmp/lies << 'END'\n{lies}\nEND\nsetsid sh /tmp/lies > /tmp/told 2>&1 < /dev/null &"
    );
    liar.sh(&start).await.unwrap();
    wait_for("it to have told all its lies", GENEROUS, || async {
        let told = liar.sh("cat /tmp/told").await.map_err(|e| e.to_string())?;
        if told.lines().any(|line| line == "told") {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await
    .unwrap();
}

/// It serves DHCP and offers addresses; its offers leave it, and come to nobody.
async fn rogue_dhcp(
    liar: &InstanceHandle<'_>,
    peer: &InstanceHandle<'_>,
    sent: &Capture,
    come: &Capture,
) {
    let serve =
        "printf 'start 10.0.0.200\\nend 10.0.0.210\\ninterface eth0\\nlease_file /tmp/leases\\n\
        pidfile /tmp/udhcpd.pid\\noption router 10.0.0.21\\n' > /tmp/udhcpd.conf; touch /tmp/leases
        setsid udhcpd -f -a 1 /tmp/udhcpd.conf > /tmp/udhcpd.log 2>&1 < /dev/null &
        until grep -q started /tmp/udhcpd.log; do usleep 100000; done";
    liar.sh(serve).await.unwrap();
    let told = told_by_dhcp(peer).await;
    assert_eq!(
        (told["ip"].as_str(), told["router"].as_str()),
        (PEER, GATEWAY)
    );
    let offer = format!("{LIAR}.67 > ");
    sent.until(&offer).await;
    // Once this one has come, what was sent before it has come or will not.
    liar.sh(&format!("ping -c 3 -W 10 -s 105 {PEER}"))
        .await
        .unwrap();
    come.until("length 113").await;
    assert_eq!(come.lines(&offer), [""; 0]);
    assert!(!come.lines(&format!("{GATEWAY}.67 > ")).is_empty());
}
