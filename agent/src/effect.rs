//! What the agent does to the world beside the steps of instances. Each goes through
//! [`Effect::carry_out`], which is where a build for tests can end the process.

use tracing::trace;

/// One kind of effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "failpoints", derive(clap::ValueEnum))]
#[cfg_attr(feature = "failpoints", value(rename_all = "snake_case"))]
pub enum Effect {
    /// Serve again what an earlier agent served.
    ResumeNetwork,
    /// Make the Hypervisor of this node.
    Register,
    /// Keep a new token in its file.
    KeepToken,
    /// Write the agent's part of the Hypervisor's status.
    ReportHypervisor,
    /// Write a Domain's status.
    ReportDomain,
    /// Write a Segment's status.
    ReportSegment,
    /// Make or renew the Lease.
    RenewLease,
    /// Make a Segment that is in use what it should be.
    KeepSegment,
    /// Remove a Segment that nothing is in and nobody holds.
    SweepSegment,
}

impl Effect {
    /// Does it.
    pub async fn carry_out<T>(self, doing: impl Future<Output = T>) -> T {
        trace!(effect = ?self, "begins");
        #[cfg(feature = "failpoints")]
        kilonova_failpoints::before("agent", &self.name());
        let done = doing.await;
        #[cfg(feature = "failpoints")]
        kilonova_failpoints::after("agent", &self.name());
        done
    }
}

/// Tells which points the program has.
///
/// # Errors
/// When the list cannot be written.
#[cfg(feature = "failpoints")]
pub fn list_points() -> std::io::Result<()> {
    use clap::ValueEnum;
    use kilonova_agent_core::steps::Step;
    let effects: Vec<_> = Effect::value_variants().iter().map(|e| e.name()).collect();
    let steps = Step::NAMES.iter().copied();
    kilonova_failpoints::list("agent", steps.chain(effects.iter().map(String::as_str)))
}

#[cfg(feature = "failpoints")]
impl Effect {
    fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
