//! The one lab that runs on for a person, in `.kilonova/lab`.

use std::fs;

use kilonova_e2e::{
    Error, Result, build,
    lab::{Lab, LabOptions, NodeOptions, network},
    process::{Launch, Service},
    repo,
};

use crate::{
    kept::{Kept, lock},
    progress::Progress,
};

/// The file of the guest image on the image server.
pub(crate) const IMAGE_FILE: &str = "guest.qcow2";

/// Whether [`up`] found a lab or made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It ran already.
    Found,
    /// It was made.
    Made,
}

/// The URL of the guest image, as nodes and controllers reach it.
pub(crate) fn image_url() -> String {
    format!(
        "http://{}:{}/{IMAGE_FILE}",
        network::CONTROL_PLANE,
        network::IMAGE_PORT
    )
}

/// Starts the lab unless it runs and answers. What is there of one that does not is ended and removed first.
pub(crate) async fn up(progress: &Progress) -> Result<Came> {
    let kept = Kept::lab();
    let _lock = lock(progress)?;
    if kept.is_up().await? {
        progress.say("the lab is up already");
        kept.tell(progress);
        return Ok(Came::Found);
    }
    kept.remove(progress)?;
    progress.say("starting etcd, kube-apiserver, kube-controller-manager, a node with libvirtd");
    let mut node = NodeOptions::new("node-1");
    "auto".clone_into(&mut node.virt_type);
    let options = LabOptions {
        dir: Some(kept.dir.clone()),
        ..LabOptions::new("up").node(node)
    };
    let lab = Lab::start(options).await?;
    serve_image(&lab)?;
    kept.leave_kubeconfig(&lab).await?;
    for (what, took) in lab.timings() {
        progress.part(what, *took);
    }
    lab.detach()?;
    kept.tell(progress);
    Ok(Came::Made)
}

/// Ends the lab and removes what is left of it.
pub(crate) fn down(progress: &Progress) -> Result<()> {
    let _lock = lock(progress)?;
    Kept::lab().remove(progress)
}

/// Serves the guest image to nodes and controllers.
pub(crate) fn serve_image(lab: &Lab) -> Result<()> {
    let image = build::GuestImage::find()?;
    let dir = lab.dir().join("images");
    fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    std::os::unix::fs::symlink(&image.path, dir.join(IMAGE_FILE))
        .map_err(Error::file("create", dir.join(IMAGE_FILE)))?;
    let missing = || Error::Missing {
        what: "kilonova-lab".to_owned(),
        remedy: "run `make build`".to_owned(),
    };
    let launch = Launch::new(lab.namespaces(), repo::lab_binary().ok_or_else(missing)?)
        .args([
            "serve",
            "--listen",
            &format!("{}:{}", network::CONTROL_PLANE, network::IMAGE_PORT),
            "--dir",
        ])
        .args([dir]);
    let server = Service::new(
        "image server",
        lab.dir().join("logs/image-server.log"),
        launch,
    );
    server.start()?;
    server.detach();
    Ok(())
}
