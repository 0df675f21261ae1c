//! Kilonova on a cluster, installed from the charts as an operator does it.

use std::time::Duration;

use kilonova_crds::names;

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

/// The release of the chart `kilonova`, and the one of its CRDs.
pub const RELEASE: &str = "kilonova";
const CRDS_RELEASE: &str = "kilonova-crds";

impl Cluster {
    /// Runs Helm as the cluster's admin, in the system's namespace. Its failure is not an error: see
    /// [`Output::checked`].
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn helm<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        let mut command = Helm::find()?.command();
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command.args(["--namespace", SYSTEM_NAMESPACE]);
        command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        run_for(command, "", LIMIT).await
    }

    /// Installs both charts, with more arguments for the second (`--set…`), and waits until all that was installed is
    /// ready.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn install(&self, args: &[&str]) -> Result<()> {
        let charts = repo::root().join("charts");
        let chart = |name: &str| charts.join(name).display().to_string();
        let crds = chart("kilonova-crds");
        let install = [
            "upgrade",
            "--install",
            "--create-namespace",
            CRDS_RELEASE,
            &crds,
        ];
        self.helm(install).await?.checked()?;
        self.kubectl([
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &format!("crd/instances.{}", names::GROUP),
        ])
        .await?
        .checked()?;
        let system = chart("kilonova");
        let install = ["install", "--wait", "--timeout", "4m", RELEASE, &system];
        let install = install.iter().chain(args);
        self.helm(install).await?.checked().map(drop)
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
