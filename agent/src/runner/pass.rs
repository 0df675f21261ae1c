//! One look at one instance: observe, plan, carry out, report.

use super::execute::Job;
use super::observe::{ObserveError, Sight, Snapshot};
use super::trouble::{StepError, underway};
use super::{Memory, Next, Runner};
use crate::api::WriteError;
use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kilonova_agent_core::desired::{Desired, Observed, Paths};
use kilonova_agent_core::plan::{self, Hold, Plan};
use kilonova_agent_core::reason;
use kilonova_agent_core::report::{self, Progress, Trouble};
use kilonova_agent_core::steps::Step;
use kilonova_common::telemetry::chain;
use kilonova_crds::Domain;
use kilonova_crds::v1alpha1::Power;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{interval_at, sleep, timeout};
use tracing::{debug, warn};

/// From when on people are told that steps take their time, and how often then.
const TELL_AFTER: Duration = Duration::from_secs(3);
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// How long a guest that stopped by itself is kept waiting, for people to be told that it did.
const TELL_FIRST: Duration = Duration::from_secs(1);
/// How long a Segment may come after its Domain before people are told: both are on their way.
const SEGMENT_GRACE: Duration = Duration::from_secs(3);
/// A conflict is looked at again after this time at the latest; the watch mostly is faster.
const CONFLICT: Duration = Duration::from_secs(1);
/// Passes in a row that did something, of which the last is one too many: they undo each other.
const BUSY_LIMIT: u32 = 20;

impl Runner {
    /// Looks at one instance, once.
    pub(super) async fn pass(
        &self,
        uuid: &str,
        memory: &mut Memory,
        snapshot: Option<&Snapshot>,
    ) -> Next {
        let snapshot = snapshot.filter(|all| all.began > memory.acted);
        let next = match self.parts().world.domain(uuid) {
            Some(domain) => self.declared(uuid, &domain, memory, snapshot).await,
            None => self.held(uuid, memory, snapshot).await,
        };
        match next {
            Ok(next) => {
                if next != Next::Now {
                    memory.busy = 0;
                }
                next
            }
            Err(error) => {
                debug!(uuid, error = chain(&error), "cannot be observed");
                self.later(memory)
            }
        }
    }

    /// An instance that a Domain names.
    async fn declared(
        &self,
        uuid: &str,
        domain: &Domain,
        memory: &mut Memory,
        snapshot: Option<&Snapshot>,
    ) -> Result<Next, ObserveError> {
        let parts = self.parts();
        let (cluster, paths) = (&parts.settings.cluster_id, self.paths(uuid)?);
        let segments = parts.world.segments_of(domain);
        let desired = Desired::new(cluster, domain, &segments, paths);
        if desired.spec.power == Power::Off {
            memory.restarts.reset();
        }
        let wait = memory.restarts.wait(self.now());
        let of = Some((&desired.spec, &desired.segments[..]));
        let sight = self.observe(uuid, of, wait, snapshot).await?;
        let plan = plan::plan(&parts.settings, &desired, &sight.observed);
        if plan.steps.is_empty() {
            return Ok(self
                .nothing_to_do(domain, &desired, &sight, plan, memory)
                .await);
        }
        memory.busy += 1;
        if memory.busy > BUSY_LIMIT {
            warn!(uuid, steps = ?plan.steps, "the same again and again");
            return Ok(self.later(memory));
        }
        if plan.again {
            memory.restarts.tried(self.now());
            let told = Progress::Underway(report::starting_again(&sight.observed));
            // An API server that does not answer keeps no guest down.
            let report = self.report(&desired, &sight.observed, &told);
            let _ = timeout(TELL_FIRST, report).await;
        }
        let job = Job {
            uuid,
            domain: Some(domain),
            attachments: &sight.attachments,
        };
        let quiet = memory.told_failure;
        let worked = self
            .work(&job, &plan, &desired, &sight.observed, quiet)
            .await;
        memory.acted = Instant::now();
        match worked {
            Ok(()) => {
                memory.told_failure = false;
                Ok(Next::Now)
            }
            Err((_, StepError::Changed)) => Ok(Next::Now),
            Err((step, error)) => Ok(self.failed(&desired, &step, &error, memory).await),
        }
    }

    /// Carries a plan out; people are told when it takes its time. `quiet`: they were told of a
    /// failure, and that is so until a plan succeeds.
    async fn work(
        &self,
        job: &Job<'_>,
        plan: &Plan,
        desired: &Desired,
        observed: &Observed,
        quiet: bool,
    ) -> Result<(), (Step, StepError)> {
        let current = Mutex::new(None);
        let steps = async {
            for step in &plan.steps {
                *current.lock() = Some(step);
                let done = self.step(job, step).await;
                done.map_err(|error| (step.clone(), error))?;
            }
            Ok(())
        };
        let telling = async {
            let mut tell = interval_at(tokio::time::Instant::now() + TELL_AFTER, TELL_AGAIN);
            loop {
                tell.tick().await;
                let step = *current.lock();
                if let Some(step) = step.filter(|_| !quiet) {
                    let trouble = underway(step, self.fetched_percent(step));
                    let progress = Progress::Underway(trouble);
                    self.report(desired, observed, &progress).await;
                }
            }
        };
        // Side by side: an API server that does not answer holds no step up.
        tokio::select! {
            done = steps => done,
            never = telling => never,
        }
    }

    /// It is as it should be, or waits.
    async fn nothing_to_do(
        &self,
        domain: &Domain,
        desired: &Desired,
        sight: &Sight,
        plan: Plan,
        memory: &mut Memory,
    ) -> Next {
        memory.failures.reset();
        memory.told_failure = false;
        if !sight.observed.active()
            && let Err(error) = self.leave_segments(&desired.spec.uuid).await
        {
            warn!(
                uuid = desired.spec.uuid,
                error = chain(&error),
                "cannot leave a Segment"
            );
            return self.later(memory);
        }
        let (progress, wake) = match plan.hold {
            None => (Progress::Settled, None),
            Some(hold) => {
                if let Some(rest) = segment_is_coming(&hold, memory) {
                    return Next::After(rest);
                }
                let wake = hold.wake;
                (Progress::Held(hold), wake)
            }
        };
        if progress == Progress::Settled {
            memory.waits_since = None;
        }
        debug!(uuid = desired.spec.uuid, generation = ?domain.metadata.generation, ?progress, "looked at");
        let reported = self.report(desired, &sight.observed, &progress).await;
        match (reported, wake) {
            (false, _) => Next::After(CONFLICT),
            (true, Some(wake)) => Next::After(wake),
            (true, None) => Next::Woken,
        }
    }

    async fn failed(
        &self,
        desired: &Desired,
        step: &Step,
        error: &StepError,
        memory: &mut Memory,
    ) -> Next {
        let uuid = &desired.spec.uuid;
        warn!(
            uuid,
            step = step.name(),
            error = chain(error),
            "step failed"
        );
        if !error.passing() {
            memory.told_failure = true;
            self.tell_failure(desired, error.trouble(step)).await;
        }
        self.later(memory)
    }

    /// Tells of a failure, with what is there after it.
    async fn tell_failure(&self, desired: &Desired, trouble: Trouble) {
        let of = Some((&desired.spec, &desired.segments[..]));
        match self.observe(&desired.spec.uuid, of, None, None).await {
            Ok(sight) => {
                let progress = Progress::Failed(trouble);
                self.report(desired, &sight.observed, &progress).await;
            }
            Err(error) => debug!(error = chain(&error), "cannot be observed"),
        }
    }

    fn later(&self, memory: &mut Memory) -> Next {
        memory.failures.tried(self.now());
        Next::After(memory.failures.wait(self.now()).unwrap_or(CONFLICT))
    }

    /// Writes the Domain's status where it differs. False where that has to be tried again.
    async fn report(&self, desired: &Desired, observed: &Observed, progress: &Progress) -> bool {
        let world = &self.parts().world;
        let Some(domain) = world.domain(&desired.spec.uuid) else {
            return true;
        };
        if domain.metadata.generation != Some(desired.generation) {
            return false;
        }
        let previous = domain.status.as_ref();
        let now = Time(Timestamp::now());
        let status = report::domain_status(previous, desired, observed, progress, &now);
        if !report::differs(previous, &status) {
            return true;
        }
        match self.parts().writer.domain_status(&domain, status).await {
            Ok(written) => {
                world.saw_domain(written);
                true
            }
            Err(WriteError::Changed(_)) => false,
            Err(error) => {
                warn!(
                    uuid = desired.spec.uuid,
                    error = chain(&error),
                    "cannot report"
                );
                sleep(CONFLICT).await;
                false
            }
        }
    }

    /// An instance that no Domain names: held where it is this cluster's, and nothing of ours
    /// where it is not.
    async fn held(
        &self,
        uuid: &str,
        memory: &mut Memory,
        snapshot: Option<&Snapshot>,
    ) -> Result<Next, ObserveError> {
        let sight = self.observe(uuid, None, None, snapshot).await?;
        let observed = &sight.observed;
        let own = &self.parts().settings.cluster_id;
        let Some(record) = observed.record().filter(|r| r.owner.cluster_id == *own) else {
            let ours = observed.metadata.is_some();
            return Ok(if ours { Next::Woken } else { Next::Gone });
        };
        let plan = plan::held(record, observed);
        let job = Job {
            uuid,
            domain: None,
            attachments: &sight.attachments,
        };
        for step in &plan.steps {
            memory.acted = Instant::now();
            if let Err(error) = self.step(&job, step).await {
                warn!(
                    uuid,
                    step = step.name(),
                    error = chain(&error),
                    "step failed"
                );
                return Ok(Next::After(TELL_AGAIN));
            }
        }
        Ok(Next::Woken)
    }

    /// Lets go of the Segments that a start which was given up still holds.
    async fn leave_segments(&self, uuid: &str) -> Result<(), kilonova_agent_network::Error> {
        let parts = self.parts();
        parts.holders.leave_all(&parts.network, uuid).await
    }

    /// Takes the network from every Domain that is forfeited. What cannot be done now is done by
    /// its own task.
    pub(super) async fn cut_off_forfeited(&self) {
        let world = &self.parts().world;
        let domains = world
            .uuids()
            .into_iter()
            .filter_map(|uuid| world.domain(&uuid));
        let forfeited = domains.filter(|domain| domain.spec.forfeited);
        let cut_off = async |domain: Arc<Domain>| {
            let uuid = &domain.spec.uuid;
            if let Err(error) = self.cut_off(uuid, &domain).await {
                warn!(
                    uuid,
                    error = chain(&error),
                    "cannot unplug what is forfeited"
                );
            }
        };
        join_all(forfeited.map(cut_off)).await;
    }

    async fn cut_off(&self, uuid: &str, domain: &Domain) -> Result<(), CutOffError> {
        let parts = self.parts();
        let (cluster, paths) = (&parts.settings.cluster_id, self.paths(uuid)?);
        let desired = Desired::new(cluster, domain, &parts.world.segments_of(domain), paths);
        let of = Some((&desired.spec, &desired.segments[..]));
        let sight = self.observe(uuid, of, None, None).await?;
        let job = Job {
            uuid,
            domain: Some(domain),
            attachments: &sight.attachments,
        };
        let plan = plan::plan(&parts.settings, &desired, &sight.observed);
        let unplugs = |step: &&Step| matches!(step, Step::Unplug { .. } | Step::LeaveSegment(_));
        for step in plan.steps.iter().filter(unplugs) {
            self.step(&job, step).await?;
        }
        Ok(())
    }

    fn paths(&self, uuid: &str) -> Result<Paths, ObserveError> {
        let instances = self.parts().storage.instances();
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        Ok(Paths {
            root_disk: text(instances.root_disk(uuid)?),
            config_drive: text(instances.config_drive(uuid)?),
            console_log: text(instances.console_log(uuid)?),
        })
    }
}

/// Why what is forfeited could not be unplugged at once.
#[derive(Debug, thiserror::Error)]
enum CutOffError {
    /// It cannot be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// How long a Segment that is not there yet may still take before people are told.
fn segment_is_coming(hold: &Hold, memory: &mut Memory) -> Option<Duration> {
    if hold.reason != reason::WAITING_FOR_SEGMENT {
        return None;
    }
    let since = *memory.waits_since.get_or_insert_with(Instant::now);
    SEGMENT_GRACE
        .checked_sub(since.elapsed())
        .filter(|rest| !rest.is_zero())
}
