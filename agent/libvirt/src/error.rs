//! What a call to libvirt can end in.

use std::time::Duration;
use virt::error::ErrorNumber;

/// Why a call to libvirt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// libvirt knows no such domain.
    #[error("{call}: libvirt has no such domain")]
    NoDomain {
        /// The call.
        call: &'static str,
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
    /// An earlier call that changes this domain has not come back yet.
    #[error("{call}: an earlier call on this domain has not come back yet")]
    Busy {
        /// The call.
        call: &'static str,
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
    /// libvirt answered something that cannot be read, or was to be asked something that cannot
    /// be sent.
    #[error("{call}: {message}")]
    Unreadable {
        /// The call.
        call: &'static str,
        /// What is missing or wrong.
        message: String,
    },
}

impl Error {
    pub(crate) fn from_virt(call: &'static str, error: &virt::error::Error) -> Self {
        match error.code() {
            ErrorNumber::NoDomain => Self::NoDomain { call },
            code => Self::Libvirt {
                call,
                code: code.to_raw(),
                message: error.message().to_owned(),
            },
        }
    }

    pub(crate) fn dead(call: &'static str, error: &virt::error::Error) -> Self {
        Self::Dead {
            call,
            message: error.message().to_owned(),
        }
    }
}
