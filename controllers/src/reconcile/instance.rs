//! One Instance and its Domains: asks the core for the next action, carries it out, takes the
//! answer in, and asks again, until there is nothing to do; then its status.

use super::segment::{ensure, unpin};
use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::events::story;
use crate::world::{Decision, Next, Now, Work};
use crate::write::WriteError;
use k8s_openapi::jiff::Timestamp;
use kilonova_controllers_core::cluster::BindingFault;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_controllers_core::lifecycle::{Action, DomainWrite, Pause, WriteReason};
use kilonova_controllers_core::status::{Verdict, differs};
use kilonova_crds::names::INSTANCE_FINALIZER;
use kilonova_crds::v1alpha1::InstanceStatus;
use kilonova_crds::{Domain, Instance, names};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// More steps in a row than any way through the lifecycle has.
const STEPS_MAX: usize = 12;

/// Looks at the Instance of that uid.
pub async fn look(
    context: &Arc<Context>,
    work: &Work,
    uid: &str,
) -> Result<Outcome, ReconcileError> {
    let look = Look { context, work, uid };
    for _ in 0..STEPS_MAX {
        let next = context
            .world
            .lock()
            .next(uid, context.retention, Now::get());
        let Some(next) = next else {
            return Ok(Outcome::Settled);
        };
        if let Some(outcome) = look.step(next).await? {
            return Ok(outcome);
        }
    }
    Err(ReconcileError::Endless(STEPS_MAX))
}

struct Look<'a> {
    context: &'a Context,
    work: &'a Work,
    uid: &'a str,
}

impl Look<'_> {
    /// Carries one action out; `None`: there may be another.
    async fn step(&self, next: Next) -> Result<Option<Outcome>, ReconcileError> {
        let Next { instance, action } = next;
        match action {
            Action::Nothing => self.settle(instance.as_deref(), None).await,
            Action::Wait(pause) => self.settle(instance.as_deref(), Some(&pause)).await,
            Action::CreateDomain(write) => self.create_domain(instance.as_deref(), write).await,
            Action::UpdateDomain(write) => {
                if instance.is_none() && self.came_back(&write).await? {
                    return Ok(None);
                }
                self.update_domain(instance.as_deref(), write).await
            }
            Action::DeleteDomain { node } => self.delete_domain(&node).await,
            action => match &instance {
                Some(instance) => self.step_of(action, instance).await,
                // What is left is done to an Instance, and there is none.
                None => Ok(Some(Outcome::Settled)),
            },
        }
    }

    async fn step_of(
        &self,
        action: Action,
        instance: &Arc<Instance>,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let context = self.context;
        match action {
            Action::Bind => {
                let start = Instant::now();
                let decision = context.world.lock().bind(instance);
                let took = start.elapsed().as_secs_f64();
                context.metrics.decision_seconds.observe(took);
                self.bind(instance, decision).await
            }
            Action::AdoptDomain { node } => {
                let namespace = names::node_namespace(&node);
                let decision = {
                    let mut world = context.world.lock();
                    let domain = world.get::<Domain>(&namespace, self.uid);
                    domain.map(|domain| world.adopt_domain(instance, &node, &domain))
                };
                match decision {
                    Some(decision) => self.bind(instance, decision).await,
                    None => Ok(None),
                }
            }
            Action::AdoptOrphan { node, uid } => {
                let decision = {
                    let mut world = context.world.lock();
                    let orphan = world.orphan(&node, &uid);
                    orphan.map(|orphan| world.adopt_orphan(instance, &node, &orphan))
                };
                match decision {
                    Some(decision) => self.bind(instance, decision).await,
                    None => Ok(None),
                }
            }
            Action::TakeBack(fault) => self.take_back(instance, &fault).await,
            Action::AddFinalizer => {
                let write = context
                    .writer
                    .add_finalizer(&**instance, INSTANCE_FINALIZER);
                self.done("add the finalizer", instance, write.await).await
            }
            Action::RemoveFinalizer => {
                let write = context
                    .writer
                    .remove_finalizer(&**instance, INSTANCE_FINALIZER);
                let written = self
                    .done("remove the finalizer", instance, write.await)
                    .await?;
                // With its last finalizer it is gone; the watch says so.
                Ok(written.or(Some(Outcome::Settled)))
            }
            Action::Nothing
            | Action::Wait(_)
            | Action::CreateDomain(_)
            | Action::UpdateDomain(_)
            | Action::DeleteDomain { .. } => Ok(None),
        }
    }

    /// Writes the binding, or what the Instance waits for.
    async fn bind(
        &self,
        instance: &Instance,
        decision: Decision,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let context = self.context;
        let outcome = decision
            .as_ref()
            .err()
            .map_or("bound", |wait| wait.reason());
        let decisions = &context.metrics.decisions;
        decisions.with_label_values(&[outcome]).inc();
        let now = Now::get();
        let binding = match decision {
            Ok(binding) => binding,
            Err(wait) => {
                let verdict = Verdict::Waits(&wait);
                let status = context.world.lock().status(instance, verdict, None, now);
                self.write_status(instance, status).await?;
                return Ok(Some(Outcome::Settled));
            }
        };
        let (status, waited) = {
            let world = context.world.lock();
            let verdict = Verdict::Binds(&binding);
            let status = world.status(instance, verdict, None, now);
            (status, world.waited(self.uid, now))
        };
        let result = context.writer.status(instance, &status).await;
        self.told(instance, &status, &result);
        let after = self.done("write the binding", instance, result).await;
        if after.is_err() {
            // Where it was written after all, the Instance as it was read since holds it, and this
            // gives nothing back.
            let freed = context.world.lock().undo_binding(self.uid);
            context.enqueue(freed);
        } else if let Some(waited) = waited {
            context.metrics.bind_seconds.observe(waited.as_secs_f64());
        }
        after
    }

    async fn take_back(
        &self,
        instance: &Instance,
        fault: &BindingFault,
    ) -> Result<Option<Outcome>, ReconcileError> {
        info!(uid = self.uid, %fault, "taking the binding back");
        let status = {
            let mut world = self.context.world.lock();
            if let BindingFault::Refused(node) = fault {
                world.note_refusal(self.uid, node);
            }
            world.status(instance, Verdict::TakesBack(fault), None, Now::get())
        };
        let result = self.context.writer.status(instance, &status).await;
        self.told(instance, &status, &result);
        self.done("take the binding back", instance, result).await
    }

    async fn create_domain(
        &self,
        instance: Option<&Instance>,
        write: DomainWrite,
    ) -> Result<Option<Outcome>, ReconcileError> {
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
                self.domain_done("make the Domain", &namespace, domain)
                    .await
            }
            Err(error) => Err(error),
        };
        unpin(self.context, pinned);
        result
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

    async fn update_domain(
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
        self.domain_done("rewrite the Domain", &namespace, result)
            .await
    }

    async fn delete_domain(&self, node: &str) -> Result<Option<Outcome>, ReconcileError> {
        let namespace = names::node_namespace(node);
        let domain = self
            .context
            .world
            .lock()
            .get::<Domain>(&namespace, self.uid);
        let Some(domain) = domain else {
            return Ok(None);
        };
        let delete = self.context.writer.delete(&*domain).await;
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
    async fn came_back(&self, write: &DomainWrite) -> Result<bool, ReconcileError> {
        let of = &write.spec.instance;
        let reread = (&*of.namespace, &*of.name, "the Instance");
        let instance = self.refresh::<Instance>(reread).await?;
        Ok(instance.is_some_and(|i| i.metadata.uid.as_deref() == Some(self.uid)))
    }

    /// Nothing is to be done now: says how the Instance is.
    async fn settle(
        &self,
        instance: Option<&Instance>,
        pause: Option<&Pause>,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let Some(instance) = instance else {
            return Ok(Some(until(pause)));
        };
        let verdict = match pause {
            Some(Pause::Orphan(wait)) => Verdict::Waits(wait),
            _ => Verdict::Keep,
        };
        let world = &self.context.world;
        let status = world.lock().status(instance, verdict, pause, Now::get());
        self.write_status(instance, status).await?;
        Ok(Some(until(pause)))
    }

    async fn write_status(
        &self,
        instance: &Instance,
        status: InstanceStatus,
    ) -> Result<(), ReconcileError> {
        if !differs(instance.status.as_ref(), &status) {
            return Ok(());
        }
        let result = self.context.writer.status(instance, &status).await;
        self.told(instance, &status, &result);
        self.done("write the status", instance, result)
            .await
            .map(|_| ())
    }

    fn told(
        &self,
        instance: &Instance,
        status: &InstanceStatus,
        written: &Result<Instance, WriteError>,
    ) {
        if written.is_ok() {
            let events = &self.context.events;
            events.tell(instance, story::told(instance.status.as_ref(), status));
        }
    }

    /// Takes the written Instance in; after a refusal, the Instance as it is now.
    async fn done(
        &self,
        what: &'static str,
        instance: &Instance,
        result: Result<Instance, WriteError>,
    ) -> Result<Option<Outcome>, ReconcileError> {
        match result {
            Ok(written) => {
                if written.metadata.finalizers.is_some()
                    || written.metadata.deletion_timestamp.is_none()
                {
                    self.context.written(written, self.work);
                }
                Ok(None)
            }
            Err(error) => {
                self.reread(instance).await?;
                Err(ReconcileError::writing(what)(error))
            }
        }
    }

    async fn domain_done(
        &self,
        what: &'static str,
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
                Err(ReconcileError::writing(what)(error))
            }
        }
    }

    async fn reread(&self, instance: &Instance) -> Result<(), ReconcileError> {
        let key = ObjectKey::of(&instance.metadata);
        let reread = (&*key.namespace, &*key.name, "the Instance");
        self.refresh::<Instance>(reread).await.map(|_| ())
    }

    async fn refresh<K: crate::world::Cached>(
        &self,
        (namespace, name, what): (&str, &str, &'static str),
    ) -> Result<Option<K>, ReconcileError> {
        let read = self.context.refresh(namespace, name, self.work).await;
        read.map_err(ReconcileError::reading(what))
    }
}

/// When a pause ends by itself.
fn until(pause: Option<&Pause>) -> Outcome {
    let Some(Pause::Retained { until, .. }) = pause else {
        return Outcome::Settled;
    };
    let left = until.duration_since(Timestamp::now());
    let left = Duration::try_from(left).unwrap_or_default();
    // A little later, so that it has passed by every clock.
    Outcome::Again(Instant::now() + left + Duration::from_millis(100))
}
