//! Kilonova on a cluster, installed from the charts as an operator does it.

use std::{path::Path, time::Duration};

use super::Cluster;
use crate::{
    Result,
    build::Helm,
    lab::SYSTEM_NAMESPACE,
    process::{Output, run_for},
    repo,
};

/// How long an installation may take to be ready.
const LIMIT: Duration = Duration::from_mins(5);

/// The release of the chart `kilonova`.
pub const RELEASE: &str = "kilonova";

/// The release of the CRDs.
const CRDS_RELEASE: &str = "kilonova-crds";

/// Runs Helm with a kubeconfig, in the system's namespace. Its failure is not an error: see [`Output::checked`].
///
/// # Errors
/// When it cannot be started or takes too long.
pub async fn helm<S: AsRef<str>>(
    kubeconfig: &Path,
    args: impl IntoIterator<Item = S>,
) -> Result<Output> {
    let mut command = Helm::find()?.command();
    command.arg("--kubeconfig").arg(kubeconfig);
    command.args(["--namespace", SYSTEM_NAMESPACE]);
    command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    run_for(command, "", LIMIT).await
}

/// `helm upgrade --install` of a chart of ours.
async fn upgrade(kubeconfig: &Path, release: &str, args: &[&str]) -> Result<Output> {
    let chart = repo::root().join("charts").join(release);
    let chart = chart.display().to_string();
    let own = ["upgrade", "--install", release, &chart, "--timeout", "4m"];
    helm(kubeconfig, own.iter().chain(args)).await?.checked()
}

async fn install_crds(kubeconfig: &Path) -> Result<()> {
    let args = ["--wait", "--create-namespace"];
    upgrade(kubeconfig, CRDS_RELEASE, &args).await.map(drop)
}

/// Installs both charts, with more arguments for the second (`--set…`), and waits until all that was installed is
/// ready. Harmless when they are installed.
///
/// # Errors
/// When Helm fails.
pub async fn install(kubeconfig: &Path, args: &[&str]) -> Result<()> {
    install_crds(kubeconfig).await?;
    let args: Vec<_> = args.iter().copied().chain(["--wait"]).collect();
    upgrade(kubeconfig, RELEASE, &args).await.map(drop)
}

impl Cluster {
    /// Runs Helm as the cluster's admin: see [`helm`].
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn helm<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        helm(&self.kubeconfig(), args).await
    }

    /// Installs Kilonova: see [`install`].
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn install(&self, args: &[&str]) -> Result<()> {
        install(&self.kubeconfig(), args).await
    }

    /// Uninstalls the system, not the CRDs.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn uninstall(&self) -> Result<Output> {
        self.helm(["uninstall", "--wait", "--timeout", "2m", RELEASE])
            .await?
            .checked()
    }
}
