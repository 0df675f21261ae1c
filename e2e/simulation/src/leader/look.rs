//! One look at one Instance, as the controllers' `reconcile::instance` has it: ask what follows,
//! have it done, take the answer in, ask again.

use super::calls::{CallError, Line};
use super::segment::{ensure, unpin};
use super::{Done, Known};
use crate::api::Kind;
use crate::clock;
use k8s_openapi::jiff::SignedDuration;
use kilonova_controllers::world::{Decision, Next, Work};
use kilonova_controllers_core::binding::Binding;
use kilonova_controllers_core::cluster::BindingFault;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_controllers_core::lifecycle::{Action, DomainWrite, Pause, WriteReason};
use kilonova_controllers_core::status::{Verdict, differs};
use kilonova_crds::names::{self, ABANDONED_ANNOTATION, INSTANCE_FINALIZER};
use kilonova_crds::v1alpha1::InstanceStatus;
use kilonova_crds::{Domain, Instance};
use kube::ResourceExt;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long what is abandoned is kept.
pub const RETENTION: SignedDuration = SignedDuration::from_secs(60);
/// More steps in a row than any way through the lifecycle has.
const STEPS_MAX: usize = 12;

/// What a look works with.
#[derive(Clone)]
pub struct Look {
    /// What the leader knows.
    pub known: Known,
    /// Its line to the server.
    pub line: Line,
    /// The number that its fenced writes carry.
    pub term: u64,
    /// What is looked at.
    pub work: Work,
    /// What is to be looked at because of it.
    pub woken: Rc<RefCell<Vec<Work>>>,
}

type Step = Result<Option<Done>, CallError>;

/// Looks at the Instance of that uid.
pub async fn instance(look: Look, uid: String) -> Result<Done, CallError> {
    let look = InstanceLook { look, uid };
    look.resolve_doubt().await?;
    look.resolve_dispatch().await?;
    for _ in 0..STEPS_MAX {
        let next = look
            .look
            .known
            .borrow_mut()
            .next(&look.uid, Some(RETENTION), clock::now());
        let Some(next) = next else {
            return Ok(Done::Settled);
        };
        if let Some(done) = look.step(next).await? {
            return Ok(done);
        }
    }
    Err(CallError::Endless)
}

impl Look {
    /// Takes in what was written or read.
    pub fn written<K: Kind>(&self, object: K) {
        let work = self.known.borrow_mut().written(object);
        let others = work.into_iter().filter(|work| *work != self.work);
        self.woken.borrow_mut().extend(others);
    }

    /// Reads an object anew and takes it in.
    pub async fn refresh<K: Kind>(&self, of: &ObjectKey) -> Result<Option<Arc<K>>, CallError> {
        let of = of.clone();
        let read = move |api: &mut crate::api::Api| Ok(api.get::<K>(&of.namespace, &of.name));
        let object = self.line.call(read).await?;
        if let Some(object) = &object {
            self.written((**object).clone());
        }
        Ok(object)
    }
}

struct InstanceLook {
    look: Look,
    uid: String,
}

impl InstanceLook {
    async fn step(&self, next: Next) -> Step {
        let Next { instance, action } = next;
        match (action, instance) {
            (Action::Nothing, instance) => self.settle(instance.as_deref(), None).await,
            (Action::Wait(pause), instance) => self.settle(instance.as_deref(), Some(&pause)).await,
            (Action::CreateDomain(write), instance) => {
                self.create_domain(instance.as_deref(), write).await
            }
            (Action::UpdateDomain(write), instance) => {
                if instance.is_none() && self.came_back(&write).await? {
                    return Ok(None);
                }
                self.update_domain(instance.is_some(), write).await
            }
            (Action::DeleteDomain { node }, _) => self.delete_domain(&node).await,
            (_, None) => Ok(Some(Done::Settled)),
            (action, Some(instance)) => self.step_of(action, &instance).await,
        }
    }

    async fn step_of(&self, action: Action, instance: &Arc<Instance>) -> Step {
        match action {
            Action::Bind => {
                let decision = self.look.known.borrow_mut().bind(instance);
                self.carry_out(instance, decision).await
            }
            Action::AdoptDomain { node } => {
                let key = self.domain_key(&node);
                let decision = {
                    let mut known = self.look.known.borrow_mut();
                    let domain = known.get::<Domain>(&key.namespace, &key.name);
                    domain.map(|domain| known.adopt_domain(instance, &node, &domain))
                };
                match decision {
                    Some(decision) => self.carry_out(instance, decision).await,
                    None => Ok(None),
                }
            }
            Action::AdoptOrphan { node, uid } => {
                let decision = {
                    let mut known = self.look.known.borrow_mut();
                    let orphan = known.orphan(&node, &uid);
                    orphan.map(|orphan| known.adopt_orphan(instance, &node, &orphan))
                };
                match decision {
                    Some(decision) => self.carry_out(instance, decision).await,
                    None => Ok(None),
                }
            }
            Action::TakeBack(fault) => self.take_back(instance, &fault).await,
            Action::AddFinalizer => {
                let mut finalizers = instance.finalizers().to_vec();
                finalizers.push(INSTANCE_FINALIZER.to_owned());
                let of = Arc::clone(instance);
                let write = move |api: &mut crate::api::Api| api.finalizers(&*of, finalizers);
                let result = self.look.line.call(write).await;
                self.done(instance, result).await
            }
            Action::RemoveFinalizer => {
                let (of, term) = (Arc::clone(instance), self.look.term);
                let write = move |api: &mut crate::api::Api| {
                    api.allow(term)?;
                    let mut finalizers = of.finalizers().to_vec();
                    finalizers.retain(|f| f != INSTANCE_FINALIZER);
                    api.finalizers(&*of, finalizers)
                };
                let result = self.look.line.call(write).await;
                self.done(instance, result).await?;
                Ok(Some(Done::Settled))
            }
            Action::Nothing
            | Action::Wait(_)
            | Action::CreateDomain(_)
            | Action::UpdateDomain(_)
            | Action::DeleteDomain { .. } => Ok(None),
        }
    }

    async fn carry_out(&self, instance: &Arc<Instance>, decision: Decision) -> Step {
        match decision {
            Ok(binding) => self.write_binding(instance, &binding).await,
            Err(wait) => {
                let verdict = Verdict::Waits(&wait);
                let status = self
                    .look
                    .known
                    .borrow()
                    .status(instance, verdict, None, clock::now());
                self.write_status(instance, status).await?;
                let again = self.look.known.borrow().tried_again(&self.uid);
                Ok(Some(again.map_or(Done::Settled, Done::Again)))
            }
        }
    }

    async fn write_binding(&self, instance: &Arc<Instance>, binding: &Binding) -> Step {
        let status = {
            let mut known = self.look.known.borrow_mut();
            let status = known.status(instance, Verdict::Binds(binding), None, clock::now());
            known.doubt(instance);
            status
        };
        match self.put_status(instance, status).await {
            Ok(written) => {
                self.look.written(written);
                let _ = self.look.known.borrow_mut().resolved(&self.uid);
                Ok(None)
            }
            Err(error) => {
                self.resolve_doubt().await?;
                Err(error)
            }
        }
    }

    async fn resolve_doubt(&self) -> Result<(), CallError> {
        let doubted = self.look.known.borrow().doubted(&self.uid);
        let Some(key) = doubted else {
            return Ok(());
        };
        self.look.refresh::<Instance>(&key).await?;
        let freed = self.look.known.borrow_mut().resolved(&self.uid);
        self.look.woken.borrow_mut().extend(freed);
        Ok(())
    }

    async fn take_back(&self, instance: &Arc<Instance>, fault: &BindingFault) -> Step {
        let status = {
            let mut known = self.look.known.borrow_mut();
            if let BindingFault::Refused(node) = fault {
                known.note_refusal(&self.uid, node);
            }
            known.status(instance, Verdict::TakesBack(fault), None, clock::now())
        };
        let result = self.put_status(instance, status).await;
        self.done(instance, result).await
    }

    async fn settle(&self, instance: Option<&Instance>, pause: Option<&Pause>) -> Step {
        if let Some(instance) = instance {
            let verdict = match pause {
                Some(Pause::Orphan(wait)) => Verdict::Waits(wait),
                _ => Verdict::Keep,
            };
            let known = Rc::clone(&self.look.known);
            let status = known
                .borrow()
                .status(instance, verdict, pause, clock::now());
            self.write_status(instance, status).await?;
        }
        Ok(Some(until(pause)))
    }

    async fn write_status(
        &self,
        instance: &Instance,
        status: InstanceStatus,
    ) -> Result<(), CallError> {
        if !differs(instance.status.as_ref(), &status) {
            return Ok(());
        }
        let result = self.put_status(instance, status).await;
        self.done(instance, result).await.map(|_| ())
    }

    async fn put_status(
        &self,
        instance: &Instance,
        status: InstanceStatus,
    ) -> Result<Instance, CallError> {
        let of = instance.clone();
        let write = move |api: &mut crate::api::Api| api.status(&of, |i| i.status = Some(status));
        self.look.line.call(write).await
    }

    async fn done(&self, instance: &Instance, result: Result<Instance, CallError>) -> Step {
        match result {
            Ok(written) => {
                if written.metadata.finalizers.is_some()
                    || written.metadata.deletion_timestamp.is_none()
                {
                    self.look.written(written);
                }
                Ok(None)
            }
            Err(error) => {
                let key = ObjectKey::of(&instance.metadata);
                self.look.refresh::<Instance>(&key).await?;
                Err(error)
            }
        }
    }

    async fn create_domain(&self, instance: Option<&Instance>, write: DomainWrite) -> Step {
        let key = self.domain_key(&write.node);
        let mut pinned = Vec::new();
        let segments = match instance {
            Some(instance) => self.segments(instance, &key, &write, &mut pinned).await,
            None => Ok(()),
        };
        let result = match segments {
            Ok(()) => {
                let mut domain = Domain::new(&self.uid, *write.spec);
                domain.metadata.namespace = Some(key.namespace.clone());
                mark(&mut domain, write.abandoned_at.map(|at| at.to_string()));
                let term = self.look.term;
                let create = move |api: &mut crate::api::Api| {
                    api.allow(term)?;
                    api.create(domain)
                };
                let result = self.look.line.call(create).await;
                self.domain_made(result).await
            }
            Err(error) => {
                self.end_dispatch();
                Err(error)
            }
        };
        unpin(&self.look, pinned);
        result
    }

    async fn domain_made(&self, result: Result<Domain, CallError>) -> Step {
        match result {
            Ok(written) => {
                self.look.written(written);
                self.end_dispatch();
                Ok(None)
            }
            Err(error) => {
                self.resolve_dispatch().await?;
                Err(error)
            }
        }
    }

    async fn resolve_dispatch(&self) -> Result<(), CallError> {
        let node = self.look.known.borrow().dispatched_to(&self.uid);
        if let Some(node) = node {
            let key = self.domain_key(&node);
            self.look.refresh::<Domain>(&key).await?;
            self.end_dispatch();
        }
        Ok(())
    }

    fn end_dispatch(&self) {
        let freed = self.look.known.borrow_mut().dispatch_ended(&self.uid);
        let others = freed.into_iter().filter(|work| *work != self.look.work);
        self.look.woken.borrow_mut().extend(others);
    }

    async fn segments(
        &self,
        instance: &Instance,
        domain: &ObjectKey,
        write: &DomainWrite,
        pinned: &mut Vec<ObjectKey>,
    ) -> Result<(), CallError> {
        for port in &write.spec.ports {
            let key = ObjectKey::new(domain.namespace.clone(), port.segment.clone());
            let wanted = {
                let mut known = self.look.known.borrow_mut();
                known.pin(key.clone());
                known.segment_for(instance, &port.segment)
            };
            pinned.push(key.clone());
            if let Some(wanted) = wanted {
                ensure(&self.look, &key, wanted).await?;
            }
        }
        Ok(())
    }

    async fn update_domain(&self, lives: bool, write: DomainWrite) -> Step {
        let key = self.domain_key(&write.node);
        let domain = self.cached_domain(&key);
        let Some(domain) = domain else {
            return Ok(None);
        };
        let (why, node, term) = (write.why, write.node.clone(), self.look.term);
        let mut domain = (*domain).clone();
        domain.spec = *write.spec;
        mark(&mut domain, write.abandoned_at.map(|at| at.to_string()));
        let replace = move |api: &mut crate::api::Api| {
            api.allow(term)?;
            api.replace(domain)
        };
        let result = self.look.line.call(replace).await;
        if lives && result.is_ok() && why == WriteReason::Refused {
            self.look.known.borrow_mut().note_refusal(&self.uid, &node);
        }
        self.domain_rewritten(&key, result).await
    }

    async fn delete_domain(&self, node: &str) -> Step {
        let key = self.domain_key(node);
        let domain = self.cached_domain(&key);
        let Some(domain) = domain else {
            return Ok(None);
        };
        let term = self.look.term;
        let delete = move |api: &mut crate::api::Api| {
            api.allow(term)?;
            api.delete(&*domain)
        };
        match self.look.line.call(delete).await {
            Ok(()) | Err(CallError::Refused(crate::api::Refusal::Gone)) => Ok(Some(Done::Settled)),
            Err(error) => {
                self.look.refresh::<Domain>(&key).await?;
                Err(error)
            }
        }
    }

    /// Before something is done to a Domain because its Instance is gone: whether it is.
    async fn came_back(&self, write: &DomainWrite) -> Result<bool, CallError> {
        let of = &write.spec.instance;
        let key = ObjectKey::new(of.namespace.clone(), of.name.clone());
        let instance = self.look.refresh::<Instance>(&key).await?;
        Ok(instance.is_some_and(|i| i.metadata.uid.as_deref() == Some(&*self.uid)))
    }

    async fn domain_rewritten(&self, key: &ObjectKey, result: Result<Domain, CallError>) -> Step {
        match result {
            Ok(written) => {
                self.look.written(written);
                Ok(None)
            }
            Err(error) => {
                self.look.refresh::<Domain>(key).await?;
                Err(error)
            }
        }
    }

    fn cached_domain(&self, key: &ObjectKey) -> Option<Arc<Domain>> {
        let mut known = self.look.known.borrow_mut();
        known.get::<Domain>(&key.namespace, &key.name)
    }

    fn domain_key(&self, node: &str) -> ObjectKey {
        ObjectKey::new(names::node_namespace(node), self.uid.clone())
    }
}

fn mark(domain: &mut Domain, abandoned_at: Option<String>) {
    let annotations = domain.metadata.annotations.get_or_insert_default();
    annotations.remove(ABANDONED_ANNOTATION);
    annotations.extend(abandoned_at.map(|at| (ABANDONED_ANNOTATION.to_owned(), at)));
}

fn until(pause: Option<&Pause>) -> Done {
    let Some(Pause::Retained { until, .. }) = pause else {
        return Done::Settled;
    };
    let left = Duration::try_from(until.duration_since(clock::wall())).unwrap_or_default();
    Done::Again(clock::steady() + left + Duration::from_millis(100))
}
