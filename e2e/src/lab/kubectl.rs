//! kubectl, as the lab's admin.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Result,
    process::{Output, run},
};

/// kubectl with the lab's admin credentials.
#[derive(Clone, Debug)]
pub(super) struct Kubectl {
    program: PathBuf,
    args: Vec<String>,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(super) fn new((program, args): (PathBuf, Vec<String>), kubeconfig: &Path) -> Self {
        Self {
            program,
            args,
            kubeconfig: kubeconfig.to_path_buf(),
        }
    }

    /// The command, to be run by any means.
    pub(super) fn command<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig);
        command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        command
    }

    pub(super) async fn run<S: AsRef<str>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<Output> {
        run(self.command(args), input).await
    }
}
