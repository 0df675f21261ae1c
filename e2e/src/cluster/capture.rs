//! What passes on the physical network, recorded by tcpdump.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Result,
    lab::Lab,
    process::{Launch, Service, run},
    wait::{GENEROUS, wait_while},
};

/// How long tcpdump may take to write what it has.
const PATIENCE: Duration = Duration::from_secs(20);

/// A recording that goes on until it is asked for.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Service,
    file: PathBuf,
}

impl Capture {
    pub(super) async fn start(lab: &Lab, link: &str, name: &str) -> Result<Self> {
        let logs = lab.dir().join("logs");
        let file = logs.join(format!("{name}.pcap"));
        let launch = Launch::new(lab.namespaces(), "tcpdump")
            .args(["--immediate-mode", "-U", "-Z", "root", "-i", link, "-w"])
            .args([&file]);
        let tcpdump = Service::new(
            format!("tcpdump {name}"),
            logs.join(format!("{name}.tcpdump.log")),
            launch,
        );
        tcpdump.start()?;
        let capture = Self { tcpdump, file };
        capture.listening().await?;
        Ok(capture)
    }

    async fn listening(&self) -> Result<()> {
        let alive = || self.tcpdump.check();
        wait_while(alive, "tcpdump to listen", GENEROUS, || async {
            let log = self.tcpdump.log();
            if log.contains("listening on") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await
    }

    /// Where it is recorded.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Ends the recording, and gives a line for each frame that a filter lets through (all of them where it is empty):
    /// addresses, VLAN tags, and what tcpdump makes of the rest.
    ///
    /// # Errors
    /// When tcpdump does not end, or does not understand the filter.
    pub async fn frames(&self, filter: &str) -> Result<Vec<String>> {
        self.tcpdump.stop(PATIENCE)?;
        let mut command = Command::new("tcpdump");
        command.args(["-nn", "-e", "-r"]).arg(&self.file);
        if !filter.is_empty() {
            command.arg(filter);
        }
        let output = run(command, "").await?.checked()?;
        Ok(output.stdout.lines().map(str::to_owned).collect())
    }
}
