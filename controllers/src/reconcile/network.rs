//! A Network: its status, and its finalizer while something names its segment.

use super::strange::stall;
use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::effect::Effect;
use crate::world::{Now, Work};
use crate::write::WriteError;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_controllers_core::networks::{FinalizerAction, SEGMENT_SHARED, finalizer};
use kilonova_crds::Network;
use kilonova_crds::condition::{find, types};
use kilonova_crds::names::NETWORK_FINALIZER;
use kube::ResourceExt;
use tracing::warn;

/// Looks at that Network.
pub async fn look(
    context: &Context,
    work: &Work,
    key: &ObjectKey,
) -> Result<Outcome, ReconcileError> {
    let facts = context.world.lock().network_facts(key, Now::get());
    let Some((network, status, in_use)) = facts else {
        return Ok(Outcome::Settled);
    };
    let strange = network.uid().and_then(|uid| {
        let world = context.world.lock();
        world.strange(&uid).map(str::to_owned)
    });
    if let Some(why) = strange.filter(|_| network.metadata.deletion_timestamp.is_none()) {
        let conditions = network.status.as_ref().map(|s| s.conditions.as_slice());
        return stall(
            context,
            Effect::ReportNetwork,
            &*network,
            conditions.unwrap_or_default(),
            &why,
        )
        .await;
    }
    let writer = &context.writer;
    let (what, result) = match finalizer(&network, in_use) {
        FinalizerAction::Add => (
            "add the finalizer",
            writer
                .add_finalizer(Effect::HoldNetwork, &*network, NETWORK_FINALIZER)
                .await,
        ),
        FinalizerAction::Remove => (
            "remove the finalizer",
            writer
                .remove_finalizer(Effect::FreeNetwork, &*network, NETWORK_FINALIZER)
                .await,
        ),
        FinalizerAction::Nothing if network.status.as_ref() == Some(&status) => {
            return Ok(Outcome::Settled);
        }
        FinalizerAction::Nothing => (
            "write the status",
            writer
                .status(Effect::ReportNetwork, &*network, &status)
                .await,
        ),
    };
    match result {
        Ok(written) => {
            warn_if_shared(&written);
            if written.metadata.deletion_timestamp.is_none() {
                context.written(written, work);
                // A finalizer first, then the status.
                context.queue.add(work.clone());
            }
            Ok(Outcome::Settled)
        }
        Err(WriteError::Gone(_)) => Ok(Outcome::Settled),
        Err(error) => {
            let read = context.refresh::<Network>(&key.namespace, &key.name, work);
            read.await.map_err(ReconcileError::reading("the Network"))?;
            Err(ReconcileError::writing(what)(error))
        }
    }
}

/// Says where the operator looks that two Networks are in one segment.
fn warn_if_shared(network: &Network) {
    let Some(status) = &network.status else {
        return;
    };
    let ready = find(&status.conditions, types::READY);
    if let (Some(segment), Some(ready)) = (&status.segment, ready)
        && ready.reason == SEGMENT_SHARED
    {
        let key = ObjectKey::of(&network.metadata);
        warn!(network = %key, ?segment, "its segment is another Network's too, and both have ports in it");
    }
}
