//! Running a tool: explicit arguments, no shell, no environment, an end to its time and memory.

use crate::Error;
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Where tools are looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of a tool's complaint that are kept, the last ones.
const STDERR_MAX: usize = 2048;

/// A tool and what it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// The program.
    pub(crate) program: &'static str,
    /// Address space, in bytes.
    pub(crate) address_space: u64,
    /// CPU time, in seconds.
    pub(crate) cpu_seconds: u64,
    /// How long it is waited for, in seconds; then it is killed.
    pub(crate) seconds: u64,
}

impl Tool {
    /// Runs it to its end. Killed when the future is dropped.
    pub(crate) async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<(), Error> {
        let tool = self.program;
        // prlimit(1) sets the limits and becomes the tool.
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--as={}", self.address_space))
            .arg(format!("--cpu={}", self.cpu_seconds))
            .args(["--core=0", "--", tool])
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(self.seconds), command.output());
        let seconds = self.seconds;
        let output = output
            .await
            .map_err(|_| Error::ToolTimeout { tool, seconds })?
            .map_err(Error::io("run", tool.as_ref()))?;
        if output.status.success() {
            return Ok(());
        }
        let from = output.stderr.len().saturating_sub(STDERR_MAX);
        let stderr = String::from_utf8_lossy(&output.stderr[from..]);
        let stderr = stderr.trim().to_owned();
        let status = output.status;
        Err(Error::Tool {
            tool,
            status,
            stderr,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SHELL: Tool = Tool {
        program: "sh",
        address_space: 1 << 30,
        cpu_seconds: 1,
        seconds: 1,
    };

    #[tokio::test]
    async fn a_tool_has_bounds_and_no_environment() {
        let limits = r#"[ "$(ulimit -v)" = 1048576 ] && [ "$(ulimit -t)" = 1 ] && [ -z "$HOME" ]"#;
        SHELL.run(&["-c", limits]).await.unwrap();
        let failed = SHELL.run(&["-c", "echo one two >&2; exit 3"]).await;
        let failed = failed.unwrap_err().to_string();
        assert_eq!(failed, "sh failed (exit status: 3): one two");
        let hung = SHELL.run(&["-c", "sleep 30"]).await.unwrap_err();
        assert!(matches!(hung, Error::ToolTimeout { seconds: 1, .. }));
        let spinning = Tool {
            seconds: 30,
            ..SHELL
        };
        let killed = spinning.run(&["-c", "while :; do :; done"]).await;
        assert!(matches!(killed, Err(Error::Tool { .. })));
    }
}
