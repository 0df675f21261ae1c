//! The agent dies before and after each of its steps and other effects.

use kilonova_e2e::cloud::{InstanceHandle, lawful};
use serde_json::json;

use crate::{
    play,
    stage::{Stage, asked_for, ended},
};

/// What makes the agent do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An instance is created.
    Create,
    /// An instance is created whose image is not here.
    Fetch,
    /// An instance is deleted.
    Delete,
    /// One that was deleted left a Segment that nobody holds: the agent died after it had unplugged its last port.
    Leftover,
    /// Power changes: the declared one and the reason that Ready has then. The last of them is the one meant.
    Power(&'static [(&'static str, &'static str)]),
    /// The metadata of a libvirt domain say another name than its Instance has.
    Metadata,
    /// The agent starts.
    Restart,
    /// The agent starts on a node that has no Hypervisor.
    Register,
}

const SUSPEND: (&str, &str) = ("Suspended", "Suspended");

/// A way to each effect.
pub const WAYS: &[(&str, Way)] = &[
    ("confirm", Way::Create),
    ("fetch_image", Way::Fetch),
    ("write_record", Way::Create),
    ("create_disk", Way::Create),
    ("write_config_drive", Way::Create),
    ("define", Way::Create),
    ("ensure_segment", Way::Create),
    ("make_tap", Way::Create),
    ("start", Way::Create),
    ("plug", Way::Create),
    ("resume", Way::Create),
    ("report_domain", Way::Create),
    ("report_segment", Way::Create),
    ("keep_segment", Way::Create),
    ("confirm", Way::Delete),
    ("destroy", Way::Delete),
    ("unplug", Way::Delete),
    ("leave_segment", Way::Delete),
    ("undefine", Way::Delete),
    ("remove_files", Way::Delete),
    ("report_domain", Way::Delete),
    ("sweep_segment", Way::Leftover),
    ("pause", Way::Power(&[("Paused", "Paused")])),
    ("shutdown", Way::Power(&[("Off", "Stopped")])),
    ("save", Way::Power(&[SUSPEND])),
    ("discard", Way::Power(&[SUSPEND, ("Off", "Stopped")])),
    ("start", Way::Power(&[SUSPEND, ("On", "Running")])),
    ("set_metadata", Way::Metadata),
    ("resume_network", Way::Restart),
    ("keep_token", Way::Restart),
    ("renew_lease", Way::Restart),
    ("register", Way::Register),
    ("report_hypervisor", Way::Register),
];

/// What an agent that is started again does in another way: a Segment without a port is swept away, not left. So each
/// death has a life of its own.
const APART: &[&str] = &["leave_segment"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b50_b51_b54_the_agent_dies_before_and_after_each_effect_and_the_law_holds() {
    let stage = Stage::start("faults-agent").await;
    stage.play(story(&stage)).await;
}

async fn story(stage: &Stage) {
    let failpoints = stage.cloud.lab().agent_failpoints(0);
    let effects = WAYS.iter().map(|(effect, _)| *effect);
    let mut play = Play::begin(stage, "agent", failpoints, effects).await;
    let before = stage.qemus().await;
    for (effect, way) in WAYS.iter().filter(|(effect, _)| asked_for(effect)) {
        let points = [format!("{effect}/before"), format!("{effect}/after")];
        let lives: Vec<_> = if APART.contains(effect) {
            points.chunks(1).collect()
        } else {
            vec![&points[..]]
        };
        for points in lives {
            let points: Vec<_> = points.iter().map(String::as_str).collect();
            play.die(&points, *way).await;
        }
    }
    let steady: Vec<_> = before.difference(&stage.qemus().await).cloned().collect();
    assert!(steady.is_empty(), "the neighbour was touched");
}

/// The agent, as the program of a play.
struct Agent;

type Play<'a> = play::Play<'a, Agent>;

impl Play<'_> {
    /// Has the agent die at some points, in this order.
    async fn die(&mut self, points: &[&str], way: Way) {
        let what = &format!("{}, {way:?}", points.join(", "));
        eprintln!("{what}");
        match way {
            Way::Create => self.create(points, what, json!({})).await,
            Way::Fetch => {
                let image = self.stage.image().await;
                let spec = json!({"image": {"kind": "ClusterImage", "name": image}});
                self.create(points, what, spec).await;
            }
            Way::Delete => self.delete(points, what).await,
            Way::Leftover => {
                let points = [&["leave_segment/before"][..], points].concat();
                self.delete(&points, what).await;
            }
            Way::Power(changes) => self.power(points, what, changes).await,
            Way::Metadata => self.metadata(points, what).await,
            Way::Restart => self.restart(points, what).await,
            Way::Register => self.register(points, what).await,
        }
        self.clock.say(what);
    }

    async fn create(&self, points: &[&str], what: &str, spec: serde_json::Value) {
        self.failpoints.arm(points).unwrap();
        let web = self.troupe.create(&self.stage.name("web"), spec).await;
        web.ready("Running").await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        lawful(&self.stage.cloud)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        self.remove(web, what).await;
    }

    async fn delete(&self, points: &[&str], what: &str) {
        let web = self.running(json!({})).await;
        self.failpoints.arm(points).unwrap();
        web.delete().await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        web.gone().await.unwrap();
        self.stage.as_before(&self.alone, what).await;
    }

    async fn power(&self, points: &[&str], what: &str, changes: &[(&str, &str)]) {
        let grace = json!({"terminationGracePeriodSeconds": 1});
        let web = self.running(grace).await;
        let (last, first) = changes.split_last().unwrap();
        for (power, reason) in first {
            web.power(power).await.unwrap();
            web.ready(reason).await.unwrap();
        }
        self.failpoints.arm(points).unwrap();
        web.power(last.0).await.unwrap();
        web.ready(last.1).await.unwrap();
        self.stage.fired(&self.failpoints, what).await;
        lawful(&self.stage.cloud)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        self.remove(web, what).await;
    }

    async fn metadata(&self, points: &[&str], what: &str) {
        let web = self.running(json!({})).await;
        let name = format!(" name=\"{}\"", web.name());
        let uri = "https://kilonova.dev/xmlns/instance/1";
        let element = web.virsh("metadata", &[uri]).await.unwrap();
        assert!(element.contains(&name), "{element}");
        let other = element.replace(&name, " name=\"another\"");
        let agent = self.stage.cloud.lab().agent(0);
        let dead = self.stage.leave_dead();
        agent.kill().unwrap();
        let set = ["--key", "kilonova", "--set", &other, "--live", "--config"];
        web.virsh("metadata", &[&[uri][..], &set[..]].concat())
            .await
            .unwrap();
        self.failpoints.arm(points).unwrap();
        drop(dead);
        self.stage.fired(&self.failpoints, what).await;
        lawful(&self.stage.cloud).await.unwrap();
        let whose = || async {
            let element = web
                .virsh("metadata", &[uri])
                .await
                .map_err(|e| e.to_string())?;
            if element.contains(&name) {
                Ok(())
            } else {
                Err(element)
            }
        };
        let limit = kilonova_e2e::wait::GENEROUS;
        kilonova_e2e::wait::wait_for("the name to be right again", limit, whose)
            .await
            .unwrap();
        self.remove(web, what).await;
    }

    async fn restart(&self, points: &[&str], what: &str) {
        self.failpoints.arm(points).unwrap();
        self.stage.cloud.lab().agent(0).kill().unwrap();
        self.stage.fired(&self.failpoints, what).await;
        self.stage.as_before(&self.alone, what).await;
    }

    async fn register(&self, points: &[&str], what: &str) {
        let cloud = &self.stage.cloud;
        let (agent, failpoints) = (cloud.lab().agent(1), cloud.lab().agent_failpoints(1));
        agent.kill().unwrap();
        let gone = ["delete", "hypervisor", "node-2", "--ignore-not-found"];
        cloud.lab().kubectl(gone).await.unwrap().checked().unwrap();
        agent.start().unwrap();
        // It is there, and it can be gone once more: armed for the next start.
        let ready = |h: &kilonova_crds::v1alpha1::Hypervisor| {
            let status = h.status.as_ref();
            status.is_some_and(|s| kilonova_crds::condition::is_true(&s.conditions, "Ready"))
        };
        cloud.hypervisor("node-2", "Ready", ready).await.unwrap();
        agent.kill().unwrap();
        cloud.lab().kubectl(gone).await.unwrap().checked().unwrap();
        failpoints.arm(points).unwrap();
        for _ in points {
            agent.start().unwrap();
            ended(agent).await;
        }
        self.stage.fired(&failpoints, what).await;
        agent.start().unwrap();
        cloud.hypervisor("node-2", "Ready", ready).await.unwrap();
        self.stage.as_before(&self.alone, what).await;
        agent.kill().unwrap();
    }

    async fn running(&self, spec: serde_json::Value) -> InstanceHandle<'_> {
        let web = self.troupe.create(&self.stage.name("web"), spec).await;
        web.ready("Running").await.unwrap();
        web
    }

    async fn remove(&self, web: InstanceHandle<'_>, what: &str) {
        web.delete().await.unwrap();
        web.gone().await.unwrap();
        self.stage.as_before(&self.alone, what).await;
    }
}
