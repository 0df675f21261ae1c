//! A `KeyPair`'s status: its fingerprint.

use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::effect::Effect;
use crate::world::{Now, Work};
use crate::write::WriteError;
use kilonova_controllers_core::key::ObjectKey;
use kilonova_controllers_core::key_pairs::key_pair_status;
use kilonova_crds::KeyPair;

/// Looks at that `KeyPair`.
pub async fn look(
    context: &Context,
    work: &Work,
    key: &ObjectKey,
) -> Result<Outcome, ReconcileError> {
    let key_pair = context
        .world
        .lock()
        .get::<KeyPair>(&key.namespace, &key.name);
    let Some(key_pair) = key_pair else {
        return Ok(Outcome::Settled);
    };
    let status = key_pair_status(&key_pair, Now::get().wall);
    if key_pair.status.as_ref() == Some(&status) {
        return Ok(Outcome::Settled);
    }
    match context
        .writer
        .status(Effect::ReportKeyPair, &*key_pair, &status)
        .await
    {
        Ok(written) => context.written(written, work),
        Err(WriteError::Gone(_)) => {}
        Err(error) => {
            let read = context.refresh::<KeyPair>(&key.namespace, &key.name, work);
            read.await.map_err(ReconcileError::reading("the KeyPair"))?;
            return Err(ReconcileError::writing("write the status")(error));
        }
    }
    Ok(Outcome::Settled)
}
