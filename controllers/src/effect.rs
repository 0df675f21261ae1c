//! What the controllers do to the world: every kind of write. Each goes through
//! [`Effect::carry_out`], which is where a build for tests can end the process.

use tracing::trace;

/// One kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "failpoints", derive(clap::ValueEnum))]
#[cfg_attr(feature = "failpoints", value(rename_all = "snake_case"))]
pub enum Effect {
    /// Take the leader's Lease.
    TakeLease,
    /// Renew it.
    RenewLease,
    /// Tell an event.
    TellEvent,
    /// Bind an Instance.
    Bind,
    /// Take a binding back.
    TakeBack,
    /// Say how an Instance is.
    ReportInstance,
    /// Put our finalizer on an Instance.
    HoldInstance,
    /// Take it off.
    FreeInstance,
    /// Make a Domain.
    CreateDomain,
    /// Rewrite a Domain.
    UpdateDomain,
    /// Delete a Domain.
    DeleteDomain,
    /// Make a Segment.
    CreateSegment,
    /// Rewrite a Segment.
    UpdateSegment,
    /// Delete a Segment.
    DeleteSegment,
    /// Say how a Network is.
    ReportNetwork,
    /// Put our finalizer on a Network.
    HoldNetwork,
    /// Take it off.
    FreeNetwork,
    /// Say how an image of either kind is.
    ReportImage,
    /// Say what a `KeyPair` is.
    ReportKeyPair,
    /// Put user data into a node namespace.
    PutUserData,
    /// Take it out.
    DeleteUserData,
    /// Make a node namespace, or what its agent needs in it.
    MakeNodeNamespace,
    /// Write the controllers' conditions of a Hypervisor.
    ReportHypervisor,
}

impl Effect {
    /// Does it.
    pub async fn carry_out<T>(self, doing: impl Future<Output = T>) -> T {
        trace!(effect = ?self, "begins");
        #[cfg(feature = "failpoints")]
        kilonova_failpoints::before("controllers", &self.name());
        let done = doing.await;
        #[cfg(feature = "failpoints")]
        kilonova_failpoints::after("controllers", &self.name());
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
    let effects: Vec<_> = Effect::value_variants().iter().map(|e| e.name()).collect();
    kilonova_failpoints::list("controllers", effects.iter().map(String::as_str))
}

#[cfg(feature = "failpoints")]
impl Effect {
    fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
