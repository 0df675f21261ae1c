//! Container images for a cluster's nodes, out of what is built and installed on this machine: no registry is asked,
//! and none has them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{hash, oci::Image, programs};
use crate::{Error, Result, repo};

/// Whom programs believe when they fetch something.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is in every image's root, so that it looks like this machine's: the directories that Debian has merged.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// What the agent runs, and the package of it in Debian.
pub const AGENT_TOOLS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("dnsmasq", "dnsmasq-base"),
    ("dhcp_release", "dnsmasq-utils"),
    ("setpriv", "util-linux"),
    ("prlimit", "util-linux"),
    ("qemu-img", "qemu-utils"),
    ("genisoimage", "genisoimage"),
];

/// Whoever runs as root there is root; the others are for programs that give up being it.
const ACCOUNTS: [(&str, &str); 2] = [
    (
        "passwd",
        "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    ),
    ("group", "root:x:0:\nnogroup:x:65534:\n"),
];

/// The archive of the image that keeps a pod's namespaces, made when it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn pause() -> Result<PathBuf> {
    let program = Path::new("/bin/busybox");
    let path = repo::cache().join(format!("images/pause-{}.tar", short(&hash::file(program)?)));
    if path.is_file() {
        return Ok(path);
    }
    let root = Root::new()?;
    root.copy(program)?;
    let image = Image {
        name: "kilonova.dev/lab/pause:1",
        entrypoint: &["/bin/busybox", "sleep", "2147483647"],
        user: "65534",
    };
    image.write(root.path(), &path)?;
    Ok(path)
}

/// The archives of the product's images, under the names that the chart has by default; made from the programs that have
/// been built when they are not there for these.
///
/// # Errors
/// When a program has not been built, or an archive cannot be made.
pub fn product() -> Result<Vec<PathBuf>> {
    of(&programs::dir(), env!("CARGO_PKG_VERSION"))
}

/// The same of the programs in a directory, with a tag of their own.
pub(super) fn of(programs: &Path, tag: &str) -> Result<Vec<PathBuf>> {
    let program = |name| programs::program_in(programs, name);
    let tools = AGENT_TOOLS.map(|(tool, _)| tool);
    Ok(vec![
        image(&program("kilonova-controllers")?, tag, &[], "65532")?,
        image(&program("kilonova-agent")?, tag, &tools, "0")?,
    ])
}

fn image(program: &Path, tag: &str, tools: &[&str], user: &str) -> Result<PathBuf> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let made_by = [include_str!("images.rs"), include_str!("oci.rs")];
    let mut files = vec![program.to_path_buf()];
    for tool in tools {
        files.push(which(tool)?);
    }
    let hash = hash::inputs(Path::new("/"), &files, &made_by)?;
    let dir = repo::cache().join("images");
    let kind = format!("{name}-{tag}-");
    let path = dir.join(format!("{kind}{hash}.tar"));
    if path.is_file() {
        return Ok(path);
    }
    let root = Root::new()?;
    let entrypoint = format!("/usr/bin/{name}");
    root.add(program, Path::new(&entrypoint))?;
    root.strip(&entrypoint)?;
    root.file(Path::new(CERTIFICATES), Path::new(CERTIFICATES))?;
    for tool in tools {
        root.copy(&which(tool)?)?;
    }
    let image = Image {
        name: &format!("docker.io/library/{name}:{tag}"),
        entrypoint: &[&entrypoint],
        user,
    };
    remove_earlier(&dir, &kind)?;
    image.write(root.path(), &path)?;
    Ok(path)
}

/// Every build of a program makes another archive, and only the last one is of use.
fn remove_earlier(dir: &Path, kind: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries.filter_map(std::result::Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(kind) {
            let path = entry.path();
            fs::remove_file(&path).map_err(Error::file("remove", path))?;
        }
    }
    Ok(())
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

fn which(name: &str) -> Result<PathBuf> {
    let dirs = ["/usr/sbin", "/usr/bin"];
    let found = dirs.map(|dir| Path::new(dir).join(name));
    let missing = || Error::Missing {
        what: name.to_owned(),
        remedy: "run `make lab`, which installs it".to_owned(),
    };
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(missing)
}

/// The root of an image that is being made.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Result<Self> {
        let failed = || Error::file("create", std::env::temp_dir());
        let root = Self(tempfile::tempdir().map_err(failed())?);
        for dir in [
            "usr/bin",
            "usr/sbin",
            "usr/lib",
            "usr/lib64",
            "etc",
            "run",
            "tmp",
            "var/run",
            "var/lib/misc",
        ] {
            let dir = root.path().join(dir);
            fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        }
        let merged = MERGED.map(|name| (name, format!("usr/{name}")));
        // All of /var/run must not be the node's /run: Kubernetes mounts the pod's token there.
        let socket = ("var/run/libvirt", "/run/libvirt".to_owned());
        let links = merged.into_iter().chain([socket]);
        for (name, target) in links {
            let link = root.path().join(name);
            std::os::unix::fs::symlink(target, &link).map_err(Error::file("create", link))?;
        }
        for (name, text) in ACCOUNTS {
            let path = root.path().join("etc").join(name);
            fs::write(&path, text).map_err(Error::file("write", &path))?;
        }
        Ok(root)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Copies a program to where it is on this machine, with the libraries that it needs.
    fn copy(&self, program: &Path) -> Result<()> {
        self.add(program, program)
    }

    fn add(&self, program: &Path, to: &Path) -> Result<()> {
        self.file(program, to)?;
        for library in libraries(program)? {
            self.file(&library, &library)?;
        }
        Ok(())
    }

    /// Takes away what only a debugger reads: most of a program by size.
    fn strip(&self, path: &str) -> Result<()> {
        let mut command = Command::new("strip");
        super::quiet(command.arg(self.path().join(path.trim_start_matches('/'))))
    }

    fn file(&self, from: &Path, to: &Path) -> Result<()> {
        let to = self.path().join(to.strip_prefix("/").unwrap_or(to));
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        }
        fs::copy(from, &to)
            .map(drop)
            .map_err(Error::file("write", &to))
    }
}

/// The libraries of a program as the loader finds them, and the loader.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut command = Command::new("ldd");
    command.arg(program);
    let output = command.output().map_err(|source| Error::Start {
        program: "ldd".to_owned(),
        source,
    })?;
    // It fails for a program that needs none, which is what it says then.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace();
    Ok(words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}
