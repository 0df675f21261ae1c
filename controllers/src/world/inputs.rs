//! What an Instance names, as far as it exists; and its binding.

use super::{AnyImage, ImageId, World};
use kilonova_controllers_core::binding::{Binding, ImageView, Inputs};
use kilonova_controllers_core::key::{ObjectKey, uid};
use kilonova_controllers_core::wait::Wait;
use kilonova_crds::v1alpha1::Orphan;
use kilonova_crds::{Domain, Flavor, Instance, KeyPair, Network};
use kube::ResourceExt;
use std::sync::Arc;
use tokio::time::Instant;

/// A binding, or what the Instance waits for.
pub type Decision = Result<Binding, Box<Wait>>;

/// What an Instance names, held, so that the ledgers can be changed while it is looked at.
pub struct Named {
    instance: Arc<Instance>,
    flavor: Option<Arc<Flavor>>,
    image: Option<AnyImage>,
    networks: Vec<Arc<Network>>,
    key_pairs: Vec<Arc<KeyPair>>,
    refused: Vec<String>,
}

impl Named {
    /// As the core takes it.
    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            instance: &self.instance,
            flavor: self.flavor.as_deref(),
            image: self.image.as_ref().map(|image| match image {
                AnyImage::Own(image) => ImageView::from(image.as_ref()),
                AnyImage::Cluster(image) => ImageView::from(image.as_ref()),
            }),
            networks: self
                .networks
                .iter()
                .filter(|n| n.metadata.deletion_timestamp.is_none())
                .filter_map(|n| Some((n.metadata.name.as_deref()?, n.as_ref())))
                .collect(),
            key_pairs: self
                .key_pairs
                .iter()
                .filter_map(|k| Some((k.metadata.name.as_deref()?, k.as_ref())))
                .collect(),
            refused: self.refused.iter().map(String::as_str).collect(),
        }
    }
}

impl World {
    /// What the Instance names.
    pub fn named(&self, instance: &Arc<Instance>) -> Named {
        let namespace = instance.namespace().unwrap_or_default();
        let spec = &instance.spec;
        let image = self.any_image(&ImageId {
            kind: spec.image.kind,
            namespace: namespace.clone(),
            name: spec.image.name.clone(),
        });
        let networks = spec.interfaces().iter();
        Named {
            instance: instance.clone(),
            flavor: self.flavors.get("", &spec.flavor).cloned(),
            image,
            networks: networks
                .filter_map(|i| self.networks.get(&namespace, &i.network).cloned())
                .filter(|network| self.strange(uid(&network.metadata)).is_none())
                .collect(),
            key_pairs: spec
                .key_pairs()
                .iter()
                .filter_map(|k| self.key_pairs.get(&namespace, k).cloned())
                .collect(),
            refused: self.refused.nodes(uid(&instance.metadata), (self.clock)()),
        }
    }

    /// Decides where the Instance goes and what it gets; or notes what it waits for.
    ///
    /// # Errors
    /// What it waits for.
    pub fn bind(&mut self, instance: &Arc<Instance>) -> Decision {
        let named = self.named(instance);
        let decision = self.cluster.bind(&named.inputs()).map_err(Box::new);
        self.note_wait(instance, decision.as_ref().err().map(AsRef::as_ref));
        decision
    }

    /// The binding that the Domain on that node realises; or notes what it waits for.
    ///
    /// # Errors
    /// What it waits for.
    pub fn adopt_domain(
        &mut self,
        instance: &Arc<Instance>,
        node: &str,
        domain: &Domain,
    ) -> Decision {
        let named = self.named(instance);
        let binding = Binding::from_domain(&named.inputs(), node, domain).map_err(Box::new);
        self.assume(instance, binding)
    }

    /// The binding by which the Instance takes over the orphan; or notes what it waits for.
    ///
    /// # Errors
    /// What it waits for.
    pub fn adopt_orphan(
        &mut self,
        instance: &Arc<Instance>,
        node: &str,
        orphan: &Orphan,
    ) -> Decision {
        let named = self.named(instance);
        let binding = Binding::from_orphan(&named.inputs(), node, orphan).map_err(Box::new);
        self.assume(instance, binding)
    }

    fn assume(&mut self, instance: &Arc<Instance>, binding: Decision) -> Decision {
        self.note_wait(instance, binding.as_ref().err().map(AsRef::as_ref));
        let binding = binding?;
        // Whom it may help to know more held than before: nobody.
        let _ = self.cluster.assume(instance, &binding);
        Ok(binding)
    }

    /// The Instance is not bound while it waits for this; notes so.
    ///
    /// # Errors
    /// Always: that is what it waits for.
    pub fn waits(&mut self, instance: &Instance, wait: Wait) -> Decision {
        self.note_wait(instance, Some(&wait));
        Err(Box::new(wait))
    }

    /// From now on the Instance waits for this, or for nothing.
    pub(super) fn note_wait(&mut self, instance: &Instance, wait: Option<&Wait>) {
        let key = ObjectKey::of(&instance.metadata);
        let keys = wait.map(|wait| wait.keys(&key.namespace));
        self.waiting.set(&key, keys.unwrap_or_default());
    }

    /// The node refused the Instance: it is not tried there until the node reports something new,
    /// or for a while.
    pub fn note_refusal(&mut self, instance_uid: &str, node: &str) {
        self.refused.note(instance_uid, node, (self.clock)());
    }

    /// When a node that refused the Instance is tried again, whatever it reports.
    pub fn tried_again(&self, instance_uid: &str) -> Option<Instant> {
        self.refused.next_end(instance_uid, (self.clock)())
    }
}
