//! Kilonova on a cluster, installed from the charts as an operator does it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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

/// `helm upgrade --install` of a chart in a directory of charts.
async fn upgrade(charts: &Path, kubeconfig: &Path, release: &str, args: &[&str]) -> Result<Output> {
    let chart = charts.join(release).display().to_string();
    let own = ["upgrade", "--install", release, &chart, "--timeout", "4m"];
    helm(kubeconfig, own.iter().chain(args)).await?.checked()
}

async fn install_crds(charts: &Path, kubeconfig: &Path) -> Result<()> {
    let args = ["--wait", "--create-namespace"];
    upgrade(charts, kubeconfig, CRDS_RELEASE, &args)
        .await
        .map(drop)
}

/// The charts of this checkout.
fn charts() -> PathBuf {
    repo::root().join("charts")
}

/// Installs both charts, with more arguments for the second (`--set…`), and waits until all that was installed is
/// ready. Harmless when they are installed.
///
/// # Errors
/// When Helm fails.
pub async fn install(kubeconfig: &Path, args: &[&str]) -> Result<()> {
    install_from(&charts(), kubeconfig, args).await
}

async fn install_from(charts: &Path, kubeconfig: &Path, args: &[&str]) -> Result<()> {
    install_crds(charts, kubeconfig).await?;
    let args: Vec<_> = args.iter().copied().chain(["--wait"]).collect();
    upgrade(charts, kubeconfig, RELEASE, &args).await.map(drop)
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

    /// Installs it from charts in another directory.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn install_from(&self, charts: &Path, args: &[&str]) -> Result<()> {
        install_from(charts, &self.kubeconfig(), args).await
    }

    /// Installs Kilonova and waits for nothing, for who expects that it does not become ready; gives what Helm tells
    /// people.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn install_at_once(&self, args: &[&str]) -> Result<String> {
        install_crds(&charts(), &self.kubeconfig()).await?;
        let output = upgrade(&charts(), &self.kubeconfig(), RELEASE, args).await?;
        Ok(output.stdout)
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
