//! One Instance, seen from outside: its object, its libvirt domain, its guest.

use std::fs;

use kilonova_crds::{
    ConditionStatus, condition,
    condition::types::READY,
    names,
    v1alpha1::{Instance, InstanceStatus},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Cloud;
use crate::{
    Error, Result,
    lab::Node,
    process::Output,
    wait::{GENEROUS, wait_for},
};

/// An Instance by name.
#[derive(Clone, Debug)]
pub struct InstanceHandle<'a> {
    cloud: &'a Cloud,
    namespace: String,
    name: String,
}

impl<'a> InstanceHandle<'a> {
    pub(super) fn new(cloud: &'a Cloud, namespace: &str, name: &str) -> Self {
        Self {
            cloud,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn api(&self) -> Api<Instance> {
        Api::namespaced(self.cloud.client(), &self.namespace)
    }

    /// The object.
    ///
    /// # Errors
    /// When it cannot be read, or is not there.
    pub async fn get(&self) -> Result<Instance> {
        let failed = Error::api(format!("get the Instance {}", self.name));
        self.api().get(&self.name).await.map_err(failed)
    }

    /// The object's status.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn status(&self) -> Result<InstanceStatus> {
        Ok(self.get().await?.status.unwrap_or_default())
    }

    /// Changes its spec by a merge patch, as a user does it, and gives the new object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn set(&self, spec: Value) -> Result<Instance> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let failed = Error::api(format!("patch the Instance {}", self.name));
        let patched = self
            .api()
            .patch(&self.name, &PatchParams::default(), &patch)
            .await;
        patched.map_err(failed)
    }

    /// Declares a power state: `On`, `Off`, `Paused`, `Suspended`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn power(&self, power: &str) -> Result<Instance> {
        self.set(json!({"power": power})).await
    }

    /// Deletes it, and does not wait.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        let failed = Error::api(format!("delete the Instance {}", self.name));
        let deleted = self
            .api()
            .delete(&self.name, &DeleteParams::default())
            .await;
        deleted.map(drop).map_err(failed)
    }

    /// Waits until the object is as `holds` says.
    ///
    /// # Errors
    /// When it does not become so in [`GENEROUS`] time; the error shows its status.
    pub async fn until(&self, what: &str, holds: impl Fn(&Instance) -> bool) -> Result<Instance> {
        let api = self.api();
        let what = format!("{}/{}: {what}", self.namespace, self.name);
        wait_for(what, GENEROUS, || async {
            let found = api.get(&self.name).await.map_err(|e| e.to_string())?;
            if holds(&found) {
                Ok(found)
            } else {
                Err(summary(&found))
            }
        })
        .await
    }

    /// Waits until a status of the object's present generation says Ready=True for this reason: `Running`, `Stopped`,
    /// `Paused`, `Suspended`.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn ready(&self, reason: &str) -> Result<Instance> {
        self.condition(READY, ConditionStatus::True, reason).await
    }

    /// Waits until a status of the object's present generation has this condition.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn condition(
        &self,
        type_: &str,
        status: ConditionStatus,
        reason: &str,
    ) -> Result<Instance> {
        let what = format!("{type_}={status:?}, {reason}");
        self.until(&what, |instance| {
            let seen = instance.status.as_ref();
            let seen = seen.filter(|s| Some(s.observed_generation) == instance.metadata.generation);
            let found = seen.and_then(|s| condition::find(&s.conditions, type_));
            found.is_some_and(|c| c.status == status && c.reason == reason)
        })
        .await
    }

    /// Waits until the object is no longer there.
    ///
    /// # Errors
    /// When it stays; the error shows its status.
    pub async fn gone(&self) -> Result<()> {
        let api = self.api();
        let what = format!("{}/{} to be gone", self.namespace, self.name);
        wait_for(what, GENEROUS, || async {
            match api.get_opt(&self.name).await {
                Ok(None) => Ok(()),
                Ok(Some(instance)) => Err(summary(&instance)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// The node that it is bound to.
    ///
    /// # Errors
    /// When it is not bound.
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
        let output = self.node().await?.virsh(words).await?;
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
    /// When the object is not there.
    pub async fn tap(&self) -> Result<String> {
        let uid = self.get().await?.metadata.uid.unwrap_or_default();
        Ok(names::tap(&uid, 0))
    }

    /// Runs a command in the guest over ssh, once. A failure of it is not an error, that of ssh (255) neither.
    ///
    /// # Errors
    /// When it has no address, or ssh hangs.
    pub async fn ssh(&self, command: &str) -> Result<Output> {
        let (netns, ip) = (self.netns().await?, self.ip().await?);
        let key = &self.cloud.key().private;
        self.node().await?.ssh(&netns, &ip, key, command).await
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
        let directory = self.node().await?.state_dir().join("instances").join(uuid);
        let path = directory.join("console.log");
        let bytes = fs::read(&path).map_err(Error::file("read", path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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

    fn lacks(&self, what: &str) -> Error {
        Error::Missing {
            what: format!("the {what} of {}/{}", self.namespace, self.name),
            remedy: "wait until it is bound".to_owned(),
        }
    }
}

/// The status of an Instance in a line, for messages.
#[must_use]
pub fn summary(instance: &Instance) -> String {
    let status = instance.status.clone().unwrap_or_default();
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|c| format!("{}={:?} {} {:?}", c.type_, c.status, c.reason, c.message))
        .collect();
    format!(
        "generation {:?} observed {}, node {:?}, power {:?}, {}",
        instance.metadata.generation,
        status.observed_generation,
        status.node_name,
        status.power_state,
        conditions.join("; ")
    )
}
