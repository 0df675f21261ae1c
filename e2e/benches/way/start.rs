//! From the return of an `apply` to a domain that runs, and `virsh create` of the same XML on the same node.
//!
//! The floor is libvirt and QEMU alone: disk, config drive and tap are there before, and a virsh that is connected
//! already is told to create. It is taken before and after the product's rounds, while the agent is stopped, so that
//! neither the agent's work nor a drift of the machine's load is in the comparison.

use std::{fmt::Write as _, process::Stdio, time::Duration};

use jiff::Timestamp;
use kilonova_crds::v1alpha1::Instance;
use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle, Tenant},
    lab::LabOptions,
    process::run,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::ChildStdin};

use crate::{
    Result,
    events::{DESTROYED, Events, RUNNING, STARTED},
    samples::{Samples, ms},
    steps,
};

/// Starts of each kind; of the floor, so many before and so many after.
const ROUNDS: usize = 9;
const FLOOR_ROUNDS: usize = 6;
/// How long an agent may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

const HEAD: &str = "| | median | least to most | more | times | rounds |
|---|---|---|---|---|---|
";

/// What is measured of one start.
struct Start {
    /// How long the API server took for the apply.
    apply: Duration,
    /// From its answer to the running domain.
    running: Duration,
}

/// The tables.
pub(crate) async fn measure() -> Result<String> {
    let cloud = Cloud::start(LabOptions::new("bench").nodes(1)).await?;
    let shop = cloud.tenant("bench").await?;
    let bench = Bench {
        events: Events::listen(cloud.lab().node(0))?,
        cloud: &cloud,
        shop: &shop,
    };
    bench.warm_up().await?;
    let mut floor = bench.floor().await?;
    // The first one after the agent's start is not counted.
    bench.start("again", "blue").await?;
    let (mut usual, mut first) = (Vec::new(), Vec::new());
    let mut uuids = Vec::new();
    for round in 0..ROUNDS {
        let (start, uuid) = bench.start(&format!("usual-{round}"), "blue").await?;
        usual.push(start);
        uuids.push(uuid);
        let network = format!("new-{round}");
        bench.network(&network).await?;
        first.push(bench.start(&format!("first-{round}"), &network).await?.0);
    }
    let steps = steps::medians(&cloud.lab().agent(0).log(), &uuids);
    floor.extend(bench.floor().await?);
    let floor = Samples::new(floor).ok_or("no rounds")?;
    Ok(table(&floor, &usual, &first)? + "\n" + &steps)
}

fn table(floor: &Samples, usual: &[Start], first: &[Start]) -> Result<String> {
    let mut table = String::from(HEAD);
    let (cells, count) = (floor.cells(), floor.count());
    writeln!(
        table,
        "| `virsh create` of the same XML → running | {cells} | | | {count} |"
    )?;
    for (what, starts) in [
        ("image cached, Segment there", usual),
        ("first on its Network", first),
    ] {
        let running = starts.iter().map(|start| start.running).collect();
        let running = Samples::new(running).ok_or("no rounds")?;
        let (cells, against, count) = (running.cells(), running.against(floor), running.count());
        writeln!(
            table,
            "| apply → running, {what} | {cells} | {against} | {count} |"
        )?;
    }
    let applies = usual.iter().chain(first).map(|start| start.apply).collect();
    let apply = Samples::new(applies).ok_or("no rounds")?;
    writeln!(
        table,
        "\nThe apply itself, before that: {}.",
        ms(apply.median())
    )?;
    Ok(table)
}

struct Bench<'a> {
    cloud: &'a Cloud,
    shop: &'a Tenant<'a>,
    events: Events,
}

impl<'a> Bench<'a> {
    /// One that runs on, so that image and Segment are there; and one that is off, for its XML and files.
    async fn warm_up(&self) -> Result<()> {
        let keeper = self.shop.create("keeper", json!({})).await?;
        let model = self.shop.create("model", json!({"power": "Off"})).await?;
        keeper.sh("true").await?;
        model.ready("Stopped").await?;
        Ok(())
    }

    /// A Network that no instance is on.
    async fn network(&self, name: &str) -> Result<()> {
        let spec = json!({"class": "local", "subnets": [{"cidr": "10.1.0.0/24"}]});
        self.cloud
            .apply(&[self.shop.object("Network", name, &spec)])
            .await?;
        let name = format!("network/{name}");
        let wait = [
            "wait",
            "--for=condition=Ready",
            "--timeout=120s",
            "-n",
            self.shop.namespace(),
            &name,
        ];
        self.cloud.lab().kubectl(wait).await?.checked()?;
        Ok(())
    }

    /// Applies an Instance, waits until libvirt says that it runs, and deletes it again.
    async fn start(&self, name: &str, network: &str) -> Result<(Start, String)> {
        let spec = json!({
            "flavor": "tiny", "image": {"kind": "ClusterImage", "name": "guest"}, "keyPairs": ["ops"],
            "interfaces": [{"name": "eth0", "network": network}], "terminationGracePeriodSeconds": 0,
        });
        let object: Value = self.shop.object("Instance", name, &spec);
        let api: Api<Instance> = Api::namespaced(self.cloud.client(), self.shop.namespace());
        let params = PatchParams::apply("bench");
        let asked = Timestamp::now();
        api.patch(name, &params, &Patch::Apply(&object)).await?;
        let applied = Timestamp::now();
        let instance = self.shop.instance(name);
        instance.ready("Running").await?;
        let (domain, uuid) = (instance.domain_name().await?, instance.uuid().await?);
        let running = self.events.when(&domain, RUNNING, asked).await?;
        instance.delete().await?;
        instance.gone().await?;
        let start = Start {
            apply: between(asked, applied),
            running: between(applied, running),
        };
        Ok((start, uuid))
    }

    /// `virsh create` of the model's XML, some times, with no agent beside it.
    async fn floor(&self) -> Result<Vec<Duration>> {
        let (lab, model) = (self.cloud.lab(), self.shop.instance("model"));
        let domain = model.domain_name().await?;
        let xml = self.prepare(&model).await?;
        lab.agent(0).stop(PATIENCE)?;
        let mut shell = tokio::process::Command::from(lab.node(0).command([
            "virsh",
            "--quiet",
            "--connect",
            "qemu:///system",
        ]));
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut virsh = shell.stdin.take().ok_or("virsh takes no commands")?;
        let mut all = Vec::new();
        for _ in 0..=FLOOR_ROUNDS {
            let asked = say(&mut virsh, &format!("create {xml}")).await?;
            let running = self.events.when(&domain, STARTED, asked).await?;
            all.push(between(asked, running));
            let asked = say(&mut virsh, &format!("destroy {domain}")).await?;
            self.events.when(&domain, DESTROYED, asked).await?;
        }
        // The first one connects virsh.
        all.remove(0);
        drop(virsh);
        shell.wait().await?;
        let tap = model.tap().await?;
        lab.node(0).sh(&format!("ip link delete {tap}")).await?;
        lab.agent(0).start()?;
        Ok(all)
    }

    /// Writes the model's XML on the node, and makes its tap. Returns the file's path there.
    async fn prepare(&self, model: &InstanceHandle<'a>) -> Result<String> {
        let node = self.cloud.lab().node(0);
        let xml = model.virsh("dumpxml", &["--inactive"]).await?;
        let path = "/run/model.xml";
        let write = run(node.command(["tee", path]), &xml).await?;
        write.checked()?;
        let tap = model.tap().await?;
        node.sh(&format!("ip tuntap add dev {tap} mode tap vnet_hdr"))
            .await?;
        Ok(path.to_owned())
    }
}

/// Gives a command, and says when.
async fn say(virsh: &mut ChildStdin, command: &str) -> Result<Timestamp> {
    let now = Timestamp::now();
    virsh.write_all(format!("{command}\n").as_bytes()).await?;
    virsh.flush().await?;
    Ok(now)
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    // Never negative: what comes later is told by the same machine's clock.
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
