//! Binding an Instance, and taking a binding back.
//!
//! What was decided is held in the ledgers from the decision on. When the write's answer is lost,
//! nobody knows whether the binding stands; until the Instance was read again what was decided
//! stays held, and nothing else is done for it.

use super::Look;
use crate::effect::Effect;
use crate::reconcile::{Outcome, ReconcileError};
use crate::world::{Decision, Now};
use kilonova_controllers_core::binding::Binding;
use kilonova_controllers_core::cluster::BindingFault;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_controllers_core::status::Verdict;
use kilonova_crds::{Domain, Instance, names};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::info;

impl Look<'_> {
    pub(super) async fn bind(
        &self,
        instance: &Arc<Instance>,
    ) -> Result<Option<Outcome>, ReconcileError> {
        if let Some(wait) = self.user_data_wait(instance).await? {
            let decision = self.context.world.lock().waits(instance, wait);
            self.carry_out(instance, decision).await?;
            return Ok(Some(self.again()));
        }
        let start = Instant::now();
        let decision = self.context.world.lock().bind(instance);
        let took = start.elapsed().as_secs_f64();
        self.context.metrics.decision_seconds.observe(took);
        self.carry_out(instance, decision).await
    }

    pub(super) async fn adopt_domain(
        &self,
        instance: &Arc<Instance>,
        node: &str,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let decision = {
            let mut world = self.context.world.lock();
            let domain = world.get::<Domain>(&names::node_namespace(node), self.uid);
            domain.map(|domain| world.adopt_domain(instance, node, &domain))
        };
        match decision {
            Some(decision) => self.carry_out(instance, decision).await,
            None => Ok(None),
        }
    }

    pub(super) async fn adopt_orphan(
        &self,
        instance: &Arc<Instance>,
        node: &str,
        orphan_uid: &str,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let decision = {
            let mut world = self.context.world.lock();
            let orphan = world.orphan(node, orphan_uid);
            orphan.map(|orphan| world.adopt_orphan(instance, node, &orphan))
        };
        match decision {
            Some(decision) => self.carry_out(instance, decision).await,
            None => Ok(None),
        }
    }

    /// Writes the binding, or what the Instance waits for.
    async fn carry_out(
        &self,
        instance: &Instance,
        decision: Decision,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let refusal = decision.as_ref().err();
        let outcome = refusal.map_or("bound", |wait| wait.reason());
        let decisions = &self.context.metrics.decisions;
        decisions.with_label_values(&[outcome]).inc();
        match decision {
            Ok(binding) => self.write_binding(instance, &binding).await,
            Err(wait) => {
                let (verdict, now) = (Verdict::Waits(&wait), Now::get());
                let world = &self.context.world;
                let status = world.lock().status(instance, verdict, None, now);
                self.write_status(instance, status).await?;
                let again = world.lock().tried_again(self.uid);
                Ok(Some(again.map_or(Outcome::Settled, Outcome::Again)))
            }
        }
    }

    async fn write_binding(
        &self,
        instance: &Instance,
        binding: &Binding,
    ) -> Result<Option<Outcome>, ReconcileError> {
        let now = Now::get();
        let (status, waited) = {
            let mut world = self.context.world.lock();
            let status = world.status(instance, Verdict::Binds(binding), None, now);
            // Should this task end before the answer is here, the next look finds the doubt.
            world.doubt(instance);
            (status, world.waited(self.uid, now))
        };
        let result = self
            .context
            .writer
            .status(Effect::Bind, instance, &status)
            .await;
        self.told(instance, &status, &result);
        match result {
            Ok(written) => {
                self.context.written(written, self.work);
                self.context.world.lock().resolved(self.uid);
                if let Some(waited) = waited {
                    let histogram = &self.context.metrics.bind_seconds;
                    histogram.observe(waited.as_secs_f64());
                }
                Ok(None)
            }
            Err(error) => {
                self.resolve_doubt().await?;
                Err(ReconcileError::writing("write the binding")(error))
            }
        }
    }

    /// Where a binding may have been written: reads the Instance, and gives back what was decided.
    /// If it was written, the Instance as it was read holds it, and nothing is given back.
    pub(super) async fn resolve_doubt(&self) -> Result<(), ReconcileError> {
        let doubted = self.context.world.lock().doubted(self.uid);
        let Some(ObjectKey { namespace, name }) = doubted else {
            return Ok(());
        };
        let reread = (&*namespace, &*name, "the Instance");
        self.refresh::<Instance>(reread).await?;
        let freed = self.context.world.lock().resolved(self.uid);
        self.context.enqueue(freed);
        Ok(())
    }

    pub(super) async fn take_back(
        &self,
        instance: &Instance,
        fault: &BindingFault,
    ) -> Result<Option<Outcome>, ReconcileError> {
        info!(uid = self.uid, %fault, "taking the binding back");
        let node = instance.status.as_ref().and_then(|s| s.node_name.as_ref());
        if let Some(node) = node.filter(|_| instance.spec.user_data_from.is_some()) {
            self.take_away(node).await?;
        }
        let status = {
            let mut world = self.context.world.lock();
            if let BindingFault::Refused(node) = fault {
                world.note_refusal(self.uid, node);
            }
            world.status(instance, Verdict::TakesBack(fault), None, Now::get())
        };
        let result = self
            .context
            .writer
            .status(Effect::TakeBack, instance, &status)
            .await;
        self.told(instance, &status, &result);
        self.done("take the binding back", instance, result).await
    }
}
