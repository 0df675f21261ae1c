//! The images of both programs, built by buildah as people build them, from programs that are there already: on bases
//! of the distribution's packages, as no registry is asked.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong"
)]

use std::{path::Path, process::Command};

use kilonova_e2e::{
    build::{images::AGENT_TOOLS, programs},
    repo,
};
use serde_json::Value;

/// Of what is built here, so that nobody's own images are replaced.
const TAG: &str = "of-a-test";

/// Runs a command as the scripts run buildah, and gives what it printed.
fn said(command: &mut Command) -> String {
    command.env("BUILDAH_ISOLATION", "chroot");
    command.env("STORAGE_DRIVER", "vfs");
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn buildah<'a>(args: impl IntoIterator<Item = &'a str>) -> String {
    said(Command::new("buildah").args(args))
}

/// A container of an image, and the image, gone at the end.
struct Built {
    image: String,
    container: String,
}

impl Built {
    fn of(part: &str) -> Self {
        let image = format!("localhost/kilonova-{part}:{TAG}");
        let container = buildah(["from", "--pull-never", &image]);
        Self { image, container }
    }

    fn config(&self) -> Value {
        let inspected = buildah(["inspect", "--type", "image", &self.image]);
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        inspected["OCIv1"]["config"].clone()
    }

    fn run<'a>(&'a self, command: impl IntoIterator<Item = &'a str>) -> String {
        let run = ["run", self.container.as_str(), "--"];
        buildah(run.into_iter().chain(command))
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        for (what, name) in [("rm", &self.container), ("rmi", &self.image)] {
            // What cannot be removed fails the next run, by its name.
            drop(Command::new("buildah").args([what, name]).output());
        }
    }
}

#[test]
fn both_images_are_built_and_hold_whatever_their_programs_call() {
    let controllers = programs::program("kilonova-controllers").unwrap();
    let out = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    said(
        Command::new(repo::root().join("build/images.sh"))
            .env("PREBUILT", "1")
            .env("BIN_DIR", controllers.parent().unwrap())
            .env("OUT", out.path())
            .env("TAG", TAG),
    );

    let version = env!("CARGO_PKG_VERSION");
    let built = Built::of("controllers");
    let config = built.config();
    assert_eq!(config["User"], "65532:65532");
    let program = "/usr/local/bin/kilonova-controllers";
    assert_eq!(config["Entrypoint"], serde_json::json!([program]));
    let own = built.run([program, "--version"]);
    assert_eq!(own, format!("kilonova-controllers {version}"));
    let user = built.run(["id", "-u"]);
    assert_eq!(user, "65532");

    let built = Built::of("agent");
    let program = "/usr/local/bin/kilonova-agent";
    assert_eq!(built.config()["Entrypoint"], serde_json::json!([program]));
    let own = built.run([program, "--version"]);
    assert_eq!(own, format!("kilonova-agent {version}"));
    for (tool, _) in AGENT_TOOLS {
        let path = built.run(["sh", "-c", &format!("command -v {tool}")]);
        // Each library of it is there.
        let libraries = built.run(["ldd", &path]);
        assert!(!libraries.contains("not found"), "{tool}: {libraries}");
    }
    // As a link it would lead a pod's token to the node's /run.
    built.run(["test", "!", "-L", "/var/run"]);

    for part in ["controllers", "agent"] {
        named(&out.path().join(format!("{part}.tar")), part);
    }
}

/// An archive says the name under which the chart looks for its image.
fn named(archive: &Path, part: &str) {
    let index = said(
        Command::new("tar")
            .arg("-xOf")
            .arg(archive)
            .arg("index.json"),
    );
    let name = format!("docker.io/library/kilonova-{part}:{TAG}");
    assert!(index.contains(&name), "{index}");
}
