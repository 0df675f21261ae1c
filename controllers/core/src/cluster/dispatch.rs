//! Dispatch: what a Domain names is held from the decision to make it until it is known whether it
//! is there. In between the node may have it already, and the Instance may be bound no more: a
//! late leader writes what it likes into a status.

use super::{Cluster, named};
use crate::key::ObjectKey;
use crate::ledger::Source;
use crate::wait::WaitKey;
use kilonova_crds::node::DomainSpec;
use std::sync::Arc;

impl Cluster {
    /// A Domain of that spec is about to be made in that node's namespace. Once its answer is here,
    /// observe it; after a refusal, or when the answer was lost, read it first and observe what is
    /// there; then [`Cluster::end_dispatch`].
    pub fn dispatch(&mut self, node: &str, spec: &DomainSpec) {
        let instance = &spec.instance;
        let key = ObjectKey::new(&instance.namespace, &instance.name);
        let named = named::by_spec(spec, None);
        self.world
            .name(&instance.uid, &key, Source::Dispatch, node, named);
    }

    /// The node for which nobody knows whether it has a Domain of that Instance by now.
    #[must_use]
    pub fn dispatched_to(&self, instance_uid: &str) -> Option<&str> {
        self.world.dispatched_to(instance_uid).map(|node| &**node)
    }

    /// The Domain was made and observed, or is not there. Nothing happens where none was about to
    /// be made.
    pub fn end_dispatch(&mut self, instance_uid: &str) -> Vec<WaitKey> {
        if let Some(node) = self.world.dispatched_to(instance_uid).map(Arc::clone) {
            self.world.unname(instance_uid, Source::Dispatch, &node);
        }
        self.world.take_touched()
    }
}
