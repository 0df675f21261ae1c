//! Programs that the agent runs and waits for, in a netns.

use crate::netns::{self, NetnsError};
use kilonova_agent_core::network::Netns;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long a program may take. Each of them ends in milliseconds, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of what a failed program said is shown.
const SHOWN: usize = 2000;

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It cannot be started: it is not installed, say.
    #[error("starting {program}")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It could not be written to, or waited for.
    #[error("talking to {program}")]
    Talk {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("{program}: {status}: {stderr}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said, the beginning of it.
        stderr: String,
    },
    /// It did not end in time.
    #[error("{program} did not end within {} s", PATIENCE.as_secs())]
    Late {
        /// Its name.
        program: &'static str,
    },
    /// The netns could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Runs a program in a netns, with this input, and gives what it wrote.
pub async fn run(
    netns: Option<&Netns>,
    program: &'static str,
    args: &[&str],
    input: &str,
) -> Result<String, CommandError> {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // A child is in the netns of the thread that started it.
    let child = netns::within(netns, move || command.spawn()).await?;
    let mut child = child.map_err(|source| CommandError::Start { program, source })?;
    let stdin = child.stdin.take();
    let talk = async {
        if let Some(mut stdin) = stdin {
            // Who ends early has not read all of it, and says why by its status.
            match stdin.write_all(input.as_bytes()).await {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, talk)
        .await
        .map_err(|_| CommandError::Late { program })?
        .map_err(|source| CommandError::Talk { program, source })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(CommandError::Failed {
            program,
            status: output.status,
            stderr: stderr.trim().chars().take(SHOWN).collect(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
