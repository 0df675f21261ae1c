//! Who holds which Segment: it is there while an instance here has, or is about to have, a port in
//! it.

use crate::effect::Effect;
use kilonova_agent_core::network::{Netns, SegmentDesired, SegmentObserved};
use kilonova_agent_network::{Error, Network};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

type Holders = Arc<tokio::sync::Mutex<BTreeSet<String>>>;

/// The holders of each Segment, by UUID. What an earlier agent held shows in the Segment's ports.
#[derive(Debug, Default)]
pub struct SegmentHolders {
    segments: Mutex<HashMap<Netns, Holders>>,
}

impl SegmentHolders {
    /// Has the Segment, held by that instance.
    pub async fn hold(
        &self,
        network: &Network,
        segment: &SegmentDesired,
        uuid: &str,
    ) -> Result<(), Error> {
        let holders = self.of(&segment.netns);
        let mut holders = holders.lock().await;
        holders.insert(uuid.to_owned());
        network.ensure_segment(segment).await
    }

    /// Makes the Segment again what it should be, where anything here is in it. Gives whether it is.
    pub async fn keep(&self, network: &Network, segment: &SegmentDesired) -> Result<bool, Error> {
        let holders = self.of(&segment.netns);
        let holders = holders.lock().await;
        let used = !holders.is_empty() || has_port(network, &segment.netns).await?;
        if used {
            let ensure = network.ensure_segment(segment);
            Effect::KeepSegment.carry_out(ensure).await?;
        }
        Ok(used)
    }

    /// Lets go of the Segment; with its last holder, and no port in it, it goes.
    pub async fn leave(&self, network: &Network, netns: &Netns, uuid: &str) -> Result<(), Error> {
        let holders = self.of(netns);
        let mut holders = holders.lock().await;
        holders.remove(uuid);
        remove_unused(network, netns, &holders).await
    }

    /// Lets go of every Segment that the instance still holds: a start that was given up had them,
    /// and no tap in them.
    pub async fn leave_all(&self, network: &Network, uuid: &str) -> Result<(), Error> {
        let all: Vec<_> = self
            .segments
            .lock()
            .iter()
            .map(|(netns, holders)| (netns.clone(), Arc::clone(holders)))
            .collect();
        for (netns, holders) in all {
            let mut holders = holders.lock().await;
            if holders.remove(uuid) {
                let remove = remove_unused(network, &netns, &holders);
                Effect::SweepSegment.carry_out(remove).await?;
            }
        }
        Ok(())
    }

    /// Removes the Segment where nobody holds it and no port is in it.
    pub async fn sweep(&self, network: &Network, netns: &Netns) -> Result<(), Error> {
        let holders = self.of(netns);
        let holders = holders.lock().await;
        let remove = remove_unused(network, netns, &holders);
        Effect::SweepSegment.carry_out(remove).await
    }

    fn of(&self, netns: &Netns) -> Holders {
        Arc::clone(self.segments.lock().entry(netns.clone()).or_default())
    }
}

async fn remove_unused(
    network: &Network,
    netns: &Netns,
    holders: &BTreeSet<String>,
) -> Result<(), Error> {
    if !holders.is_empty() || has_port(network, netns).await? {
        return Ok(());
    }
    network.remove_segment(netns).await
}

async fn has_port(network: &Network, netns: &Netns) -> Result<bool, Error> {
    let observed = network
        .observe_some(&BTreeSet::from([netns.clone()]))
        .await?;
    let ported = |segment: &SegmentObserved| segment.ports.values().any(|p| p.link.is_some());
    Ok(observed.segments.get(netns).is_some_and(ported))
}
