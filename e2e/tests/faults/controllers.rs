//! The controllers die before and after each kind of write.

use kilonova_crds::v1alpha1::Hypervisor;
use kilonova_e2e::{
    cloud::{InstanceHandle, lawful},
    wait::{GENEROUS, wait_for},
};
use kube::Api;
use serde_json::{Value, json};

use crate::{
    play,
    stage::{OWN, Stage, asked_for, ended},
};

/// What makes the controllers do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A Network, a `KeyPair` and an image are made.
    Offer,
    /// The Network is deleted.
    Withdraw,
    /// An instance is created.
    Create,
    /// Its power is changed.
    Power,
    /// What its Network tells of DNS is changed.
    Network,
    /// It is deleted.
    Delete,
    /// It is bound, and before it is dispatched its node takes no more.
    Unbind,
    /// A node appears.
    Node,
    /// They start.
    Restart,
}

/// A way to each effect.
pub const WAYS: &[(&str, Way)] = &[
    ("report_image", Way::Offer),
    ("report_key_pair", Way::Offer),
    ("report_network", Way::Offer),
    ("hold_network", Way::Offer),
    ("free_network", Way::Withdraw),
    ("hold_instance", Way::Create),
    ("bind", Way::Create),
    ("put_user_data", Way::Create),
    ("create_segment", Way::Create),
    ("create_domain", Way::Create),
    ("delete_user_data", Way::Create),
    ("report_instance", Way::Create),
    ("tell_event", Way::Create),
    ("update_domain", Way::Power),
    ("update_segment", Way::Network),
    ("update_domain", Way::Delete),
    ("free_instance", Way::Delete),
    ("delete_domain", Way::Delete),
    ("delete_segment", Way::Delete),
    ("take_back", Way::Unbind),
    ("make_node_namespace", Way::Node),
    ("report_hypervisor", Way::Node),
    ("take_lease", Way::Restart),
    ("renew_lease", Way::Restart),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b50_b51_b54_the_controllers_die_before_and_after_each_write_and_the_law_holds() {
    let stage = Stage::start("faults-controllers").await;
    stage.play(story(&stage)).await;
}

async fn story(stage: &Stage) {
    let failpoints = stage.cloud.lab().controllers_failpoints(0);
    let effects = WAYS.iter().map(|(effect, _)| *effect);
    let mut play = Play::begin(stage, "controllers", failpoints, effects).await;
    for (effect, way) in WAYS.iter().filter(|(effect, _)| asked_for(effect)) {
        play.die(effect, *way).await;
    }
    play.nothing_is_claimed_but_by_the_neighbour().await;
}

/// The controllers, as the program of a play.
struct Controllers;

type Play<'a> = play::Play<'a, Controllers>;

impl Play<'_> {
    /// Has the controllers die before an effect, and once it was started again, after it.
    async fn die(&mut self, effect: &str, way: Way) {
        let what = &format!("{effect}, {way:?}");
        let [before, after] = [format!("{effect}/before"), format!("{effect}/after")];
        let points = &[&*before, &*after][..];
        eprintln!("{what}");
        match way {
            Way::Offer => {
                let name = &self.offer(points, what).await;
                self.withdraw(&[], name, what).await;
            }
            Way::Withdraw => {
                let name = &self.offer(&[], what).await;
                self.withdraw(points, name, what).await;
            }
            Way::Create => self.create(points, what).await,
            Way::Power => self.power(points, what).await,
            Way::Network => self.network(points, what).await,
            Way::Delete => self.delete(points, what).await,
            Way::Unbind => self.unbind(points, what).await,
            Way::Node => self.node(points, what).await,
            Way::Restart => self.restart(points, what).await,
        }
        self.clock.say(what);
    }

    async fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        let output = self.stage.cloud.lab().kubectl(args).await.unwrap();
        output.checked().unwrap().stdout
    }

    async fn offer(&self, points: &[&str], what: &str) -> String {
        let (cloud, shop) = (&self.stage.cloud, &self.troupe.shop);
        let name = self.stage.name("offer");
        let subnets = json!({"class": "local", "subnets": [{"cidr": "10.2.0.0/24"}]});
        let objects = [
            self.stage.image_object(&name),
            shop.object("Network", &name, &subnets),
            shop.object("KeyPair", &name, &json!({"publicKey": cloud.key().public})),
        ];
        self.failpoints.arm(points).unwrap();
        cloud.apply(&objects).await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        for (kind, field, value) in [
            (
                "clusterimage",
                "{.status.conditions[?(@.type=='Ready')].status}",
                "True",
            ),
            (
                "network",
                "{.status.conditions[?(@.type=='Ready')].status}",
                "True",
            ),
            ("keypair", "{.status.fingerprint}", "SHA256:"),
        ] {
            let path = format!("-o=jsonpath={field}");
            let args = ["get", kind, &name, "-n", shop.namespace(), &path];
            wait_for(format!("{what}: {kind}"), GENEROUS, || async {
                let seen = self.kubectl(args).await;
                if seen.starts_with(value) {
                    Ok(())
                } else {
                    Err(seen)
                }
            })
            .await
            .unwrap();
        }
        name
    }

    async fn withdraw(&self, points: &[&str], name: &str, what: &str) {
        self.failpoints.arm(points).unwrap();
        let shop = self.troupe.shop.namespace();
        // It waits until they are gone.
        let names = [format!("network/{name}"), format!("keypair/{name}")];
        self.kubectl(["delete", &names[0], &names[1], "-n", shop, "--timeout=60s"])
            .await;
        self.stage.fired(&self.failpoints, what).await;
        self.kubectl(["delete", "clusterimage", name]).await;
    }

    async fn create(&self, points: &[&str], what: &str) {
        self.failpoints.arm(points).unwrap();
        let web = self.troupe.create(&self.stage.name("web"), json!({})).await;
        web.ready("Running").await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        self.holds(what).await;
        self.remove(web, what).await;
    }

    async fn power(&self, points: &[&str], what: &str) {
        let web = self.running().await;
        self.failpoints.arm(points).unwrap();
        web.power("Paused").await.unwrap();
        web.ready("Paused").await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        self.holds(what).await;
        assert_eq!(web.domain_state().await.unwrap(), "paused");
        self.remove(web, what).await;
    }

    async fn network(&self, points: &[&str], what: &str) {
        let web = self.running().await;
        self.failpoints.arm(points).unwrap();
        let server = "10.1.0.2";
        let subnets = json!({"spec": {"subnets": [{"cidr": "10.1.0.0/24", "dns": [server]}]}});
        let patch = format!("--patch={subnets}");
        let args = [
            "patch",
            "network",
            OWN,
            "-n",
            self.troupe.shop.namespace(),
            "--type=merge",
        ];
        self.kubectl(args.into_iter().chain([&*patch])).await;
        self.stage.fired(&self.failpoints, what).await;
        let netns = web.netns().await.unwrap();
        let node = self.stage.cloud.lab().node(0);
        let told = format!("grep -l {server} /run/kilonova/segments/{netns}/dnsmasq.conf");
        wait_for(format!("{what}: guests to be told"), GENEROUS, || async {
            node.sh(&told).await.map_err(|e| e.to_string())
        })
        .await
        .unwrap();
        self.holds(what).await;
        self.remove(web, what).await;
    }

    async fn delete(&self, points: &[&str], what: &str) {
        let web = self.running().await;
        self.failpoints.arm(points).unwrap();
        web.delete().await.unwrap();
        web.gone().await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        self.stage.as_before(&self.alone, what).await;
    }

    async fn unbind(&self, points: &[&str], what: &str) {
        let controllers = &self.stage.cloud.lab().controllers()[0];
        let dead = self.stage.leave_dead();
        self.failpoints
            .arm(&[&["bind/after"][..], points].concat())
            .unwrap();
        let web = self.troupe.create(&self.stage.name("web"), json!({})).await;
        ended(controllers).await;
        assert!(
            web.status().await.unwrap().node_name.is_some(),
            "it is bound"
        );
        self.kubectl(["cordon", "node-1"]).await;
        drop(dead);
        self.stage.fired(&self.failpoints, what).await;
        web.until("not to be bound", |i| {
            i.status.as_ref().is_some_and(|s| s.node_name.is_none())
        })
        .await
        .unwrap();
        self.kubectl(["uncordon", "node-1"]).await;
        web.ready("Running").await.unwrap();
        self.holds(what).await;
        self.remove(web, what).await;
    }

    async fn node(&self, points: &[&str], what: &str) {
        let name = self.stage.name("ghost");
        let ghost = json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor", "metadata": {"name": name}, "spec": {},
        });
        self.failpoints.arm(points).unwrap();
        self.stage.cloud.apply(&[ghost]).await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        let told = |h: &Hypervisor| {
            let status = h.status.as_ref();
            status.is_some_and(|s| s.conditions.iter().any(|c| c.type_ == "Ready"))
        };
        self.stage
            .cloud
            .hypervisor(&name, "a Ready condition", told)
            .await
            .unwrap();
        let namespace = kilonova_crds::names::node_namespace(&name);
        let account = [
            "get",
            "serviceaccount",
            kilonova_crds::names::NODE_SERVICE_ACCOUNT,
            "-n",
            &namespace,
        ];
        wait_for(format!("{what}: its account"), GENEROUS, || async {
            let output = self.stage.cloud.lab().kubectl(account).await;
            output
                .and_then(kilonova_e2e::process::Output::checked)
                .map(drop)
                .map_err(|e| e.to_string())
        })
        .await
        .unwrap();
        self.kubectl(["delete", "hypervisor", &name]).await;
    }

    async fn restart(&self, points: &[&str], what: &str) {
        let web = self.running().await;
        self.failpoints.arm(points).unwrap();
        self.stage.cloud.lab().controllers()[0].kill().unwrap();
        self.stage.fired(&self.failpoints, what).await;
        self.holds(what).await;
        self.remove(web, what).await;
    }

    async fn running(&self) -> InstanceHandle<'_> {
        let web = self.troupe.create(&self.stage.name("web"), json!({})).await;
        web.ready("Running").await.unwrap();
        web
    }

    async fn holds(&self, what: &str) {
        lawful(&self.stage.cloud)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
    }

    async fn remove(&self, web: InstanceHandle<'_>, what: &str) {
        web.delete().await.unwrap();
        web.gone().await.unwrap();
        self.stage.as_before(&self.alone, what).await;
    }

    /// One that takes all CPUs of the node but the neighbour's finds room.
    async fn nothing_is_claimed_but_by_the_neighbour(&self) {
        let hypervisors: Api<Hypervisor> = Api::all(self.stage.cloud.client());
        let status = hypervisors.get("node-1").await.unwrap().status.unwrap();
        // Nova's overcommit, which is the default: 4 vCPUs a core.
        let vcpus = status.capacity.unwrap().vcpus * 4;
        let flavor = |name: &str, vcpus: u32| -> Value {
            json!({
                "apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": name},
                "spec": {"vcpus": vcpus, "memory": "128Mi", "disk": "256Mi"},
            })
        };
        let flavors = [flavor("rest", vcpus - 1), flavor("all", vcpus)];
        self.stage.cloud.apply(&flavors).await.unwrap();
        let off = |flavor: &str| json!({"flavor": flavor, "power": "Off"});
        let all = self.troupe.create("all", off("all")).await;
        let none = kilonova_crds::ConditionStatus::False;
        all.condition("Scheduled", none, "NoValidHost")
            .await
            .unwrap();
        all.delete().await.unwrap();
        all.gone().await.unwrap();
        let rest = self.troupe.create("rest", off("rest")).await;
        rest.ready("Stopped").await.unwrap();
        self.remove(rest, "all claims").await;
    }
}
