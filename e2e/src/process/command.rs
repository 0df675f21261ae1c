//! Commands that end by themselves.

use std::{
    pin::pin,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt as _;

use super::ProcessId;
use crate::{Error, Result, wait::GENEROUS};

/// What a command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Itself when it ended with 0.
    ///
    /// # Errors
    /// [`Error::Command`] otherwise, with what it wrote.
    pub fn checked(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let said = if self.stderr.trim().is_empty() {
            self.stdout
        } else {
            self.stderr
        };
        Err(Error::Command {
            command: self.command,
            status: self.status.to_string(),
            stderr: said.trim_end().to_owned(),
        })
    }
}

/// Runs a command to its end, with [`GENEROUS`] time, and `input` as its standard input. Its failure is not an error
/// here: see [`Output::checked`].
///
/// # Errors
/// When it cannot be started, or takes too long.
pub async fn run(command: Command, input: &str) -> Result<Output> {
    run_for(command, input, GENEROUS).await
}

/// As [`run`], with a limit of one's own.
///
/// # Errors
/// When it cannot be started, or takes longer than `limit`: then it is killed.
pub async fn run_for(command: Command, input: &str, limit: Duration) -> Result<Output> {
    let line = line(&command);
    let start = |source| Error::Start {
        program: line.clone(),
        source,
    };
    let mut command = tokio::process::Command::from(command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(start)?;
    let process = child
        .id()
        .and_then(|pid| ProcessId::of(i32::try_from(pid).ok()?));
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input, or has ended already, is none of our troubles.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let mut end = pin!(child.wait_with_output());
    // By reference: dropping it kills the child, and then nobody knows the child's children.
    let Ok(ended) = tokio::time::timeout(limit, &mut end).await else {
        if let Some(process) = process {
            kill_all(process);
        }
        return Err(Error::CommandTimeout {
            command: line,
            limit,
        });
    };
    let output = ended.map_err(start)?;
    Ok(Output {
        command: line,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The command line without the part that only enters namespaces.
pub(super) fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|w| w.to_string_lossy())
        .collect();
    let own = words
        .iter()
        .position(|w| w == "--")
        .filter(|_| words.first().is_some_and(|w| w == "nsenter"));
    words
        .get(own.map_or(0, |at| at + 1)..)
        .unwrap_or_default()
        .join(" ")
}

/// Kills a process and what it started: `nsenter` alone would leave the program that it wraps.
fn kill_all(process: ProcessId) {
    for child in process.children() {
        kill_all(child);
    }
    // Gone already, or not ours to kill: nothing more can be done about it here.
    let _ = process.signal(Signal::SIGKILL);
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        let output = run(shell("cat; echo no >&2; exit 3"), "yes").await.unwrap();
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("yes", "no\n")
        );
        let error = output.checked().unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.ends_with("no"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_its_children() {
        let marker = format!("86399.{}", std::process::id());
        let error = run_for(
            shell(&format!("sleep {marker} & wait")),
            "",
            Duration::from_millis(300),
        )
        .await
        .unwrap_err();
        assert!(matches!(error, Error::CommandTimeout { .. }), "{error}");
        let left = run(
            shell(&format!(
                "sleep 0.2; grep -la '^sleep.{marker}' /proc/[0-9]*/cmdline"
            )),
            "",
        )
        .await
        .unwrap();
        assert_eq!(left.stdout, "");
    }
}
