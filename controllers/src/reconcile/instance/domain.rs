//! Writes to an Instance's Domains.
//!
//! What a Domain names is held in the ledgers from the decision to make it on. When the answer is
//! lost, nobody knows whether it is there; it stays held until the Domain was read.

use super::Look;
use crate::effect::Effect;
use crate::events::story;
use crate::reconcile::segment::{ensure, unpin};
use crate::reconcile::{Outcome, ReconcileError};
use crate::write::WriteError;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_controllers_core::lifecycle::{DomainWrite, Pause, WriteReason};
use kilonova_crds::{Domain, Instance, names};
use tracing::info;

impl Look<'_> {
    pub(super) async fn create_domain(
        &self,
        instance: Option<&Instance>,
        write: DomainWrite,
    ) -> Result<Option<Outcome>, ReconcileError> {
        if let Some(instance) = instance
            && let Some(wait) = self.hand_over(instance, &write).await?
        {
            self.end_dispatch();
            let pause = Pause::UserData(wait);
            self.settle(Some(instance), Some(&pause)).await?;
            return Ok(Some(self.again()));
        }
        let namespace = names::node_namespace(&write.node);
        let mut pinned = Vec::new();
        let segments = match instance {
            Some(instance) => {
                self.segments(instance, &namespace, &write, &mut pinned)
                    .await
            }
            None => Ok(()),
        };
        let result = match segments {
            Ok(()) => {
                let domain = self.context.writer.create_domain(self.uid, write).await;
                self.domain_made(domain).await
            }
            Err(error) => {
                self.end_dispatch();
                Err(error)
            }
        };
        unpin(self.context, pinned);
        result
    }

    async fn domain_made(
        &self,
        result: Result<Domain, WriteError>,
    ) -> Result<Option<Outcome>, ReconcileError> {
        match result {
            Ok(written) => {
                self.context.written(written, self.work);
                self.end_dispatch();
                Ok(None)
            }
            Err(error) => {
                self.resolve_dispatch().await?;
                Err(ReconcileError::writing("make the Domain")(error))
            }
        }
    }

    /// Where a Domain may have been made: reads it, and gives back what was held for it. If it was
    /// made, the Domain as it was read holds it, and nothing is given back.
    pub(super) async fn resolve_dispatch(&self) -> Result<(), ReconcileError> {
        let node = self.context.world.lock().dispatched_to(self.uid);
        let Some(node) = node else {
            return Ok(());
        };
        let namespace = names::node_namespace(&node);
        let reread = (&*namespace, self.uid, "the Domain");
        self.refresh::<Domain>(reread).await?;
        self.end_dispatch();
        Ok(())
    }

    fn end_dispatch(&self) {
        let freed = self.context.world.lock().dispatch_ended(self.uid);
        self.context
            .enqueue(freed.into_iter().filter(|work| work != self.work));
    }

    /// The Segments that the ports need, before the Domain that names them.
    async fn segments(
        &self,
        instance: &Instance,
        namespace: &str,
        write: &DomainWrite,
        pinned: &mut Vec<ObjectKey>,
    ) -> Result<(), ReconcileError> {
        for port in &write.spec.ports {
            let key = ObjectKey::new(namespace, port.segment.clone());
            let wanted = {
                let mut world = self.context.world.lock();
                world.pin(key.clone());
                world.segment_for(instance, &port.segment)
            };
            pinned.push(key.clone());
            if let Some(wanted) = wanted {
                ensure(self.context, self.work, &key, wanted).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn update_domain(
        &self,
        instance: Option<&Instance>,
        write: DomainWrite,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let (why, namespace) = (write.why, names::node_namespace(&write.node));
        let domain = self
            .context
            .world
            .lock()
            .get::<Domain>(&namespace, self.uid);
        let Some(domain) = domain else {
            return Ok(None);
        };
        info!(
            uid = self.uid,
            node = write.node,
            ?why,
            "rewriting the Domain"
        );
        let node = write.node.clone();
        let result = self.context.writer.update_domain(&domain, write).await;
        if let (Some(instance), Ok(_)) = (instance, &result) {
            self.context.events.tell(instance, story::rewritten(why));
            if why == WriteReason::Refused {
                self.context.world.lock().note_refusal(self.uid, &node);
            }
        }
        self.domain_rewritten(&namespace, result).await
    }

    pub(super) async fn delete_domain(
        &self,
        node: &str,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let namespace = names::node_namespace(node);
        let domain = self
            .context
            .world
            .lock()
            .get::<Domain>(&namespace, self.uid);
        let Some(domain) = domain else {
            return Ok(None);
        };
        // What the node never took. With the Domain goes the last that tells of it.
        if domain.spec.guest.user_data_secret.is_some() {
            self.take_away(node).await?;
        }
        let delete = self
            .context
            .writer
            .delete(Effect::DeleteDomain, &*domain)
            .await;
        match delete {
            // The watch says when it is gone.
            Ok(()) | Err(WriteError::Gone(_)) => Ok(Some(Outcome::Settled)),
            Err(error) => {
                let reread = (&*namespace, self.uid, "the Domain");
                self.refresh::<Domain>(reread).await?;
                Err(ReconcileError::writing("delete the Domain")(error))
            }
        }
    }

    /// Before something is done to a Domain because its Instance is gone: whether it is.
    pub(super) async fn came_back(&self, write: &DomainWrite) -> Result<bool, ReconcileError> {
        let of = &write.spec.instance;
        let reread = (&*of.namespace, &*of.name, "the Instance");
        let instance = self.refresh::<Instance>(reread).await?;
        Ok(instance.is_some_and(|i| i.metadata.uid.as_deref() == Some(self.uid)))
    }

    async fn domain_rewritten(
        &self,
        namespace: &str,
        result: Result<Domain, WriteError>,
    ) -> Result<Option<Outcome>, ReconcileError> {
        match result {
            Ok(written) => {
                self.context.written(written, self.work);
                Ok(None)
            }
            Err(error) => {
                let reread = (namespace, self.uid, "the Domain");
                self.refresh::<Domain>(reread).await?;
                Err(ReconcileError::writing("rewrite the Domain")(error))
            }
        }
    }
}
