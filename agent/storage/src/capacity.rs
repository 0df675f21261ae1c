//! Room on the state directory's file system.

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Its size.
    pub total: u64,
    /// What anyone but root may still take.
    pub free: u64,
}
