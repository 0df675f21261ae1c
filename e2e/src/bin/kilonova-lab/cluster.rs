//! `make lab`: the one cluster that runs on for a person, in `.kilonova/cluster`.

use kilonova_e2e::{
    Result, build,
    cluster::{Cluster, ClusterOptions},
};

use crate::{
    kept::{Kept, lock},
    progress::Progress,
    up::serve_image,
};

/// Starts the cluster unless it runs and answers. What is there of one that does not is ended and removed first.
pub(crate) async fn up(progress: &Progress, nodes: usize) -> Result<()> {
    let kept = Kept::cluster();
    let _lock = lock(progress)?;
    if kept.is_up().await? {
        progress.say("the cluster is up already");
        kept.tell(progress);
        return Ok(());
    }
    kept.remove(progress)?;
    progress.say(&format!("starting a control plane and {nodes} nodes"));
    let options = ClusterOptions {
        dir: Some(kept.dir.clone()),
        ..ClusterOptions::new("cluster", nodes).images(build::images::product()?)
    };
    let cluster = Cluster::start(options).await?;
    serve_image(&cluster)?;
    kept.leave_kubeconfig(&cluster).await?;
    for (what, took) in cluster.timings() {
        progress.part(&what, took);
    }
    cluster.detach()?;
    progress.show("where the time went", &progress.table());
    kept.tell(progress);
    Ok(())
}

/// Ends the cluster and removes what is left of it.
pub(crate) fn down(progress: &Progress) -> Result<()> {
    let _lock = lock(progress)?;
    Kept::cluster().remove(progress)
}
