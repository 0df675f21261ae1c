//! One look at one Segment, as the controllers' `reconcile::segment` has it.

use super::Done;
use super::calls::CallError;
use super::look::Look;
use crate::api::{Api, Refusal};
use kilonova_controllers::world::Work;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_crds::Segment;
use kilonova_crds::node::SegmentSpec;

/// Looks at that Segment.
pub async fn segment(look: Look, key: ObjectKey) -> Result<Done, CallError> {
    let facts = look.known.borrow().segment_facts(&key);
    match (facts.needed, facts.wanted, facts.existing) {
        (true, Some(wanted), _) => ensure(&look, &key, wanted).await?,
        (false, _, Some(existing)) => {
            let term = look.term;
            let delete = move |api: &mut Api| {
                api.allow(term)?;
                api.delete(&*existing)
            };
            match look.line.call(delete).await {
                Ok(()) | Err(CallError::Refused(Refusal::Gone)) => {}
                Err(error) => {
                    look.refresh::<Segment>(&key).await?;
                    return Err(error);
                }
            }
        }
        _ => {}
    }
    Ok(Done::Settled)
}

/// Makes the Segment, or makes it what it should be.
pub async fn ensure(look: &Look, key: &ObjectKey, wanted: SegmentSpec) -> Result<(), CallError> {
    let existing = {
        let mut known = look.known.borrow_mut();
        known.get::<Segment>(&key.namespace, &key.name)
    };
    let term = look.term;
    let result = match existing {
        Some(existing) if existing.spec == wanted => return Ok(()),
        Some(existing) => {
            let mut segment = (*existing).clone();
            segment.spec = wanted;
            let replace = move |api: &mut Api| {
                api.allow(term)?;
                api.replace(segment)
            };
            look.line.call(replace).await
        }
        None => {
            let mut segment = Segment::new(&key.name, wanted);
            segment.metadata.namespace = Some(key.namespace.clone());
            let create = move |api: &mut Api| {
                api.allow(term)?;
                api.create(segment)
            };
            look.line.call(create).await
        }
    };
    match result {
        Ok(written) => {
            look.written(written);
            Ok(())
        }
        Err(CallError::Refused(Refusal::Conflict))
            if look.refresh::<Segment>(key).await?.is_some() =>
        {
            look.woken.borrow_mut().push(Work::Segment(key.clone()));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Lets go of Segments that were pinned.
pub fn unpin(look: &Look, pinned: Vec<ObjectKey>) {
    let mut known = look.known.borrow_mut();
    for key in &pinned {
        known.unpin(key);
    }
    drop(known);
    look.woken
        .borrow_mut()
        .extend(pinned.into_iter().map(Work::Segment));
}
