//! Whether guests run here, tried with one.

use crate::calls::Call;
use crate::{Error, Libvirt};
use kilonova_agent_core::observed::LibvirtState;
use kilonova_agent_core::xml::{PROBE_OUTPUT, PROBE_UUID, ProbeXml, probe_disk};
use kilonova_crds::v1alpha1::VirtualizationType;
use std::path::Path;
use std::time::Duration;
use tokio::fs;
use tokio::time::{Instant, sleep};
use virt::domain::Domain;
use virt::sys;

/// What the calls of a probe are named in messages.
const PROBE: &str = "probe";
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

impl Libvirt {
    /// Whether guests run here under `virtualization`: starts a tiny one and waits, for at most
    /// `within`, until it did something. Its files are in `directory` for that time, which QEMU's
    /// user must be able to pass. Takes 0.5 s where they do.
    ///
    /// # Errors
    /// When it cannot be tried. That libvirt or QEMU refuses to start it is an answer: no.
    pub async fn runs_guests(
        &self,
        virtualization: VirtualizationType,
        machine: &str,
        directory: &Path,
        within: Duration,
    ) -> Result<bool, Error> {
        let (disk, output) = (directory.join("probe.raw"), directory.join("probe.out"));
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let xml = ProbeXml {
            virtualization,
            machine: machine.to_owned(),
            disk: text(&disk),
            output: text(&output),
        };
        let xml = xml.to_xml().map_err(unreadable)?;
        self.destroy(PROBE_UUID).await?;
        remove(&output).await?;
        fs::write(&disk, probe_disk()).await.map_err(unreadable)?;
        let answer = match self.start_transient(xml).await {
            Ok(()) => self.watch(&output, within).await,
            Err(Error::Libvirt { message, .. }) => {
                tracing::info!(?virtualization, message, "the probe does not start");
                Ok(false)
            }
            Err(error) => Err(error),
        };
        self.destroy(PROBE_UUID).await?;
        remove(&output).await?;
        remove(&disk).await?;
        answer
    }

    /// Starts a domain that is not defined, and ends with the connection.
    async fn start_transient(&self, xml: String) -> Result<(), Error> {
        let call = Call::Change(PROBE, None);
        let run = self.calls().run(call, move |connect| {
            let flags = sys::VIR_DOMAIN_START_AUTODESTROY;
            let started = Domain::create_xml(connect, &xml, flags);
            let started = started.map(|_| ());
            started.map_err(|error| Error::from_virt(PROBE, &error))
        });
        run.await
    }

    async fn watch(&self, output: &Path, within: Duration) -> Result<bool, Error> {
        let end = Instant::now() + within;
        while Instant::now() < end {
            let seen = fs::read(output).await.unwrap_or_default();
            if seen.contains(&PROBE_OUTPUT) {
                return Ok(true);
            }
            // QEMU halts a guest whose processor KVM cannot go on with.
            let domain = self.get(PROBE_UUID).await?;
            if domain.is_none_or(|domain| domain.state != LibvirtState::Running) {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
        Ok(false)
    }
}

async fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unreadable(error)),
        _ => Ok(()),
    }
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::Unreadable {
        call: PROBE,
        message: error.to_string(),
    }
}
