//! Carrying steps out.

use super::Runner;
use super::trouble::StepError;
use kilonova_agent_core::desired::Attachment;
use kilonova_agent_core::guest::Drive;
use kilonova_agent_core::network::{LinkName, Netns, PortDesired};
use kilonova_agent_core::power::active;
use kilonova_agent_core::steps::Step;
use kilonova_agent_libvirt::{Error, Event};
use kilonova_agent_storage::{CachedImage, ImageError, ImageRequest};
use kilonova_crds::Domain;
use kilonova_crds::node::{Disposition, DomainImage};
use kilonova_crds::v1alpha1::Power;
use kube::ResourceExt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tracing::{debug, info};

/// How often the power button is pressed while a guest does not shut down: one that was still
/// booting did not hear it, as Nova does (it presses every 10 s).
const PRESS_AGAIN: Duration = Duration::from_secs(5);

/// How long a guest that was told to shut down, and is to stay on after all, is waited for.
const SECOND_THOUGHTS: Duration = Duration::from_secs(30);
/// How often it is looked whether an image is on its way, for another instance.
const LOOK_FOR_DOWNLOAD: Duration = Duration::from_millis(100);

/// How long an earlier call on a domain is waited for, and how often it is looked whether it came
/// back.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What the steps are for.
pub struct Job<'a> {
    /// UUID of the libvirt domain.
    pub uuid: &'a str,
    /// The Domain that is carried out; none for an orphan.
    pub domain: Option<&'a Domain>,
    /// Its ports as they should be.
    pub attachments: &'a [Attachment],
}

impl Runner {
    /// Carries one step out, however long it takes.
    pub(super) async fn step(&self, job: &Job<'_>, step: &Step) -> Result<(), StepError> {
        if self.changed(job) {
            return Err(StepError::Changed);
        }
        debug!(uuid = job.uuid, ?step, "step");
        #[cfg(feature = "failpoints")]
        kilonova_failpoints::before("agent", step.name());
        let began = Instant::now();
        let done = self.carry_out(job, step).await;
        let failed = done.is_err();
        #[cfg(feature = "failpoints")]
        kilonova_failpoints::after("agent", step.name());
        self.parts().metrics.step(step, began.elapsed(), failed);
        if !failed {
            info!(
                uuid = job.uuid,
                step = step.name(),
                ms = began.elapsed().as_millis(),
                "done"
            );
        }
        done
    }

    async fn carry_out(&self, job: &Job<'_>, step: &Step) -> Result<(), StepError> {
        let parts = self.parts();
        let (libvirt, uuid) = (&parts.libvirt, job.uuid);
        let instances = parts.storage.instances();
        match step {
            Step::Confirm => self.confirm(job).await?,
            Step::FetchImage(image) => self.fetch(job, image).await?,
            Step::WriteRecord(record) => instances.write_record(record).await?,
            Step::CreateDisk { image, size_bytes } => {
                self.create_disk(uuid, image, *size_bytes).await?;
            }
            Step::WriteConfigDrive(drive) => self.config_drive(uuid, drive).await?,
            Step::Define { xml } => libvirt.define(xml).await?,
            Step::SetMetadata { element } => libvirt.set_metadata(uuid, element).await?,
            Step::EnsureSegment(segment) => {
                parts.holders.hold(&parts.network, segment, uuid).await?;
                self.segment_changed(&segment.network.uid);
            }
            Step::MakeTap(port) => parts.network.make_tap(port).await?,
            Step::Start { .. } => {
                // Closed never: the semaphore lives as long as the runner.
                let _turn = parts.starts.acquire().await;
                libvirt.start_paused(uuid).await?;
            }
            Step::Plug(port) => self.plug(job, port).await?,
            Step::Resume => libvirt.resume(uuid).await?,
            Step::Pause => libvirt.pause(uuid).await?,
            Step::Save => libvirt.managed_save(uuid).await?,
            Step::Shutdown { grace_seconds } => self.shutdown(job, *grace_seconds).await?,
            Step::Destroy => self.destroy(uuid).await?,
            Step::Discard => libvirt.managed_save_remove(uuid).await?,
            Step::Unplug { tap, segment } => self.unplug(tap, segment.as_ref()).await?,
            Step::LeaveSegment(netns) => {
                parts.holders.leave(&parts.network, netns, uuid).await?;
            }
            Step::Undefine => libvirt.undefine(uuid).await?,
            Step::RemoveFiles => instances.remove(uuid).await?,
        }
        Ok(())
    }

    /// Whether something else is asked for than what the steps are for.
    fn changed(&self, job: &Job<'_>) -> bool {
        let now = self.parts().world.domain(job.uuid);
        match (job.domain, now) {
            (None, None) => false,
            (Some(was), Some(now)) => {
                was.uid() != now.uid() || was.metadata.generation != now.metadata.generation
            }
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    /// Waits until something else is asked for.
    async fn until_changed(&self, job: &Job<'_>) {
        let mut changes = self.parts().world.changes();
        while !self.changed(job) {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn confirm(&self, job: &Job<'_>) -> Result<(), StepError> {
        let Some(domain) = job.domain else {
            return Ok(());
        };
        match self.parts().api.domain(&domain.name_any()).await? {
            Some(now) => {
                self.parts().world.saw_domain(now);
            }
            None => {
                self.parts().world.lost_domain(domain);
            }
        }
        if self.changed(job) {
            return Err(StepError::Changed);
        }
        Ok(())
    }

    async fn fetch(&self, job: &Job<'_>, image: &DomainImage) -> Result<(), StepError> {
        let request = ImageRequest::try_from(image).map_err(Arc::new)?;
        tokio::select! {
            fetched = self.download(&request) => fetched.map(drop).map_err(StepError::from),
            () = self.until_changed(job) => Err(StepError::Changed),
        }
    }

    /// The image, in its turn; one that is on its way for another instance needs no turn.
    async fn download(&self, request: &ImageRequest) -> Result<CachedImage, Arc<ImageError>> {
        let images = self.parts().storage.images();
        let turn = self.parts().downloads.acquire();
        let on_its_way = async {
            while images.progress(request).is_none() {
                sleep(LOOK_FOR_DOWNLOAD).await;
            }
        };
        tokio::select! {
            biased;
            () = on_its_way => images.ensure(request).await,
            _turn = turn => images.ensure(request).await,
        }
    }

    /// How much of an image is here, in tens of percent: a finer figure would be written more often.
    pub(super) fn fetched_percent(&self, step: &Step) -> Option<u64> {
        let Step::FetchImage(image) = step else {
            return None;
        };
        let request = ImageRequest::try_from(image).ok()?;
        let progress = *self.parts().storage.images().progress(&request)?.borrow();
        Some(
            (progress.done.saturating_mul(10))
                .checked_div(progress.total)?
                .min(10)
                * 10,
        )
    }

    async fn create_disk(
        &self,
        uuid: &str,
        image: &DomainImage,
        size_bytes: u64,
    ) -> Result<(), StepError> {
        let storage = &self.parts().storage;
        let request = ImageRequest::try_from(image).map_err(Arc::new)?;
        let found = storage.images().find(&request).await.map_err(Arc::new)?;
        let base = found.ok_or(StepError::ImageGone)?;
        let instances = storage.instances();
        Ok(instances.create_root_disk(uuid, &base, size_bytes).await?)
    }

    async fn config_drive(&self, uuid: &str, drive: &Drive) -> Result<(), StepError> {
        let files = match &drive.user_data_secret {
            Some(secret) => drive.with_secret(&self.user_data(uuid, secret).await?),
            None => drive.files.clone(),
        };
        let (instances, digest) = (self.parts().storage.instances(), drive.digest());
        let written = instances.write_config_drive(uuid, files, &digest).await;
        Ok(written.map(drop)?)
    }

    /// User data that came from a Secret: what this node kept of it, or the Secret's.
    async fn user_data(&self, uuid: &str, secret: &str) -> Result<Vec<u8>, StepError> {
        let instances = self.parts().storage.instances();
        if let Some(kept) = instances.user_data(uuid).await? {
            return Ok(kept);
        }
        let found = self.parts().api.user_data(secret).await;
        let found = found.map_err(StepError::Secret)?;
        let found = found.ok_or(StepError::UserDataMissing)?;
        instances.keep_user_data(uuid, found.clone()).await?;
        Ok(found)
    }

    async fn plug(&self, job: &Job<'_>, port: &PortDesired) -> Result<(), StepError> {
        let of = job.attachments.iter().find(|a| a.port.tap == port.tap);
        let of = of.ok_or_else(|| StepError::NoSegment(port.tap.to_string()))?;
        Ok(self.parts().network.plug(&of.segment, port).await?)
    }

    async fn unplug(&self, tap: &LinkName, segment: Option<&Netns>) -> Result<(), StepError> {
        let network = &self.parts().network;
        match segment {
            Some(segment) => network.unplug(segment, tap).await?,
            None => network.remove_tap(tap).await?,
        }
        Ok(())
    }

    /// Presses the power button until the guest is off, for as long as it may take. That it did not
    /// obey is no error: its power is cut next, unless something else is asked for by then.
    async fn shutdown(&self, job: &Job<'_>, grace_seconds: u32) -> Result<(), StepError> {
        let began = Instant::now();
        let mut changes = self.parts().world.changes();
        let mut off = pin!(self.press_until_off(job.uuid));
        loop {
            let deadline = began + self.patience(job, grace_seconds);
            tokio::select! {
                ended = &mut off => return ended,
                () = sleep_until(deadline) => {
                    info!(uuid = job.uuid, "the guest did not shut down in time");
                    return Ok(());
                }
                // Who asks for something else may ask for more haste.
                _ = changes.changed() => {}
            }
        }
    }

    /// How long a guest may take to shut down. A button that was pressed cannot be taken back: one
    /// that is to stay on after all is waited for too, but not for long.
    fn patience(&self, job: &Job<'_>, grace_seconds: u32) -> Duration {
        let asked = Duration::from_secs(grace_seconds.into());
        let Some(now) = self.parts().world.domain(job.uuid) else {
            return asked;
        };
        let grace = Duration::from_secs(now.spec.termination_grace_period_seconds.into());
        let ends = now.spec.power == Power::Off || now.spec.disposition != Disposition::Run;
        let grace = if ends { grace } else { SECOND_THOUGHTS };
        asked.min(grace)
    }

    /// Cuts the power. A press of the button that was given up may still be under way in libvirt.
    async fn destroy(&self, uuid: &str) -> Result<(), StepError> {
        let libvirt = &self.parts().libvirt;
        let patience = Instant::now() + BUSY_PATIENCE;
        loop {
            match libvirt.destroy(uuid).await {
                Err(Error::Busy { .. }) if Instant::now() < patience => sleep(BUSY_PAUSE).await,
                done => return Ok(done?),
            }
        }
    }

    async fn press_until_off(&self, uuid: &str) -> Result<(), StepError> {
        let libvirt = &self.parts().libvirt;
        let mut events = libvirt.events();
        let mut press = interval(PRESS_AGAIN);
        loop {
            tokio::select! {
                _ = press.tick() => {
                    // What cannot hear it is cut off in the end.
                    if let Err(error) = libvirt.shutdown(uuid).await {
                        debug!(uuid, %error, "the power button cannot be pressed");
                    }
                }
                event = events.next() => match event {
                    Some(Event::Domain { uuid: of, .. }) if of != uuid => continue,
                    Some(_) => {}
                    None => std::future::pending().await,
                },
            }
            let domain = libvirt.get(uuid).await?;
            if domain.is_none_or(|domain| !active(domain.state)) {
                return Ok(());
            }
        }
    }
}
