//! One Instance, seen from outside: its object. Its libvirt domain and its guest are in the other half.

use std::pin::pin;

use futures::StreamExt as _;
use kilonova_crds::{
    ConditionStatus, condition,
    condition::types::READY,
    v1alpha1::{Instance, InstanceStatus},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::Cloud;
use crate::{
    Error, Result,
    wait::{GENEROUS, wait_for},
};

/// An Instance by name.
#[derive(Clone, Debug)]
pub struct InstanceHandle<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) namespace: String,
    pub(super) name: String,
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

    /// Every state that is written after `from`, up to the first that is as `last` says: what comes and goes is seen.
    ///
    /// # Errors
    /// When none becomes so in [`GENEROUS`] time, or the watch ends; the error shows what was seen.
    pub async fn history(
        &self,
        from: &Instance,
        last: impl Fn(&Instance) -> bool,
    ) -> Result<Vec<Instance>> {
        let version = from.metadata.resource_version.clone().unwrap_or_default();
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let failed = Error::api(format!("watch the Instance {}", self.name));
        let events = self.api().watch(&params, &version).await.map_err(failed)?;
        let mut events = pin!(events);
        let mut seen = Vec::new();
        let end = Instant::now() + GENEROUS;
        while let Ok(Some(event)) = timeout_at(end, events.next()).await {
            let failed = Error::api(format!("watch the Instance {}", self.name));
            let (WatchEvent::Added(instance) | WatchEvent::Modified(instance)) =
                event.map_err(failed)?
            else {
                continue;
            };
            let is_last = last(&instance);
            seen.push(instance);
            if is_last {
                return Ok(seen);
            }
        }
        Err(Error::Timeout {
            what: format!("the history of {}/{}", self.namespace, self.name),
            limit: GENEROUS,
            last: seen.iter().map(summary).collect::<Vec<_>>().join("\n"),
        })
    }

    pub(super) fn lacks(&self, what: &str) -> Error {
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
