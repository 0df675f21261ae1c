//! qcow2, versions 2 and 3, as QEMU's `docs/interop/qcow2.rst` lays it out: numbers big-endian,
//! a fixed header, then extensions.

use super::{MAX_BYTES, Refusal};

const MAGIC: &[u8] = b"QFI\xfb";
/// Length of version 2's header, in bytes, and where version 3's own fields begin.
const V2_HEADER: usize = 72;
/// Least length of version 3's header, in bytes.
const V3_HEADER: u32 = 104;
/// QEMU's bounds of `cluster_bits`: clusters of 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// QEMU's bounds of what it reads into memory when it opens an image (`block/qcow2.h`): bytes of the
/// L1 table and of the refcount table, and the number of internal snapshots.
const L1_MAX: u64 = 32 << 20;
const REFCOUNT_TABLE_MAX: u64 = 8 << 20;
const SNAPSHOTS_MAX: u64 = 65_536;
/// The least that a snapshot takes in its table, in bytes.
const SNAPSHOT_ENTRY: u64 = 40;
/// Refcounts have at most 2 to the power of this bits.
const REFCOUNT_ORDER_MAX: u32 = 6;

/// Bits of `incompatible_features`.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// Types of header extensions.
const EXTENSION_END: u32 = 0;
const EXTENSION_EXTERNAL_DATA: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
/// More extensions than QEMU knows kinds of.
const EXTENSIONS_MAX: usize = 32;

/// The size of the disk that a guest sees, in bytes.
pub(super) fn virtual_size(head: &[u8], file_size: u64) -> Result<u64, Refusal> {
    if !head.starts_with(MAGIC) {
        return Err(Refusal::NotQcow2);
    }
    let version = u32_at(head, 4)?;
    if !(2..=3).contains(&version) {
        return Err(Refusal::Version(version));
    }
    check_other_files(head)?;
    let features = if version == 3 {
        check_features(head)?
    } else {
        0
    };
    let extended_l2 = features & EXTENDED_L2 != 0;
    let size = u64_at(head, 24)?;
    check_size(size)?;
    check_tables(head, file_size, size, extended_l2)?;
    check_extensions(head, version)?;
    Ok(size)
}

fn check_other_files(head: &[u8]) -> Result<(), Refusal> {
    if u64_at(head, 8)? != 0 || u32_at(head, 16)? != 0 {
        return Err(Refusal::BackingFile);
    }
    if u32_at(head, 32)? != 0 {
        return Err(Refusal::Encrypted);
    }
    Ok(())
}

/// Refuses what cannot be read, and gives the incompatible features that can.
fn check_features(head: &[u8]) -> Result<u64, Refusal> {
    let features = u64_at(head, V2_HEADER)?;
    if features & EXTERNAL_DATA != 0 {
        return Err(Refusal::ExternalDataFile);
    }
    if features & CORRUPT != 0 {
        return Err(Refusal::Unclean("corrupt"));
    }
    if features & DIRTY != 0 {
        return Err(Refusal::Unclean("dirty"));
    }
    let unknown = features & !(COMPRESSION_TYPE | EXTENDED_L2);
    if unknown != 0 {
        return Err(Refusal::UnknownFeatures(unknown));
    }
    if u32_at(head, 96)? > REFCOUNT_ORDER_MAX {
        return Err(Refusal::Malformed("refcounts of more than 64 bits"));
    }
    // Zlib is said by the bit's absence, zstd by the bit and a field behind the least header.
    let field = u32_at(head, 100)? > V3_HEADER;
    let kind = if field {
        array_at::<1>(head, 104)?[0]
    } else {
        0
    };
    match (features & COMPRESSION_TYPE != 0, kind) {
        (false, 0) | (true, 1) => Ok(features),
        _ => Err(Refusal::Malformed("a compression that is none of qcow2's")),
    }
}

fn check_size(size: u64) -> Result<(), Refusal> {
    match size {
        0 => Err(Refusal::Malformed("a disk of no size")),
        1..=MAX_BYTES => Ok(()),
        _ => Err(Refusal::TooLarge(size)),
    }
}

/// The table that finds everything (L1) must be large enough for the disk. It and the others must
/// lie in the file, and be small enough to be read into memory.
fn check_tables(head: &[u8], file: u64, size: u64, extended_l2: bool) -> Result<(), Refusal> {
    let cluster_bits = u32_at(head, 20)?;
    if !CLUSTER_BITS.contains(&cluster_bits) {
        return Err(Refusal::Malformed("a cluster size out of range"));
    }
    let cluster = 1u64 << cluster_bits;
    let l2_entries = cluster / if extended_l2 { 16 } else { 8 };
    let entries = u64::from(u32_at(head, 36)?);
    if entries < size.div_ceil(cluster * l2_entries) {
        return Err(Refusal::Malformed("an L1 table too small for the disk"));
    }
    let refcount_clusters = u64::from(u32_at(head, 56)?);
    if refcount_clusters == 0 {
        return Err(Refusal::Malformed("no table of refcounts"));
    }
    let snapshots = u64::from(u32_at(head, 60)?);
    let (l1, refcounts) = (entries * 8, refcount_clusters * cluster);
    if l1 > L1_MAX || refcounts > REFCOUNT_TABLE_MAX || snapshots > SNAPSHOTS_MAX {
        return Err(Refusal::Malformed("a table too large to be read"));
    }
    let within = |offset: u64, length: u64| {
        offset >= cluster && offset.checked_add(length).is_some_and(|end| end <= file)
    };
    let tables = [
        (u64_at(head, 40)?, l1),
        (u64_at(head, 48)?, refcounts),
        (u64_at(head, 64)?, snapshots * SNAPSHOT_ENTRY),
    ];
    for (offset, length) in tables.into_iter().filter(|(_, length)| *length > 0) {
        if !offset.is_multiple_of(cluster) {
            return Err(Refusal::Malformed("a table that is not aligned"));
        }
        if !within(offset, length) {
            return Err(Refusal::Malformed("a table beyond the file's end"));
        }
    }
    Ok(())
}

fn check_extensions(head: &[u8], version: u32) -> Result<(), Refusal> {
    let mut at = match version {
        2 => V2_HEADER,
        _ => match u32_at(head, 100)? {
            length if length < V3_HEADER || !length.is_multiple_of(8) => {
                return Err(Refusal::Malformed("a header length out of range"));
            }
            length => usize_of(length)?,
        },
    };
    for _ in 0..EXTENSIONS_MAX {
        let (kind, length) = (u32_at(head, at)?, u32_at(head, at + 4)?);
        match kind {
            EXTENSION_END => return Ok(()),
            EXTENSION_EXTERNAL_DATA => return Err(Refusal::ExternalDataFile),
            EXTENSION_ENCRYPTION => return Err(Refusal::Encrypted),
            _ => {}
        }
        at = usize_of(length)?
            .checked_next_multiple_of(8)
            .and_then(|padded| padded.checked_add(at + 8))
            .filter(|next| *next <= head.len())
            .ok_or(Refusal::Truncated)?;
    }
    Err(Refusal::Malformed("extensions without an end"))
}

fn usize_of(number: u32) -> Result<usize, Refusal> {
    usize::try_from(number).map_err(|_| Refusal::Truncated)
}

fn u32_at(head: &[u8], at: usize) -> Result<u32, Refusal> {
    Ok(u32::from_be_bytes(array_at(head, at)?))
}

fn u64_at(head: &[u8], at: usize) -> Result<u64, Refusal> {
    Ok(u64::from_be_bytes(array_at(head, at)?))
}

fn array_at<const N: usize>(head: &[u8], at: usize) -> Result<[u8; N], Refusal> {
    head.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Refusal::Truncated)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::{Refusal, parse};
    use kilonova_crds::v1alpha1::ImageFormat;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;
    const FILE: u64 = 196_616;

    fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
        head[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// What `qemu-img create -f qcow2 x 1G` writes, laid out by hand.
    fn image(version: u32) -> Vec<u8> {
        let mut head = vec![0; 512];
        put(&mut head, 0, b"QFI\xfb");
        put(&mut head, 4, &version.to_be_bytes());
        put(&mut head, 20, &16u32.to_be_bytes());
        put(&mut head, 24, &GIB.to_be_bytes());
        put(&mut head, 36, &2u32.to_be_bytes());
        put(&mut head, 40, &0x3_0000u64.to_be_bytes());
        put(&mut head, 48, &0x1_0000u64.to_be_bytes());
        put(&mut head, 56, &1u32.to_be_bytes());
        if version == 3 {
            put(&mut head, 96, &4u32.to_be_bytes());
            put(&mut head, 100, &112u32.to_be_bytes());
        }
        head
    }

    fn read(head: &[u8]) -> Result<u64, Refusal> {
        parse(ImageFormat::Qcow2, head, FILE + 8).map(|h| h.virtual_size)
    }

    /// A version 3 image with these bytes changed.
    fn with(at: usize, bytes: &[u8]) -> Result<u64, Refusal> {
        let mut head = image(3);
        put(&mut head, at, bytes);
        read(&head)
    }

    #[test]
    fn both_versions_are_read() {
        assert_eq!(read(&image(2)), Ok(GIB));
        assert_eq!(read(&image(3)), Ok(GIB));
        assert_eq!(with(4, &1u32.to_be_bytes()), Err(Refusal::Version(1)));
        assert_eq!(with(4, &4u32.to_be_bytes()), Err(Refusal::Version(4)));
        assert_eq!(with(0, b"KDMV"), Err(Refusal::NotQcow2));
    }

    #[test]
    fn what_names_another_file_is_refused() {
        assert_eq!(
            with(8, &[0, 0, 0, 0, 0, 0, 0, 1]),
            Err(Refusal::BackingFile)
        );
        assert_eq!(with(16, &[0, 0, 0, 9]), Err(Refusal::BackingFile));
        assert_eq!(with(79, &[4]), Err(Refusal::ExternalDataFile));
        assert_eq!(with(112, b"DATA\0\0\0\0"), Err(Refusal::ExternalDataFile));
        assert_eq!(with(32, &2u32.to_be_bytes()), Err(Refusal::Encrypted));
        let encryption = 0x0537_be77u32.to_be_bytes();
        assert_eq!(with(112, &encryption), Err(Refusal::Encrypted));
        let mut version_2 = image(2);
        put(&mut version_2, 72, b"DATA\0\0\0\0");
        assert_eq!(read(&version_2), Err(Refusal::ExternalDataFile));
    }

    #[test]
    fn an_extension_hides_no_other() {
        let mut head = image(3);
        put(&mut head, 112, &0x6803_f857u32.to_be_bytes());
        put(&mut head, 116, &9u32.to_be_bytes());
        assert_eq!(read(&head), Ok(GIB));
        put(&mut head, 136, b"DATA");
        assert_eq!(read(&head), Err(Refusal::ExternalDataFile));
        put(&mut head, 116, &4000u32.to_be_bytes());
        assert_eq!(read(&head), Err(Refusal::Truncated));
    }

    #[test]
    fn features_and_sizes_are_checked() {
        assert_eq!(with(79, &[1]), Err(Refusal::Unclean("dirty")));
        assert_eq!(with(79, &[2]), Err(Refusal::Unclean("corrupt")));
        assert_eq!(with(79, &[32]), Err(Refusal::UnknownFeatures(32)));
        let huge = (17u64 << 40).to_be_bytes();
        assert_eq!(with(24, &huge), Err(Refusal::TooLarge(17 << 40)));
        for (at, bytes) in [
            (24, &[0; 8][..]),
            (20, &30u32.to_be_bytes()),
            (36, &1u32.to_be_bytes()),
            (36, &u32::MAX.to_be_bytes()),
            (40, &0x3_0001u64.to_be_bytes()),
            (40, &u64::MAX.to_be_bytes()),
            (48, &[0; 8]),
            // Longer than QEMU reads, refcounts of 128 bits, snapshots in the header.
            (56, &0u32.to_be_bytes()),
            (56, &3u32.to_be_bytes()),
            (56, &129u32.to_be_bytes()),
            (60, &1u32.to_be_bytes()),
            (60, &65_537u32.to_be_bytes()),
            (96, &7u32.to_be_bytes()),
            (100, &8u32.to_be_bytes()),
        ] {
            let answer = with(at, bytes);
            assert!(
                matches!(answer, Err(Refusal::Malformed(_))),
                "{at}: {answer:?}"
            );
        }
    }

    #[test]
    fn zstd_is_said_twice() {
        let zstd = |bit: u8, kind: u8| {
            let mut head = image(3);
            put(&mut head, 79, &[bit]);
            put(&mut head, 104, &[kind]);
            read(&head)
        };
        assert_eq!((zstd(0, 0), zstd(8, 1)), (Ok(GIB), Ok(GIB)));
        for (bit, kind) in [(8, 0), (0, 1), (8, 2)] {
            let refused = zstd(bit, kind);
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{refused:?}");
        }
    }

    #[test]
    fn tables_are_no_larger_than_is_read() {
        let mut head = image(3);
        let entries = u32::try_from(super::L1_MAX / 8).unwrap();
        let huge = |head: &[u8]| parse(ImageFormat::Qcow2, head, 1 << 40).map(|h| h.virtual_size);
        put(&mut head, 36, &entries.to_be_bytes());
        assert_eq!(huge(&head), Ok(GIB));
        put(&mut head, 36, &(entries + 1).to_be_bytes());
        assert!(matches!(huge(&head), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn a_header_that_is_cut_short_is_refused() {
        let head = image(3);
        for length in 4..120 {
            assert_eq!(read(&head[..length]), Err(Refusal::Truncated), "{length}");
        }
    }

    proptest! {
        #[test]
        fn one_changed_byte_is_answered(at in 0usize..128, byte in any::<u8>()) {
            let _ = with(at, &[byte]);
        }
    }
}
