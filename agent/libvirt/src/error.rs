//! What a call to libvirt can end in.

use std::time::Duration;

/// Why a call to libvirt failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// libvirt knows no such domain.
    #[error("{call}: libvirt has no domain {uuid}")]
    NoDomain {
        /// The call.
        call: &'static str,
        /// UUID that was asked for.
        uuid: String,
    },
    /// The connection is gone, or cannot be made: whether the call had an effect is not known.
    #[error("{call}: no connection to libvirt: {message}")]
    Dead {
        /// The call.
        call: &'static str,
        /// What libvirt's client says.
        message: String,
    },
    /// It did not come back in time; it may still have its effect.
    #[error("{call}: libvirt did not answer within {after:?}")]
    Timeout {
        /// The call.
        call: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// An earlier call on this domain has not come back yet.
    #[error("{call}: an earlier call on domain {uuid} has not come back yet")]
    Busy {
        /// The call.
        call: &'static str,
        /// UUID of the domain.
        uuid: String,
    },
    /// libvirt refused, or could not.
    #[error("{call}: {message} (libvirt's error {code})")]
    Libvirt {
        /// The call.
        call: &'static str,
        /// `virErrorNumber`.
        code: u32,
        /// What libvirt says.
        message: String,
    },
    /// libvirt answered something that cannot be read.
    #[error("{call}: cannot read libvirt's answer: {message}")]
    Unreadable {
        /// The call.
        call: &'static str,
        /// What is missing or wrong in it.
        message: String,
    },
}
