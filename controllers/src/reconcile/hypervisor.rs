//! A node: its namespace and the account of its agent, its health, and the controllers' conditions
//! of its Hypervisor.

use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::world::{Now, Work};
use crate::write::WriteError;
use kilonova_crds::Hypervisor;
use tracing::info;

/// Looks at the node of that name.
pub async fn look(context: &Context, work: &Work, node: &str) -> Result<Outcome, ReconcileError> {
    let (now, mut follow) = (Now::get(), Vec::new());
    let facts = {
        let mut world = context.world.lock();
        world.refresh_health(node, now.steady, &mut follow);
        world.settle(now.steady, &mut follow);
        world.hypervisor_facts(node, &context.cluster_id, now)
    };
    context.enqueue(follow.into_iter().filter(|key| key != work));
    let Some(facts) = facts else {
        return Ok(Outcome::Settled);
    };
    if facts.ensure {
        info!(node, "making its namespace");
        let made = context.writer.node_namespace(node, &context.cluster_id);
        let made = made
            .await
            .map_err(ReconcileError::writing("make the node namespace"))?;
        context.world.lock().note_ensured(node);
        context.written(made, work);
    }
    if let Some(conditions) = facts.conditions {
        let writer = &context.writer;
        match writer
            .hypervisor_conditions(&facts.hypervisor, &conditions)
            .await
        {
            Ok(written) => context.written(written, work),
            Err(WriteError::Gone(_)) => {}
            Err(error) => {
                let read = context.refresh::<Hypervisor>("", node, work);
                read.await
                    .map_err(ReconcileError::reading("the Hypervisor"))?;
                return Err(ReconcileError::writing("write the conditions")(error));
            }
        }
    }
    Ok(facts.again.map_or(Outcome::Settled, Outcome::Again))
}
