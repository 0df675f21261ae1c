//! One Instance, seen from outside: its libvirt domain on its node, and its guest.

use kilonova_crds::names;

use super::InstanceHandle;
use crate::{
    Result,
    lab::{Machine, Node},
    process::Output,
    wait::{GENEROUS, wait_for},
};

impl<'a> InstanceHandle<'a> {
    /// The machine that it is bound to.
    ///
    /// # Errors
    /// When it is not bound.
    pub async fn machine(&self) -> Result<&'a Machine> {
        let name = self.status().await?.node_name.unwrap_or_default();
        self.cloud.machine(&name)
    }

    /// The lab's node that it is bound to, which can do more.
    ///
    /// # Errors
    /// When it is not bound, or is bound to a cluster's node.
    pub async fn node(&self) -> Result<&'a Node> {
        let name = self.status().await?.node_name.unwrap_or_default();
        self.cloud.lab().node_named(&name)
    }

    /// Its UUID for life.
    ///
    /// # Errors
    /// When it has none yet.
    pub async fn uuid(&self) -> Result<String> {
        self.status().await?.uuid.ok_or_else(|| self.lacks("uuid"))
    }

    /// The name of its libvirt domain.
    ///
    /// # Errors
    /// When it has no uuid yet.
    pub async fn domain_name(&self) -> Result<String> {
        let uuid = self.uuid().await?;
        Ok(names::libvirt_domain(&self.namespace, &self.name, &uuid))
    }

    /// Runs virsh with its domain: `virsh COMMAND UUID ARGS`, and gives the trimmed output.
    ///
    /// # Errors
    /// When virsh fails.
    pub async fn virsh(&self, command: &str, args: &[&str]) -> Result<String> {
        let uuid = self.uuid().await?;
        let words = [command, &uuid].into_iter().chain(args.iter().copied());
        let output = self.machine().await?.virsh(words).await?;
        Ok(output.trim().to_owned())
    }

    /// What virsh says of its domain: `running`, `paused`, `shut off`…
    ///
    /// # Errors
    /// When libvirt has none.
    pub async fn domain_state(&self) -> Result<String> {
        self.virsh("domstate", &[]).await
    }

    /// Waits until virsh says so of its domain.
    ///
    /// # Errors
    /// When it does not.
    pub async fn until_domain_is(&self, state: &str) -> Result<()> {
        let what = format!("the domain of {} to be {state}", self.name);
        wait_for(what, GENEROUS, || async {
            match self.domain_state().await {
                Ok(seen) if seen == state => Ok(()),
                Ok(seen) => Err(seen),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// The address of its first interface.
    ///
    /// # Errors
    /// When it has none yet.
    pub async fn ip(&self) -> Result<String> {
        let status = self.status().await?;
        let first = status.interfaces.first().and_then(|i| i.ips.first());
        first
            .map(|address| address.ip.clone())
            .ok_or_else(|| self.lacks("address"))
    }

    /// The netns of its first interface's Segment.
    ///
    /// # Errors
    /// When it is not bound, or has no interface.
    pub async fn netns(&self) -> Result<String> {
        let status = self.status().await?;
        let first = status.interfaces.first();
        first
            .map(|i| names::segment_netns(&i.network_uid))
            .ok_or_else(|| self.lacks("interface"))
    }

    /// The tap of its first interface.
    ///
    /// # Errors
    /// When it has no uuid yet.
    pub async fn tap(&self) -> Result<String> {
        Ok(names::tap(&self.uuid().await?, 0))
    }

    /// Runs a command in the guest over ssh, once. A failure of it is not an error, that of ssh (255) neither.
    ///
    /// # Errors
    /// When it has no address, or ssh hangs.
    pub async fn ssh(&self, command: &str) -> Result<Output> {
        let (netns, ip) = (self.netns().await?, self.ip().await?);
        let key = &self.cloud.key().private;
        self.machine().await?.ssh(&netns, &ip, key, command).await
    }

    /// Runs a command in the guest as soon as ssh lets us in, and gives its trimmed output.
    ///
    /// # Errors
    /// When ssh never does, or the command fails.
    pub async fn sh(&self, command: &str) -> Result<String> {
        let what = format!("ssh to {}", self.name);
        let output = wait_for(what, GENEROUS, || async {
            match self.ssh(command).await {
                Ok(output) if output.status.code() != Some(255) => Ok(output),
                Ok(output) => Err(output.stderr),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        Ok(output.checked()?.stdout.trim().to_owned())
    }

    /// Which boot of the guest this is: another one after each start.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn boot_id(&self) -> Result<String> {
        self.sh("cat /proc/sys/kernel/random/boot_id").await
    }

    /// What is kept of its console: the newest file of the node's log.
    ///
    /// # Errors
    /// When it is not bound, or nothing is kept.
    pub async fn console(&self) -> Result<String> {
        let uuid = self.uuid().await?;
        let path = format!("/var/lib/kilonova/instances/{uuid}/console.log");
        let output = self.machine().await?.exec(["cat", &path]).await?;
        output.checked().map(|output| output.stdout)
    }

    /// Waits until its console shows a text.
    ///
    /// # Errors
    /// When it does not; the error shows the console.
    pub async fn console_shows(&self, text: &str) -> Result<String> {
        let what = format!("{text:?} on the console of {}", self.name);
        wait_for(what, GENEROUS, || async {
            match self.console().await {
                Ok(console) if console.contains(text) => Ok(console),
                Ok(console) => Err(console),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Kills its QEMU (SIGKILL), and waits until that is gone.
    ///
    /// # Errors
    /// When there is none.
    pub async fn kill_qemu(&self) -> Result<()> {
        let script = format!(
            "pid=$(pgrep -f -- '^[^ ]*qemu-system.*{}'); kill -9 $pid; while [ -d /proc/$pid ]; do sleep 0.02; done",
            self.uuid().await?
        );
        self.machine().await?.sh(&script).await.map(drop)
    }
}
