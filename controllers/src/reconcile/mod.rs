//! One look at one thing: what is known of it, what follows, done. Each look starts from the world
//! as it is then; nothing is remembered between two but what the world holds.

mod hypervisor;
mod image;
mod instance;
mod key_pair;
mod network;
mod segment;
mod strange;

use crate::context::Context;
use crate::queue::Done;
use crate::world::Work;
use crate::write::WriteError;
use kilonova_common::telemetry::chain;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{debug, warn};

/// How a look ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do until something changes.
    Settled,
    /// To be looked at again then, if not before.
    Again(Instant),
}

/// Why a look failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A write.
    #[error("cannot {what}")]
    Write {
        /// What was to be done.
        what: &'static str,
        /// Why not.
        #[source]
        source: WriteError,
    },
    /// A read.
    #[error("cannot read {what}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// It never came to an end.
    #[error("gave up after {0} steps in a row")]
    Endless(usize),
}

impl ReconcileError {
    fn writing(what: &'static str) -> impl FnOnce(WriteError) -> Self {
        move |source| Self::Write { what, source }
    }

    fn reading(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Read { what, source }
    }

    /// Somebody else wrote first; that is no fault.
    fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Write {
                source: WriteError::Conflict(_) | WriteError::Gone(_),
                ..
            }
        )
    }
}

/// Takes work off the queue, for as long as the process leads.
pub async fn work(context: Arc<Context>) {
    loop {
        let work = context.queue.take().await;
        let result = look(&context, &work).await;
        let (done, outcome) = match &result {
            Ok(Outcome::Settled) => (Done::Settled, "settled"),
            Ok(Outcome::Again(at)) => (Done::Again(*at), "again"),
            Err(error) if error.is_conflict() => {
                debug!(?work, error = chain(error), "looking again");
                (Done::Failed, "conflict")
            }
            Err(error) => {
                warn!(?work, error = chain(error), "failed");
                (Done::Failed, "error")
            }
        };
        let labels = [work.kind(), outcome];
        context.metrics.reconciles.with_label_values(&labels).inc();
        context.queue.finish(work, done);
    }
}

async fn look(context: &Arc<Context>, work: &Work) -> Result<Outcome, ReconcileError> {
    match work {
        Work::Instance(uid) => instance::look(context, work, uid).await,
        Work::Segment(key) => segment::look(context, work, key).await,
        Work::Network(key) => network::look(context, work, key).await,
        Work::Image(id) => image::look(context, work, id).await,
        Work::KeyPair(key) => key_pair::look(context, work, key).await,
        Work::Node(name) => hypervisor::look(context, work, name).await,
    }
}
