//! What an agent does to a node, one step at a time, as plain data.
//!
//! Every step can be carried out twice: an agent that was killed in the middle observes anew, and
//! its next plan begins with what is left.

use crate::guest::Drive;
use crate::network::{LinkName, Netns, PortDesired, SegmentDesired};
use crate::record::Record;
use kilonova_crds::node::DomainImage;

/// One step for one instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read the Domain anew from the API server; go on only where it still says the same.
    Confirm,
    /// Have its image in the cache.
    FetchImage(DomainImage),
    /// Write what the node knows of it beside its disk.
    WriteRecord(Box<Record>),
    /// Make its root disk over the cached image.
    CreateDisk {
        /// The image, which is in the cache.
        image: DomainImage,
        /// Size that the guest sees, in bytes.
        size_bytes: u64,
    },
    /// Write its config drive.
    WriteConfigDrive(Drive),
    /// Define it in libvirt.
    Define {
        /// The document.
        xml: String,
    },
    /// Replace our element in its libvirt `<metadata>`.
    SetMetadata {
        /// The element.
        element: String,
    },
    /// Have a Segment of its ports, and hold it.
    EnsureSegment(SegmentDesired),
    /// Make a tap beside libvirt.
    MakeTap(PortDesired),
    /// Start it with its CPUs halted.
    Start {
        /// True: from its saved memory.
        restore: bool,
    },
    /// Move a tap into its Segment, behind its rules.
    Plug(PortDesired),
    /// Let its CPUs run.
    Resume,
    /// Halt its CPUs.
    Pause,
    /// Save its memory to disk and end it.
    Save,
    /// Ask the guest to shut down, and wait until it is off.
    Shutdown {
        /// How long, in seconds.
        grace_seconds: u32,
    },
    /// Cut its power, where it is still on.
    Destroy,
    /// Throw its saved memory away.
    Discard,
    /// Remove a tap with its rules, its DHCP pair and its lease.
    Unplug {
        /// The tap.
        tap: LinkName,
        /// The Segment that it is in; absent where it lies beside libvirt.
        segment: Option<Netns>,
    },
    /// Hold a Segment no longer; it goes with its last holder.
    LeaveSegment(Netns),
    /// Undefine it in libvirt, with its saved memory.
    Undefine,
    /// Remove its directory: root disk, config drive, record.
    RemoveFiles,
}

impl Step {
    /// Whether it takes something away.
    #[must_use]
    pub fn tears_down(&self) -> bool {
        matches!(
            self,
            Self::Save
                | Self::Shutdown { .. }
                | Self::Destroy
                | Self::Discard
                | Self::Unplug { .. }
                | Self::LeaveSegment(_)
                | Self::Undefine
                | Self::RemoveFiles
        )
    }

    /// Whether it makes something.
    #[must_use]
    pub fn builds_up(&self) -> bool {
        matches!(
            self,
            Self::FetchImage(_)
                | Self::CreateDisk { .. }
                | Self::WriteConfigDrive(_)
                | Self::Define { .. }
                | Self::EnsureSegment(_)
                | Self::MakeTap(_)
                | Self::Start { .. }
                | Self::Plug(_)
        )
    }
}

/// Gives each step its name. Which steps there are is told nowhere else: one without a name does
/// not compile.
macro_rules! names {
    ($($step:ident => $name:literal,)*) => {
        impl Step {
            /// The names of all steps.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Its name, for logs and metrics: one of a closed set.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$step { .. } => $name,)*
                }
            }
        }
    };
}

names! {
    Confirm => "confirm",
    FetchImage => "fetch_image",
    WriteRecord => "write_record",
    CreateDisk => "create_disk",
    WriteConfigDrive => "write_config_drive",
    Define => "define",
    SetMetadata => "set_metadata",
    EnsureSegment => "ensure_segment",
    MakeTap => "make_tap",
    Start => "start",
    Plug => "plug",
    Resume => "resume",
    Pause => "pause",
    Save => "save",
    Shutdown => "shutdown",
    Destroy => "destroy",
    Discard => "discard",
    Unplug => "unplug",
    LeaveSegment => "leave_segment",
    Undefine => "undefine",
    RemoveFiles => "remove_files",
}
