//! One Instance and its Domains: asks the core for the next action, carries it out, takes the
//! answer in, and asks again, until there is nothing to do; then its status.

mod bind;
mod domain;
mod user_data;

use super::strange::stall;
use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::effect::Effect;
use crate::events::story;
use crate::world::{Cached, Next, Now, Work};
use crate::write::WriteError;
use k8s_openapi::jiff::Timestamp;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_controllers_core::lifecycle::{Action, Pause};
use kilonova_controllers_core::status::{Verdict, differs};
use kilonova_crds::Instance;
use kilonova_crds::names::INSTANCE_FINALIZER;
use kilonova_crds::v1alpha1::InstanceStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// More steps in a row than any way through the lifecycle has.
const STEPS_MAX: usize = 12;

/// Looks at the Instance of that uid.
pub async fn look(
    context: &Arc<Context>,
    work: &Work,
    uid: &str,
) -> Result<Outcome, ReconcileError> {
    let strange = context.world.lock().strange_instance(uid);
    if let Some((instance, why)) = strange {
        let conditions = instance.status.as_ref().map(|s| s.conditions.as_slice());
        return stall(
            context,
            Effect::ReportInstance,
            &*instance,
            conditions.unwrap_or_default(),
            &why,
        )
        .await;
    }
    let look = Look { context, work, uid };
    look.resolve_doubt().await?;
    look.resolve_dispatch().await?;
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
            Action::Nothing => {
                if let Some(instance) = &instance
                    && let Some(outcome) = self.hand_over_again(instance).await?
                {
                    return Ok(Some(outcome));
                }
                self.settle(instance.as_deref(), None).await
            }
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
        let writer = &self.context.writer;
        match action {
            Action::Bind => self.bind(instance).await,
            Action::AdoptDomain { node } => self.adopt_domain(instance, &node).await,
            Action::AdoptOrphan { node, uid } => self.adopt_orphan(instance, &node, &uid).await,
            Action::TakeBack(fault) => self.take_back(instance, &fault).await,
            Action::AddFinalizer => {
                let write =
                    writer.add_finalizer(Effect::HoldInstance, &**instance, INSTANCE_FINALIZER);
                self.done("add the finalizer", instance, write.await).await
            }
            Action::RemoveFinalizer => {
                let write =
                    writer.remove_finalizer(Effect::FreeInstance, &**instance, INSTANCE_FINALIZER);
                self.done("remove the finalizer", instance, write.await)
                    .await?;
                // With its last finalizer it is gone; the watch says so.
                Ok(Some(Outcome::Settled))
            }
            Action::Nothing
            | Action::Wait(_)
            | Action::CreateDomain(_)
            | Action::UpdateDomain(_)
            | Action::DeleteDomain { .. } => Ok(None),
        }
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
        self.take_away_taken(instance, &status).await?;
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
        let result = self
            .context
            .writer
            .status(Effect::ReportInstance, instance, &status)
            .await;
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

    async fn reread(&self, instance: &Instance) -> Result<(), ReconcileError> {
        let key = ObjectKey::of(&instance.metadata);
        let reread = (&*key.namespace, &*key.name, "the Instance");
        self.refresh::<Instance>(reread).await.map(|_| ())
    }

    async fn refresh<K: Cached>(
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
