//! What the demo shows of one instance, from apply to deletion.

use std::time::Duration;

use kilonova_crds::{
    Hypervisor, Instance, Network,
    condition::{self, types},
    names,
};
use kilonova_e2e::{
    Error, Result, build,
    lab::{self, Machine, Record},
    process::{self, Output},
    repo,
    wait::wait_for,
};
use kube::{Api, Client};

use crate::{
    progress::Progress,
    quickstart::{self, Quickstart},
};

/// Names of the example.
const INSTANCE: &str = "web-1";
const NETWORK: &str = "blue";

/// How long each part of the way may take, on a machine that does other things too.
const LIMIT: Duration = Duration::from_mins(3);

/// What is needed to show it.
pub(crate) struct Show<'a> {
    progress: &'a Progress,
    client: Client,
    machines: Vec<Machine>,
    quickstart: Quickstart,
}

/// An instance that runs: where it is and how it is reached.
struct Running<'a> {
    machine: &'a Machine,
    uuid: String,
    address: String,
    netns: String,
}

impl<'a> Show<'a> {
    pub(crate) async fn open(progress: &'a Progress) -> Result<Self> {
        let dir = repo::up_dir();
        let gone = || Error::Missing {
            what: "the lab".to_owned(),
            remedy: "see its logs in .kilonova/failed".to_owned(),
        };
        let machines = Record::read(&dir)?.ok_or_else(gone)?.machines();
        let client = lab::client_for(&repo::up_kubeconfig(), None).await?;
        Ok(Self {
            progress,
            client,
            machines,
            quickstart: quickstart::prepare().await?,
        })
    }

    pub(crate) async fn run(&self) -> Result<()> {
        let progress = self.progress;
        progress
            .time(
                "the agent registers its Hypervisor",
                self.hypervisor_ready(),
            )
            .await?;
        let files = self.quickstart.dir.display().to_string();
        let applied = progress
            .time("kubectl apply", self.kubectl(&["apply", "-f", &files]))
            .await?;
        progress.show(
            "kubectl apply -f examples/quickstart/ (with this machine's image and key put in)",
            &applied,
        );
        progress
            .time(
                "bound, image fetched, domain running",
                self.instance_ready(),
            )
            .await?;
        let table = self
            .kubectl(&["get", "inst,hv,network", "-o", "wide"])
            .await?;
        progress.show("kubectl get inst,hv,network -o wide", &table);
        let running = self.running().await?;
        let console = progress
            .time(
                "the guest boots to its login banner",
                self.console(&running),
            )
            .await?;
        progress.show("the guest's serial console", &console);
        progress.time("ping and ssh", self.reach(&running)).await?;
        let deleted = progress
            .time(
                "deletion: shutdown, removal",
                self.kubectl(&["delete", "--timeout=120s", "-f", &files]),
            )
            .await?;
        progress.show("kubectl delete", &deleted);
        progress
            .time("a look at what is left", self.nothing_is_left(&running))
            .await
    }

    /// kubectl as the user has it after `make up`.
    async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let (program, own) = build::ControlPlane::find()?.command("kubectl");
        let mut command = std::process::Command::new(program);
        command
            .args(own)
            .args(args)
            .env("KUBECONFIG", repo::up_kubeconfig());
        process::run_for(command, "", LIMIT)
            .await?
            .checked()
            .map(|output| output.stdout)
    }

    async fn hypervisor_ready(&self) -> Result<()> {
        let hypervisors: Api<Hypervisor> = Api::all(self.client.clone());
        wait_for("a Hypervisor to be Ready", LIMIT, || async {
            let list = hypervisors
                .list(&kube::api::ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let status = list
                .items
                .into_iter()
                .filter_map(|hypervisor| hypervisor.status);
            let conditions: Vec<_> = status.flat_map(|status| status.conditions).collect();
            let ready = condition::find(&conditions, types::READY);
            if ready.is_some_and(|c| c.status == kilonova_crds::ConditionStatus::True) {
                Ok(())
            } else {
                Err(format!("{conditions:?}"))
            }
        })
        .await
    }

    /// Waits until the instance is Ready, telling each change on the way.
    async fn instance_ready(&self) -> Result<()> {
        let instances: Api<Instance> = Api::default_namespaced(self.client.clone());
        let told = parking_lot::Mutex::new(String::new());
        wait_for(
            format!("the Instance {INSTANCE} to be Ready"),
            LIMIT,
            || async {
                let instance = instances
                    .get(INSTANCE)
                    .await
                    .map_err(|error| error.to_string())?;
                let status = instance.status.unwrap_or_default();
                let conditions = status
                    .conditions
                    .iter()
                    .filter(|c| c.type_ != types::STALLED);
                let state: Vec<_> = conditions
                    .map(|c| format!("{}={:?} ({})", c.type_, c.status, c.reason))
                    .collect();
                let state = state.join(", ");
                let mut told = told.lock();
                if *told != state && !state.is_empty() {
                    self.progress.say(&format!("{INSTANCE}: {state}"));
                    told.clone_from(&state);
                }
                let ready = condition::find(&status.conditions, types::READY);
                let message = ready.map(|c| c.message.clone()).unwrap_or_default();
                if ready.is_some_and(|c| c.status == kilonova_crds::ConditionStatus::True) {
                    Ok(())
                } else {
                    Err(format!("{state} {message}"))
                }
            },
        )
        .await
    }

    async fn running(&self) -> Result<Running<'_>> {
        let failed = || Error::api("read the Instance and its Network");
        let instance = Api::<Instance>::default_namespaced(self.client.clone())
            .get(INSTANCE)
            .await
            .map_err(failed())?;
        let network = Api::<Network>::default_namespaced(self.client.clone())
            .get(NETWORK)
            .await
            .map_err(failed())?;
        let status = instance.status.unwrap_or_default();
        let incomplete = |what: &str| Error::Missing {
            what: what.to_owned(),
            remedy: "it is Ready: this is a bug".to_owned(),
        };
        let node = status
            .node_name
            .ok_or_else(|| incomplete("status.nodeName"))?;
        let machine = self
            .machines
            .iter()
            .find(|m| m.name() == node)
            .ok_or_else(|| incomplete("the node"))?;
        let uid = network
            .metadata
            .uid
            .ok_or_else(|| incomplete("the Network's uid"))?;
        Ok(Running {
            machine,
            uuid: status.uuid.ok_or_else(|| incomplete("status.uuid"))?,
            address: status
                .addresses
                .ok_or_else(|| incomplete("status.addresses"))?,
            netns: names::segment_netns(&uid),
        })
    }

    /// The console's log up to the login banner. Where it is, libvirt knows.
    async fn console(&self, running: &Running<'_>) -> Result<String> {
        let xml = running.machine.virsh(["dumpxml", &running.uuid]).await?;
        let log = xml
            .split_once("<log file='")
            .and_then(|(_, rest)| rest.split_once('\''))
            .map(|(file, _)| file.to_owned());
        let log = log.ok_or_else(|| Error::Missing {
            what: "the console's log".to_owned(),
            remedy: xml,
        })?;
        let banner = format!("{INSTANCE} login:");
        let text = wait_for("the login banner", LIMIT, || async {
            let output = running
                .machine
                .exec(["cat", &log])
                .await
                .and_then(Output::checked)
                .map_err(|error| error.to_string())?;
            if output.stdout.contains(&banner) {
                Ok(output.stdout)
            } else {
                Err(output.stdout)
            }
        })
        .await?;
        Ok(text
            .chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .collect())
    }

    async fn reach(&self, running: &Running<'_>) -> Result<()> {
        let ping = ["ping", "-c", "3", "-i", "0.2", &running.address];
        let replies = wait_for("an answer to ping", LIMIT, || async {
            running
                .machine
                .netns_exec(&running.netns, ping)
                .await
                .and_then(Output::checked)
                .map_err(|error| error.to_string())
        })
        .await?;
        self.progress.show(
            &format!(
                "{}, from its segment on {}",
                ping.join(" "),
                running.machine.name()
            ),
            &replies.stdout,
        );
        let command =
            "hostname; uname -sr; uptime; ip -4 address show dev eth0; cat /var/log/user-data.log";
        let key = &self.quickstart.key.private;
        let answer = wait_for("an ssh login", LIMIT, || async {
            let output = running
                .machine
                .ssh(&running.netns, &running.address, key, command)
                .await;
            output
                .and_then(Output::checked)
                .map_err(|error| error.to_string())
        })
        .await?;
        self.progress.show(
            &format!("ssh root@{} '{command}'", running.address),
            &answer.stdout,
        );
        Ok(())
    }

    /// Looks for what a deleted instance might leave, by other eyes than ours: libvirt's, the kernel's, the disk's.
    async fn nothing_is_left(&self, running: &Running<'_>) -> Result<()> {
        let machine = running.machine;
        let leftovers = wait_for("nothing to be left", LIMIT, || async {
            let script = format!(
                "virsh --quiet list --all; ip netns list; ip -brief link show type veth | grep -v '^eth0@' || true; \
                 ip -brief link show type bridge; find /var/lib/kilonova /run/kilonova -name '*{}*'",
                running.uuid
            );
            let left = machine
                .sh(&script)
                .await
                .map_err(|error| error.to_string())?;
            if left.trim().is_empty() {
                Ok(left)
            } else {
                Err(left)
            }
        });
        leftovers.await?;
        self.progress
            .say("virsh list --all, ip netns, links, disks: nothing of it is left");
        let objects = self
            .kubectl(&[
                "get",
                "domains.node.kilonova.dev,segments.node.kilonova.dev",
                "-A",
            ])
            .await?;
        self.progress.show(
            "kubectl get domains,segments -A",
            if objects.is_empty() {
                "No resources found"
            } else {
                &objects
            },
        );
        let kept = machine.sh("ls /var/lib/kilonova").await?;
        self.progress.show(
            "/var/lib/kilonova on the node (the image stays cached)",
            &kept,
        );
        Ok(())
    }
}
