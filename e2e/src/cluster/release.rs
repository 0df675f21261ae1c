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

/// Installs both charts, with more arguments for the second (`--set…`), and waits until all that was installed is
/// ready. Harmless when they are installed.
///
/// # Errors
/// When Helm fails.
pub async fn install(kubeconfig: &Path, args: &[&str]) -> Result<()> {
    install_from(&repo::root().join("charts"), kubeconfig, args).await
}

async fn install_from(charts: &Path, kubeconfig: &Path, args: &[&str]) -> Result<()> {
    let chart = |name: &str| charts.join(name).display().to_string();
    let own = ["upgrade", "--install", "--wait", "--timeout", "4m"];
    let crds = [CRDS_RELEASE, &chart("kilonova-crds"), "--create-namespace"];
    helm(kubeconfig, own.iter().chain(&crds)).await?.checked()?;
    let system = [RELEASE, &chart("kilonova")];
    let all = own.iter().chain(&system).chain(args);
    helm(kubeconfig, all).await?.checked().map(drop)
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
