//! Everything on a node that may be there because of an Instance, to compare before and after.

use std::collections::BTreeSet;

use crate::{
    Result,
    lab::Node,
    wait::{GENEROUS, wait_for},
};

/// Lists, a line each, without what changes by itself: libvirt's domains, the links, addresses and rules of every
/// netns, the files of the agent and of libvirt, the programs that run. Not: cached images, and logs of libvirt's own.
const SCRIPT: &str = r#"
virsh -q list --all --uuid | sed '/^$/d; s/^/domain /'
look() { # NAME COMMAND...: the network of a netns, through the command that enters it
  local name=$1; shift
  "$@" ip -o link | sed -E "s/^[0-9]+: ([^@:]*).*/link $name \1/"
  "$@" ip -o addr | awk -v n="$name" '{print "address", n, $2, $4}' | grep -v ' fe80:' || true
  "$@" ip route | sed "s/^/route $name /"
  "$@" nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//; s/expires [0-9smhd]+//' | sed '/^\s*$/d' | sort | uniq -c | sed "s/^/rule $name /"
}
look node
for netns in $(ip netns list | cut -d' ' -f1); do
  echo "netns $netns"
  look "$netns" ip netns exec "$netns"
done
find /var/lib/kilonova /run/kilonova /etc/libvirt /var/lib/libvirt /run/libvirt -mindepth 1 2>/dev/null \
  | grep -v -e '^/var/lib/kilonova/images/' -e '/libvirt/qemu/dbus' -e '/libvirt/.*\.pid$' -e '^/run/kilonova/segments$' | sed 's/^/file /'
inode=$(readlink /proc/self/ns/mnt)
for process in /proc/[0-9]*; do
  [ "$(readlink "$process/ns/mnt" 2>/dev/null)" = "$inode" ] || continue
  name=$(cat "$process/comm" 2>/dev/null) || continue
  case $name in qemu-system*|dnsmasq|qemu-img|nft) echo "process $name $(tr '\0' ' ' < "$process/cmdline")" ;; esac
done
"#;

/// Lists what changes by itself: partial downloads, DHCP pairs and leases, each with its netns and MAC.
const CHANGING: &str = r#"
find /var/lib/kilonova/images -name '*.part' 2>/dev/null | sed 's/^/partial /'
for segment in /run/kilonova/segments/*; do
  mac='([0-9a-f]{2}:){5}[0-9a-f]{2}'
  cat "$segment"/hosts/* 2>/dev/null | grep -oE "$mac" | sed "s/^/host ${segment##*/} /" || true
  cut -d' ' -f2 "$segment/leases" 2>/dev/null | grep -oE "$mac" | sed "s/^/lease ${segment##*/} /" || true
done
"#;

/// What is on a node.
///
/// # Errors
/// When the node cannot be looked at.
pub async fn inventory(node: &Node) -> Result<BTreeSet<String>> {
    list(node, SCRIPT).await
}

/// The same, and what changes by itself.
pub(super) async fn everything(node: &Node) -> Result<BTreeSet<String>> {
    list(node, &format!("{SCRIPT}{CHANGING}")).await
}

async fn list(node: &Node, script: &str) -> Result<BTreeSet<String>> {
    let listed = node.sh(script).await?;
    Ok(listed.lines().map(|line| line.trim().to_owned()).collect())
}

/// Waits until no libvirt domain and no Segment is on a node, and gives what is there.
///
/// # Errors
/// When some stay.
pub async fn empty_inventory(node: &Node) -> Result<BTreeSet<String>> {
    wait_for("the node to be empty", GENEROUS, || async {
        let seen = inventory(node).await.map_err(|e| e.to_string())?;
        let busy = |l: &&String| l.starts_with("domain ") || l.starts_with("netns ");
        match seen.iter().find(busy) {
            Some(line) => Err(line.clone()),
            None => Ok(seen),
        }
    })
    .await
}
