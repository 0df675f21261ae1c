//! A Segment on a node: there while a Domain there names it, and as its Network says.

use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::effect::Effect;
use crate::world::Work;
use crate::write::WriteError;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_crds::Segment;
use kilonova_crds::node::SegmentSpec;

/// Looks at the Segment of that name in that node namespace.
pub async fn look(
    context: &Context,
    work: &Work,
    key: &ObjectKey,
) -> Result<Outcome, ReconcileError> {
    let facts = {
        let world = context.world.lock();
        if world.node_of(&key.namespace).is_none() {
            return Ok(Outcome::Settled);
        }
        world.segment_facts(key)
    };
    match (facts.needed, facts.wanted, facts.existing) {
        (true, Some(wanted), _) => ensure(context, work, key, wanted).await?,
        (false, _, Some(existing)) => match context
            .writer
            .delete(Effect::DeleteSegment, &*existing)
            .await
        {
            // The watch says when it is gone.
            Ok(()) | Err(WriteError::Gone(_)) => {}
            Err(error) => {
                refresh(context, work, key).await?;
                return Err(ReconcileError::writing("delete the Segment")(error));
            }
        },
        _ => {}
    }
    Ok(Outcome::Settled)
}

/// Makes the Segment, or makes it what it should be.
pub async fn ensure(
    context: &Context,
    work: &Work,
    key: &ObjectKey,
    wanted: SegmentSpec,
) -> Result<(), ReconcileError> {
    let existing = context
        .world
        .lock()
        .get::<Segment>(&key.namespace, &key.name);
    let result = match existing {
        Some(existing) if existing.spec == wanted => return Ok(()),
        Some(existing) => context.writer.update_segment(&existing, wanted).await,
        None => context.writer.create_segment(&key.namespace, wanted).await,
    };
    match result {
        Ok(written) => {
            context.written(written, work);
            Ok(())
        }
        // Another worker was faster: what it made is looked at on its own.
        Err(WriteError::Conflict(_)) if refresh(context, work, key).await?.is_some() => {
            context.queue.add(Work::Segment(key.clone()));
            Ok(())
        }
        Err(error) => Err(ReconcileError::writing("write the Segment")(error)),
    }
}

/// Lets go of Segments that were pinned.
pub fn unpin(context: &Context, pinned: Vec<ObjectKey>) {
    let mut world = context.world.lock();
    for key in &pinned {
        world.unpin(key);
    }
    drop(world);
    context.enqueue(pinned.into_iter().map(Work::Segment));
}

async fn refresh(
    context: &Context,
    work: &Work,
    key: &ObjectKey,
) -> Result<Option<Segment>, ReconcileError> {
    let read = context.refresh(&key.namespace, &key.name, work).await;
    read.map_err(ReconcileError::reading("the Segment"))
}
