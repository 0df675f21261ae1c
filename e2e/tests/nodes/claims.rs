//! What is claimed on each node, computed from the objects alone, at every moment.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex},
};

use futures::{TryStreamExt as _, future::join_all};
use kilonova_crds::{
    Quantity,
    condition::{find, types::SCHEDULED},
    v1alpha1::{Hypervisor, Instance},
};
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, Tenant},
    wait::{GENEROUS, wait_for},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{cloud, world};

/// vCPUs, and bytes of memory and disk.
type Sizes = [u64; 3];

fn bytes(quantity: &Quantity) -> u64 {
    quantity.bytes().unwrap()
}

/// (total − reserved) × ratio of every node, with Nova's defaults where its Hypervisor says nothing.
async fn allocatable(cloud: &Cloud) -> BTreeMap<String, Sizes> {
    let api: Api<Hypervisor> = Api::all(cloud.client());
    let hypervisors = api.list(&ListParams::default()).await.unwrap();
    let of = |hypervisor: Hypervisor| {
        let total = hypervisor.status.as_ref().unwrap().capacity.clone();
        let total = total.unwrap();
        let ratios = hypervisor.spec.overcommit.clone().unwrap_or_default();
        let ratio: f64 = ratios.cpu.as_deref().unwrap_or("4.0").parse().unwrap();
        let vcpus = f64::from(total.vcpus) * ratio;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number, rounded down"
        )]
        let vcpus = vcpus as u64;
        let memory = bytes(&total.memory) - (512 << 20);
        (hypervisor.name_any(), [vcpus, memory, bytes(&total.disk)])
    };
    hypervisors.items.into_iter().map(of).collect()
}

/// What Instances claim on each node.
fn claimed<'a>(instances: impl Iterator<Item = &'a Instance>) -> BTreeMap<String, Sizes> {
    let mut sums: BTreeMap<String, Sizes> = BTreeMap::new();
    for status in instances.filter_map(|i| i.status.as_ref()) {
        let (Some(node), Some(claim)) = (&status.node_name, &status.claim) else {
            continue;
        };
        let sum = sums.entry(node.clone()).or_default();
        let claim = [claim.vcpus.into(), bytes(&claim.memory), bytes(&claim.disk)];
        for (sum, claim) in sum.iter_mut().zip(claim) {
            *sum += claim;
        }
    }
    sums
}

fn fits(sizes: &Sizes, room: &Sizes) -> bool {
    sizes.iter().zip(room).all(|(size, room)| size <= room)
}

/// Follows all Instances; the task fails at the first moment at which a node has more claims than room.
async fn watch_claims(cloud: &Cloud, room: BTreeMap<String, Sizes>) -> (JoinHandle<()>, Seen) {
    let api: Api<Instance> = Api::all(cloud.client());
    let start = api.list(&ListParams::default()).await.unwrap();
    let version = start.metadata.resource_version.clone().unwrap();
    let seen = Seen::default();
    let count = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let mut there: BTreeMap<String, Instance> = BTreeMap::new();
        let events = api.watch(&WatchParams::default(), &version).await.unwrap();
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                WatchEvent::Added(i) | WatchEvent::Modified(i) => {
                    there.insert(i.uid().unwrap(), i);
                }
                WatchEvent::Deleted(i) => {
                    there.remove(&i.uid().unwrap());
                }
                other => panic!("{other:?}"),
            }
            let claims = claimed(there.values());
            for (node, claims) in &claims {
                assert!(fits(claims, &room[node]), "{node}: {claims:?} of {room:?}");
            }
            count.lock().unwrap().push(claims);
        }
    });
    (task, seen)
}

/// The claims at every moment.
type Seen = Arc<Mutex<Vec<BTreeMap<String, Sizes>>>>;

#[tokio::test]
async fn b29_claims_never_exceed_the_room_and_what_is_freed_is_used() {
    let (_alone, cloud) = cloud().await;
    let room = allocatable(&cloud).await;
    let [vcpus, memory, _] = room["node-1"];
    // Of the one, vCPUs suffice for two on a node; of the other, memory for two.
    let flavor = |name: &str, vcpus: u64, memory: u64| {
        json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": name},
            "spec": {"vcpus": vcpus, "memory": format!("{}Mi", memory >> 20), "disk": "256Mi"},
        })
    };
    let wide = flavor("wide", vcpus / 3 + 1, 128 << 20);
    let deep = flavor("deep", 1, memory / 5 * 2);
    cloud.apply(&[wide, deep]).await.unwrap();
    let (watch, seen) = watch_claims(&cloud, room.clone()).await;
    let shop = cloud.tenant("b29").await.unwrap();
    let created = (0..16).map(|n| create(&shop, n));
    let all = join_all(created).await;
    let bound = at_rest(&cloud, &room, all.len()).await;
    assert!(bound.len() < all.len(), "there is not room for all");
    assert!(bound.len() >= 9, "each node takes three: {bound:?}");
    for waits in all.iter().filter(|i| !bound.contains(&i.name().to_owned())) {
        let conditions = waits.status().await.unwrap().conditions;
        let message = &find(&conditions, SCHEDULED).unwrap().message;
        let why = [
            "0/3 hypervisors: 3 too few vcpus",
            "0/3 hypervisors: 3 too little memory",
        ];
        let mixed = message.contains("too few vcpus") && message.contains("too little memory");
        assert!(mixed || why.contains(&message.as_str()), "{message}");
    }

    // Half of those that have room go, at the same moment: their room is used, and no more than that.
    let go: Vec<_> = bound.iter().step_by(2).collect();
    let deleted = go.iter().map(|name| shop.instance(name));
    let deleted = deleted.map(|instance| async move {
        instance.delete().await.unwrap();
        instance.gone().await.unwrap();
    });
    join_all(deleted).await;
    let stay = bound.len() - go.len();
    let later = at_rest(&cloud, &room, all.len() - go.len()).await;
    assert!(later.len() > stay, "{bound:?}, then {later:?}");
    for name in &later {
        let instance = shop.instance(name);
        instance.ready("Stopped").await.unwrap();
        world::only_node(&cloud, &instance).await;
    }
    assert_eq!(world::libvirt_domains(&cloud).await.len(), later.len());
    caught_up(&cloud, &seen, &watch).await;
    assert!(!watch.is_finished(), "{:?}", watch.await);
    watch.abort();
    shop.close().await.unwrap();
}

async fn create<'a>(shop: &Tenant<'a>, n: usize) -> InstanceHandle<'a> {
    let flavor = if n.is_multiple_of(2) { "wide" } else { "deep" };
    let spec = json!({"power": "Off", "flavor": flavor});
    shop.create(&format!("{flavor}-{n}"), spec).await.unwrap()
}

/// Waits until none that waits would fit anywhere, and gives the names of those that are bound.
async fn at_rest(cloud: &Cloud, room: &BTreeMap<String, Sizes>, count: usize) -> Vec<String> {
    let [vcpus, memory, _] = room["node-1"];
    let size = |i: &Instance| match i.spec.flavor.as_str() {
        "wide" => [vcpus / 3 + 1, 128 << 20, 256 << 20],
        _ => [1, memory / 5 * 2, 256 << 20],
    };
    wait_for("none that fits to wait", GENEROUS, || async {
        let all = world::instances(cloud).await;
        let claims = claimed(all.iter());
        let free = |node: &String| {
            let used = claims.get(node).copied().unwrap_or_default();
            let room = room[node];
            std::array::from_fn(|n| room[n].saturating_sub(used[n]))
        };
        let is_bound = |i: &&Instance| i.status.as_ref().is_some_and(|s| s.node_name.is_some());
        let (bound, waiting): (Vec<_>, Vec<_>) = all.iter().partition(is_bound);
        let said = |i: &&Instance| {
            let status = i.status.as_ref().unwrap();
            find(&status.conditions, SCHEDULED).is_some_and(|c| c.reason == "NoValidHost")
        };
        let fitting: Vec<_> = waiting
            .iter()
            .filter(|i| !said(i) || room.keys().any(|node| fits(&size(i), &free(node))))
            .map(|i| i.name_any())
            .collect();
        if all.len() == count && fitting.is_empty() {
            Ok(bound.iter().map(|i| i.name_any()).collect())
        } else {
            Err(format!("of {} these wait: {fitting:?}", all.len()))
        }
    })
    .await
    .unwrap()
}

/// Waits until the watch has seen the claims as they are now, or has failed before.
async fn caught_up(cloud: &Cloud, seen: &Seen, watch: &JoinHandle<()>) {
    let now = claimed(world::instances(cloud).await.iter());
    wait_for("the watch to have seen all", GENEROUS, || async {
        let last = seen.lock().unwrap().last().cloned();
        if last.as_ref() == Some(&now) || watch.is_finished() {
            Ok(())
        } else {
            Err(format!("{last:?}, not {now:?}"))
        }
    })
    .await
    .unwrap();
}
