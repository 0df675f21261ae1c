//! The reasons of `Domain.status`: the words that the controllers read.

/// Its guest is being started.
pub const STARTING: &str = "Starting";
/// Its image is being fetched.
pub const IMAGE_DOWNLOADING: &str = "ImageDownloading";
/// Its image cannot be fetched, or is not what it should be.
pub const IMAGE_FAILED: &str = "ImageFailed";
/// Its image's bytes are not those of the checksum.
pub const IMAGE_CHECKSUM_MISMATCH: &str = "ImageChecksumMismatch";
/// A Segment of its ports is not there.
pub const WAITING_FOR_SEGMENT: &str = "WaitingForSegment";
/// A Segment or a port of it cannot be realised.
pub const SEGMENT_FAILED: &str = "SegmentFailed";
/// It runs, as declared.
pub const RUNNING: &str = "Running";
/// It is off, as declared.
pub const STOPPED: &str = "Stopped";
/// Its CPUs are halted, as declared.
pub const PAUSED: &str = "Paused";
/// Its memory is on disk, as declared.
pub const SUSPENDED: &str = "Suspended";
/// Its guest stopped and may not be started again.
pub const GUEST_STOPPED: &str = "GuestStopped";
/// Its guest stops again and again.
pub const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";
/// Its disk could not be written to.
pub const IO_ERROR: &str = "IOError";
/// Its root disk was made once and is gone.
pub const DISK_MISSING: &str = "DiskMissing";
/// Its root disk or config drive cannot be made.
pub const DISK_FAILED: &str = "DiskFailed";
/// Its saved memory cannot be brought back.
pub const RESTORE_FAILED: &str = "RestoreFailed";
/// Its user data is to come from a Secret that is not in the node namespace.
pub const USER_DATA_MISSING: &str = "UserDataMissing";
/// The node has too little memory.
pub const INSUFFICIENT_MEMORY: &str = "InsufficientMemory";
/// The node has too little disk.
pub const INSUFFICIENT_DISK: &str = "InsufficientDisk";
/// The node refused it before.
pub const REFUSED: &str = "Refused";
/// It is shutting down.
pub const STOPPING: &str = "Stopping";
/// It is being removed.
pub const PURGING: &str = "Purging";
/// Nothing of it is left.
pub const PURGED: &str = "Purged";
/// It is undefined and unplugged, its disk kept.
pub const RELEASED: &str = "Released";
/// libvirt refused something.
pub const LIBVIRT_ERROR: &str = "LibvirtError";
