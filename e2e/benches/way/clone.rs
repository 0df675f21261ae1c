//! A root disk: what the agent does for one, and `qemu-img create -b` alone, over images of two sizes in turns.

use std::{
    fmt::Write as _,
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use kilonova_agent_storage::{CachedImage, Storage};
use kilonova_common::http_source::{AddressPolicy, HttpSource, Timeouts};
use kilonova_crds::v1alpha1::ImageFormat;
use kilonova_e2e::{process::run, repo};

use crate::{Result, samples::Samples};

/// Clones of each kind.
const ROUNDS: u32 = 15;
const MIB: u64 = 1 << 20;
/// The images, in bytes: sparse files.
const SIZES: [u64; 2] = [64 * MIB, 8192 * MIB];
/// Size of the root disks.
const DISK: u64 = 16384 * MIB;

const HEAD: &str = "| size of the image | `qemu-img create -b` | least to most | the agent's | least to most | more | times | rounds |
|---|---|---|---|---|---|---|---|
";

/// The table.
pub(crate) async fn measure() -> Result<String> {
    // On the file system where the labs' nodes have theirs.
    std::fs::create_dir_all(repo::work())?;
    let dir = tempfile::tempdir_in(repo::work())?;
    let http = HttpSource::new(Timeouts::default(), AddressPolicy::default())?;
    let storage = Storage::open(dir.path(), http)?;
    let mut clones = Vec::new();
    for size in SIZES {
        let image = image(dir.path(), size)?;
        clones.push((image, Vec::new(), Vec::new()));
    }
    for round in 0..ROUNDS {
        for (image, alone, agent) in &mut clones {
            let to = format!("{}-{round}", image.virtual_size);
            alone.push(qemu_img(image, &dir.path().join(to)).await?);
            agent.push(clone(&storage, image, round).await?);
        }
    }
    let mut table = String::from(HEAD);
    for (image, alone, agent) in clones {
        let (alone, agent) = (Samples::new(alone), Samples::new(agent));
        let (alone, agent) = alone.zip(agent).ok_or("no rounds")?;
        let against = agent.against(&alone);
        let (size, alone, agent) = (image.virtual_size / MIB, alone.cells(), agent.cells());
        writeln!(
            table,
            "| {size} MiB | {alone} | {agent} | {against} | {ROUNDS} |"
        )?;
    }
    Ok(table)
}

fn image(dir: &Path, size: u64) -> Result<CachedImage> {
    let path = dir.join("images").join(format!("raw-{size}"));
    File::create(&path)?.set_len(size)?;
    Ok(CachedImage {
        path,
        format: ImageFormat::Raw,
        virtual_size: size,
    })
}

/// The tool alone.
async fn qemu_img(image: &CachedImage, to: &Path) -> Result<Duration> {
    let mut command = std::process::Command::new("qemu-img");
    command
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .args([&image.path, to])
        .arg(DISK.to_string());
    let began = Instant::now();
    run(command, "").await?.checked()?;
    Ok(began.elapsed())
}

/// What the agent does: with bounds on the tool, on the disk before it has its name.
async fn clone(storage: &Storage, image: &CachedImage, round: u32) -> Result<Duration> {
    let uuid = format!(
        "{:08x}-0000-4000-8000-{round:012x}",
        image.virtual_size / MIB
    );
    let began = Instant::now();
    let instances = storage.instances();
    instances.create_root_disk(&uuid, image, DISK).await?;
    Ok(began.elapsed())
}
