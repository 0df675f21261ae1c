//! What a step's failure is told as.

use kilonova_agent_core::reason;
use kilonova_agent_core::report::Trouble;
use kilonova_agent_core::steps::Step;
use kilonova_agent_storage::ImageError;
use kilonova_common::telemetry::chain;
use std::sync::Arc;

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// What is asked for changed: a new plan is needed.
    #[error("what is asked for changed")]
    Changed,
    /// The API server could not be asked.
    #[error("cannot read the Domain")]
    Api(#[from] kube::Error),
    /// The API server could not be asked for user data.
    #[error("cannot read the Secret with its user data")]
    Secret(#[source] kube::Error),
    /// There is no user data to make a config drive with.
    #[error("its user data is to come from a Secret, which is not in the node's namespace")]
    UserDataMissing,
    /// libvirt refused.
    #[error(transparent)]
    Libvirt(#[from] kilonova_agent_libvirt::Error),
    /// A file could not be made or removed.
    #[error(transparent)]
    Storage(#[from] kilonova_agent_storage::Error),
    /// The image cannot be had.
    #[error(transparent)]
    Image(#[from] Arc<ImageError>),
    /// The network could not be changed.
    #[error(transparent)]
    Network(#[from] kilonova_agent_network::Error),
    /// The image is gone from the cache between two steps.
    #[error("the image is gone from the cache")]
    ImageGone,
    /// A port's Segment is not known.
    #[error("the Segment of tap {0} is not known")]
    NoSegment(String),
}

impl StepError {
    /// Whether nobody is to be told: it goes by itself, and what was told before is still so.
    pub fn passing(&self) -> bool {
        use kilonova_agent_libvirt::Error;
        matches!(
            self,
            Self::Changed
                | Self::Api(_)
                | Self::Secret(_)
                | Self::Libvirt(Error::Dead { .. } | Error::Busy { .. })
        )
    }

    /// What people are told, where the step failed.
    pub fn trouble(&self, step: &Step) -> Trouble {
        Trouble {
            reason: self.reason(step),
            message: chain(self),
        }
    }

    fn reason(&self, step: &Step) -> &'static str {
        use kilonova_agent_storage::Error;
        match self {
            Self::Image(error) => match **error {
                ImageError::ChecksumMismatch { .. } => reason::IMAGE_CHECKSUM_MISMATCH,
                ImageError::NoSpace { .. } => reason::INSUFFICIENT_DISK,
                _ => reason::IMAGE_FAILED,
            },
            Self::ImageGone => reason::IMAGE_FAILED,
            Self::Storage(Error::NoSpace { .. }) => reason::INSUFFICIENT_DISK,
            Self::Storage(_) => reason::DISK_FAILED,
            Self::Network(_) | Self::NoSegment(_) => reason::SEGMENT_FAILED,
            Self::Libvirt(_) if matches!(step, Step::Start { restore: true }) => {
                reason::RESTORE_FAILED
            }
            Self::UserDataMissing | Self::Secret(_) => reason::USER_DATA_MISSING,
            Self::Libvirt(_) | Self::Api(_) | Self::Changed => reason::LIBVIRT_ERROR,
        }
    }
}

/// What people are told while a step takes its time. `fetched` is how much of an image is here, in
/// percent.
pub fn underway(step: &Step, fetched: Option<u64>) -> Trouble {
    let (reason, message) = match step {
        Step::FetchImage(_) => {
            let percent = fetched.map(|percent| format!(": {percent} %"));
            return Trouble {
                reason: reason::IMAGE_DOWNLOADING,
                message: format!("its image is being fetched{}", percent.unwrap_or_default()),
            };
        }
        Step::Shutdown { .. } | Step::Destroy | Step::Save => {
            (reason::STOPPING, "its guest is shutting down")
        }
        Step::Undefine | Step::RemoveFiles | Step::LeaveSegment(_) | Step::Unplug { .. } => {
            (reason::STOPPING, "it is being taken down")
        }
        _ => (reason::STARTING, "it is being started"),
    };
    Trouble {
        reason,
        message: message.to_owned(),
    }
}
