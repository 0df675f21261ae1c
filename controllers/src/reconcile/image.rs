//! An image of either kind: reads its header once, and again while it is not usable; its status.

use super::{Outcome, ReconcileError};
use crate::context::Context;
use crate::effect::Effect;
use crate::world::{AnyImage, Cached, ImageId, Now, Reading, Work};
use crate::write::WriteError;
use kilonova_common::http_source::{FetchError, Location};
use kilonova_common::image_header::parse;
use kilonova_common::telemetry::chain;
use kilonova_controllers_core::images::Header;
use kilonova_crds::v1alpha1::ImageStatus;
use std::sync::Arc;
use tracing::info;

/// Looks at that image.
pub async fn look(
    context: &Arc<Context>,
    work: &Work,
    id: &ImageId,
) -> Result<Outcome, ReconcileError> {
    let facts = context.world.lock().image_facts(id, Now::get());
    let Some(facts) = facts else {
        return Ok(Outcome::Settled);
    };
    if let Some(reading) = facts.read {
        // Servers are slow: no worker waits for one.
        tokio::spawn(read(context.clone(), id.clone(), reading));
    }
    if let Some(status) = facts.status {
        match &facts.image {
            AnyImage::Own(image) => write(context, work, id, &**image, &status).await?,
            AnyImage::Cluster(image) => write(context, work, id, &**image, &status).await?,
        }
    }
    Ok(facts.again.map_or(Outcome::Settled, Outcome::Again))
}

async fn write<K: Cached>(
    context: &Context,
    work: &Work,
    id: &ImageId,
    image: &K,
    status: &ImageStatus,
) -> Result<(), ReconcileError> {
    match context
        .writer
        .status(Effect::ReportImage, image, status)
        .await
    {
        Ok(written) => context.written(written, work),
        Err(WriteError::Gone(_)) => {}
        Err(error) => {
            let read = context.refresh::<K>(&id.namespace, &id.name, work);
            read.await.map_err(ReconcileError::reading("the image"))?;
            return Err(ReconcileError::writing("write the status")(error));
        }
    }
    Ok(())
}

async fn read(context: Arc<Context>, id: ImageId, reading: Reading) {
    // The semaphore is never closed.
    let _permit = context.image_readers.acquire().await;
    let file = Location {
        kind: id.kind,
        url: &reading.url,
    };
    let header = match context.images.head(file).await {
        Ok(head) => match parse(reading.format, &head.bytes, head.file_size) {
            Ok(header) => Header::Read {
                format: header.format,
                virtual_size: header.virtual_size,
            },
            Err(refusal) => Header::Refused(refusal.to_string()),
        },
        Err(error) => Header::Unreachable(told(&id, &error)),
    };
    let mut world = context.world.lock();
    world.header_read(&id, &reading.uid, header, Now::get());
    drop(world);
    context.queue.add(Work::Image(id));
}

/// What a tenant is told; what the server said besides is for the log.
fn told(id: &ImageId, error: &FetchError) -> String {
    info!(?id, error = chain(error), "cannot read an image's header");
    error.to_string()
}
