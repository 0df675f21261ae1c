//! An object that was written for newer controllers: it is said so, and nothing else is done.

use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::effect::Effect;
use crate::world::Cached;
use crate::write::WriteError;
use k8s_openapi::jiff::Timestamp;
use kilonova_controllers_core::conditions::not_understood;
use kilonova_crds::Condition;

/// Says that the object is not understood, where that is news. `has`: its conditions.
pub async fn stall<K: Cached>(
    context: &Context,
    effect: Effect,
    object: &K,
    has: &[Condition],
    why: &str,
) -> Result<Outcome, ReconcileError> {
    let conditions = not_understood(has, why, Timestamp::now());
    if conditions == has {
        return Ok(Outcome::Settled);
    }
    match context.writer.conditions(effect, object, &conditions).await {
        // The watch brings what was written; and a change of it brings another look.
        Ok(()) | Err(WriteError::Gone(_) | WriteError::Conflict(_)) => Ok(Outcome::Settled),
        Err(error) => Err(ReconcileError::writing("write the conditions")(error)),
    }
}
