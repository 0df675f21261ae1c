//! User data that comes from a tenant's Secret: read, handed to the node in a Secret of its
//! namespace before the Domain that names it, and taken away once the node has it.
//!
//! Tenants' Secrets are neither listed nor watched, so that the controllers hold none but the one
//! that they are at, and need no right to see which there are. What waits for one looks again.

use super::Look;
use crate::reconcile::{Outcome, ReconcileError};
use crate::world::Now;
use k8s_openapi::api::core::v1::Secret;
use kilonova_controllers_core::lifecycle::{DomainWrite, Pause};
use kilonova_controllers_core::status::user_data_taken;
use kilonova_controllers_core::user_data::{
    HandOver, hand_over_again, is_secret_name, look_again, of_secret,
};
use kilonova_controllers_core::wait::Wait;
use kilonova_crds::node::RootDisk;
use kilonova_crds::v1alpha1::{InstanceStatus, SecretKeyRef};
use kilonova_crds::{Domain, Instance, names};
use kube::{Api, ResourceExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When a Secret is looked for again that was there when the Instance was bound.
const BOUND_PAUSE: Duration = Duration::from_secs(10);

/// What the API server answers where a right is missing, as an HTTP status code.
const FORBIDDEN: u16 = 403;

impl Look<'_> {
    /// What stands against binding the Instance, of its user data.
    pub(super) async fn user_data_wait(
        &self,
        instance: &Instance,
    ) -> Result<Option<Wait>, ReconcileError> {
        match instance.spec.user_data_secret() {
            Some(from) => Ok(self.read_user_data(instance, from).await?.err()),
            None => Ok(None),
        }
    }

    /// Puts the user data where the node finds it, before its Domain is made.
    pub(super) async fn hand_over(
        &self,
        instance: &Instance,
        write: &DomainWrite,
    ) -> Result<Option<Wait>, ReconcileError> {
        let Some(from) = instance.spec.user_data_secret() else {
            return Ok(None);
        };
        if user_data_taken(instance.status.as_ref()) || is_leaving(instance) {
            return Ok(None);
        }
        let wait = self.put_user_data(instance, from, &write.node).await?;
        // A guest that has its disk has its config drive too: a Secret that is gone since keeps it
        // from nothing.
        Ok(wait.filter(|_| write.spec.root_disk == RootDisk::Create))
    }

    /// Puts the user data there once more, where the node says that it has none and finds none: once
    /// the status says so too.
    pub(super) async fn hand_over_again(
        &self,
        instance: &Arc<Instance>,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let node = instance.status.as_ref().and_then(|s| s.node_name.as_ref());
        let (Some(node), Some(from)) = (node, instance.spec.user_data_secret()) else {
            return Ok(None);
        };
        if self.lack(instance, node) == HandOver::Nothing {
            return Ok(None);
        }
        let read = self.read_user_data(instance, from).await?;
        let pause = read.as_ref().err().cloned().map(Pause::UserData);
        self.settle(Some(instance), pause.as_ref()).await?;
        let current = self.context.world.lock().instance(self.uid).cloned();
        let order = current.map(|current| self.lack(&current, node));
        if let (Ok(data), Some(HandOver::Put)) = (read, order) {
            self.put(node, data).await?;
        }
        Ok(Some(self.again()))
    }

    fn lack(&self, instance: &Instance, node: &str) -> HandOver {
        let namespace = names::node_namespace(node);
        let mut world = self.context.world.lock();
        let domain = world.get::<Domain>(&namespace, self.uid);
        hand_over_again(instance, domain.as_deref())
    }

    /// Takes the user data out of the API again with the status that says so.
    pub(super) async fn take_away_taken(
        &self,
        instance: &Instance,
        status: &InstanceStatus,
    ) -> Result<(), ReconcileError> {
        let taken = user_data_taken(Some(status)) && !user_data_taken(instance.status.as_ref());
        match &status.node_name {
            Some(node) if taken => self.take_away(node).await,
            _ => Ok(()),
        }
    }

    /// Takes the user data out of a node namespace, where there is any.
    pub(super) async fn take_away(&self, node: &str) -> Result<(), ReconcileError> {
        let deleted = self.context.writer.delete_user_data(node, self.uid).await;
        deleted.map_err(ReconcileError::writing("take the user data away"))
    }

    /// When a Secret that was missing is looked for again.
    pub(super) fn again(&self) -> Outcome {
        let waited = self.context.world.lock().waited(self.uid, Now::get());
        Outcome::Again(Instant::now() + waited.map_or(BOUND_PAUSE, look_again))
    }

    async fn put_user_data(
        &self,
        instance: &Instance,
        from: &SecretKeyRef,
        node: &str,
    ) -> Result<Option<Wait>, ReconcileError> {
        let data = match self.read_user_data(instance, from).await? {
            Ok(data) => data,
            Err(wait) => return Ok(Some(wait)),
        };
        self.put(node, data).await?;
        Ok(None)
    }

    async fn put(&self, node: &str, data: Vec<u8>) -> Result<(), ReconcileError> {
        let writer = &self.context.writer;
        let put = writer.put_user_data(node, self.uid, data).await;
        put.map_err(ReconcileError::writing("hand the user data over"))
    }

    async fn read_user_data(
        &self,
        instance: &Instance,
        from: &SecretKeyRef,
    ) -> Result<Result<Vec<u8>, Wait>, ReconcileError> {
        if !is_secret_name(&from.name) {
            return Ok(of_secret(from, None));
        }
        let namespace = instance.namespace().unwrap_or_default();
        let secrets: Api<Secret> = Api::namespaced(self.context.client.clone(), &namespace);
        match secrets.get_opt(&from.name).await {
            Ok(secret) => Ok(of_secret(from, secret)),
            // Whether the controllers may read Secrets is the operator's to say.
            Err(kube::Error::Api(status)) if status.code == FORBIDDEN => {
                Ok(Err(Wait::SecretForbidden(from.name.clone())))
            }
            Err(error) => Err(ReconcileError::reading("the Secret with the user data")(
                error,
            )),
        }
    }
}

fn is_leaving(instance: &Instance) -> bool {
    instance.metadata.deletion_timestamp.is_some()
}
