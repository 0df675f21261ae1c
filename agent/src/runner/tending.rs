//! Keeping the Segments that are in use as they should be, and saying where they cannot be. A
//! start of an instance makes its Segments itself; here is what comes after.

use super::Runner;
use crate::api::WriteError;
use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kilonova_agent_core::network::{Netns, NodeNetwork, SegmentDesired};
use kilonova_agent_core::reason;
use kilonova_agent_core::record::InstanceFiles;
use kilonova_agent_network::Change;
use kilonova_common::telemetry::chain;
use kilonova_crds::condition::{carry_transition_times, types};
use kilonova_crds::node::{SegmentObserved, SegmentSpec};
use kilonova_crds::{Condition, ConditionStatus, Segment};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

/// Segments that are tended at once.
const AT_ONCE: usize = 4;
/// Names that are taken from the queue together.
const TOGETHER: usize = 256;

/// The Segments that are to be looked at.
pub(super) struct Tending {
    queue: UnboundedSender<String>,
    queued: Mutex<Option<UnboundedReceiver<String>>>,
    /// What the records of instances remember, for where the API has none.
    remembered: Mutex<BTreeMap<String, SegmentSpec>>,
}

impl Default for Tending {
    fn default() -> Self {
        let (queue, queued) = unbounded_channel();
        Self {
            queue,
            queued: Mutex::new(Some(queued)),
            remembered: Mutex::default(),
        }
    }
}

impl Runner {
    /// A Segment may not be as it should be.
    pub fn segment_changed(&self, name: &str) {
        // The queue's other end lives as long as the runner, or is not read any more.
        let _ = self.tending.queue.send(name.to_owned());
    }

    /// Tends Segments for ever.
    pub async fn tend_segments(&self) {
        let Some(mut queued) = self.tending.queued.lock().take() else {
            return;
        };
        let mut names = Vec::new();
        while queued.recv_many(&mut names, TOGETHER).await > 0 {
            let once: BTreeSet<String> = names.drain(..).collect();
            let tend = |name: String| async move { self.tend(&name).await };
            stream::iter(once).for_each_concurrent(AT_ONCE, tend).await;
        }
    }

    /// Has what others change on the node's network looked at, for ever.
    pub async fn heed_network(&self) {
        let heed = |change: Change| match change {
            Change::Segment(netns) => {
                self.changed_by_others(|name| Netns::of_network(name) == netns);
            }
            Change::Node => {
                self.changed_by_others(|_| true);
                self.census();
            }
        };
        self.parts().network.heed(heed).await;
    }

    fn changed_by_others(&self, is_it: impl Fn(&str) -> bool) {
        let mut names: BTreeSet<_> = self.parts().world.segment_names().into_iter().collect();
        names.extend(self.tending.remembered.lock().keys().cloned());
        for name in names.iter().filter(|name| is_it(name)) {
            self.segment_changed(name);
        }
    }

    /// Has every Segment looked at that is on the node.
    pub(super) fn tend_all(&self, network: &NodeNetwork, files: &[InstanceFiles]) {
        let records = files.iter().filter_map(|files| files.record.as_ref());
        let specs = records.flat_map(|record| record.segments.iter());
        let remembered = specs.map(|spec| (spec.network.uid.clone(), spec.clone()));
        let remembered: BTreeMap<_, _> = remembered.collect();
        let mut names: BTreeSet<_> = self.parts().world.segment_names().into_iter().collect();
        names.extend(remembered.keys().cloned());
        *self.tending.remembered.lock() = remembered;
        for name in names {
            if network.segments.contains_key(&Netns::of_network(&name)) {
                self.segment_changed(&name);
            }
        }
    }

    async fn tend(&self, name: &str) {
        let segment = self.parts().world.segment(name);
        let remembered = || self.tending.remembered.lock().get(name).cloned();
        let Some(spec) = segment.as_ref().map(|s| s.spec.clone()).or_else(remembered) else {
            return;
        };
        let trouble = match self.keep(&spec).await {
            Ok(true) => None,
            Ok(false) => return,
            Err(trouble) => {
                warn!(segment = name, trouble, "not as it should be");
                Some(trouble)
            }
        };
        if let Some(segment) = segment {
            self.tell_segment(&segment, trouble).await;
        }
    }

    /// Whether it is in use; as it should be, then.
    async fn keep(&self, spec: &SegmentSpec) -> Result<bool, String> {
        let desired = SegmentDesired::from_spec(spec).map_err(|error| chain(&error))?;
        let parts = self.parts();
        let kept = parts.holders.keep(&parts.network, &desired).await;
        kept.map_err(|error| chain(&error))
    }

    async fn tell_segment(&self, segment: &Arc<Segment>, trouble: Option<String>) {
        let previous = segment.status.as_ref();
        let next = status(segment, trouble);
        if previous == Some(&next) {
            return;
        }
        match self.parts().writer.segment_status(segment, next).await {
            Ok(written) => drop(self.parts().world.saw_segment(written)),
            // The watch tells of what it is now.
            Err(WriteError::Changed(_)) => {}
            Err(error) => warn!(error = chain(&error), "cannot report a Segment"),
        }
    }
}

fn status(segment: &Segment, trouble: Option<String>) -> SegmentObserved {
    let condition = |message| Condition {
        type_: types::NETWORK_READY.to_owned(),
        status: ConditionStatus::False,
        reason: reason::SEGMENT_FAILED.to_owned(),
        message,
        last_transition_time: Time(Timestamp::now()),
        observed_generation: segment.metadata.generation,
    };
    let kept = segment.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let conditions = trouble.into_iter().map(condition).collect();
    SegmentObserved {
        observed_generation: segment.metadata.generation.unwrap_or_default(),
        conditions: carry_transition_times(kept, conditions),
    }
}
