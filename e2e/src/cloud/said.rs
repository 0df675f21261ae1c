//! What an operator says for a while.

use std::process::Command;

use super::Cloud;
use crate::Result;

/// What was said, until this is dropped: with the test that fails, too.
#[derive(Debug)]
#[must_use = "dropped, it is unsaid"]
pub struct Said {
    unsay: Command,
}

impl Drop for Said {
    fn drop(&mut self) {
        match self.unsay.output() {
            Ok(output) if output.status.success() => {}
            other => eprintln!("{:?}: {other:?}", self.unsay),
        }
    }
}

impl Cloud {
    /// Runs kubectl with `say`, and with `unsay` when what this gives is dropped.
    ///
    /// # Errors
    /// When the first fails.
    pub async fn say<'a>(
        &self,
        say: impl IntoIterator<Item = &'a str>,
        unsay: impl IntoIterator<Item = &'a str>,
    ) -> Result<Said> {
        let unsay = self.lab().kubectl_command(unsay);
        self.lab().kubectl(say).await?.checked()?;
        Ok(Said { unsay })
    }

    /// Cordons a node until what this gives is dropped.
    ///
    /// # Errors
    /// When kubectl fails.
    pub async fn cordon(&self, node: &str) -> Result<Said> {
        self.say(["cordon", node], ["uncordon", node]).await
    }
}
