//! Leader election by a Lease, and the fence that it gives: the number that each write to a node
//! namespace carries. Nothing is written without the Lease; a lost one ends the process.

mod lease;

use crate::effect::Effect;
use k8s_openapi::api::coordination::v1::Lease;
use kilonova_crds::names::{CONTROLLERS_MANAGER, LEADER_LEASE};
use kube::api::PostParams;
use kube::{Api, Client};
use lease::{Verdict, Watcher};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// How often a standby looks at the Lease, and a leader tries again after an error.
const LOOK: Duration = Duration::from_secs(1);
/// How long a new leader does nothing: the admission policies that read the Lease follow it within
/// milliseconds, and writes of the old leader that are on their way get that time to arrive.
const SETTLE: Duration = Duration::from_secs(1);

/// The Lease is lost.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It could not be renewed in time.
    #[error("the leader's Lease could not be renewed in time")]
    Expired,
    /// Another took it.
    #[error("another replica took the leader's Lease")]
    Taken,
}

/// What the Lease needs.
#[derive(Clone, Debug)]
pub struct Election {
    /// The release's namespace.
    pub namespace: String,
    /// This process's name in the Lease.
    pub identity: String,
    /// How long it holds without a renewal.
    pub duration: Duration,
    /// How often it is renewed.
    pub renew: Duration,
}

/// The Lease in our hands, for as long as it is.
#[derive(Debug)]
pub struct Leadership {
    transitions: i32,
    valid_until: Mutex<Instant>,
}

impl Leadership {
    /// The number that fenced writes carry.
    pub fn transitions(&self) -> i32 {
        self.transitions
    }

    /// Whether the Lease holds at this moment.
    pub fn holds(&self) -> bool {
        Instant::now() < *self.valid_until.lock()
    }
}

/// Holds the Lease; kept by one task.
pub struct Keeper {
    api: Api<Lease>,
    election: Election,
    lease: Lease,
    leadership: Arc<Leadership>,
}

/// Waits until the Lease is ours, and then until late writes of an earlier leader have arrived.
pub async fn acquire(client: Client, election: Election) -> (Keeper, Arc<Leadership>) {
    let api: Api<Lease> = Api::namespaced(client, &election.namespace);
    let mut watcher = Watcher::default();
    loop {
        let start = Instant::now();
        match timeout(election.renew, attempt(&api, &election, &mut watcher)).await {
            Ok(Ok(Some(lease))) => {
                let leadership = Arc::new(Leadership {
                    transitions: lease::transitions(&lease),
                    valid_until: Mutex::new(start + election.duration),
                });
                info!(transitions = leadership.transitions, "leading");
                sleep(SETTLE).await;
                let keeper = Keeper {
                    api,
                    election,
                    lease,
                    leadership: leadership.clone(),
                };
                return (keeper, leadership);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => warn!(%error, "cannot take the leader's Lease"),
            Err(_) => warn!("the API server does not answer"),
        }
        sleep(LOOK).await;
    }
}

async fn attempt(
    api: &Api<Lease>,
    election: &Election,
    watcher: &mut Watcher,
) -> kube::Result<Option<Lease>> {
    let Election {
        namespace,
        identity,
        duration,
        ..
    } = election;
    let result = match api.get_opt(LEADER_LEASE).await? {
        None => {
            let lease = lease::first(namespace, identity, *duration);
            Effect::TakeLease
                .carry_out(api.create(&params(), &lease))
                .await
        }
        Some(lease) => match watcher.look(&lease, identity, Instant::now()) {
            Verdict::Wait => return Ok(None),
            Verdict::Take => {
                let lease = lease::taken(&lease, identity, *duration);
                let params = params();
                let take = api.replace(LEADER_LEASE, &params, &lease);
                Effect::TakeLease.carry_out(take).await
            }
        },
    };
    match result {
        Ok(lease) => Ok(Some(lease)),
        // Another was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

impl Keeper {
    /// Renews the Lease until it is lost. May be dropped at any time, and called again.
    pub async fn keep(&mut self) -> Lost {
        loop {
            let deadline = *self.leadership.valid_until.lock();
            let start = Instant::now();
            if start >= deadline {
                return Lost::Expired;
            }
            let pause = match timeout(self.election.renew, self.renew()).await {
                Ok(Ok(true)) => {
                    *self.leadership.valid_until.lock() = start + self.election.duration;
                    self.election.renew
                }
                Ok(Ok(false)) => return Lost::Taken,
                Ok(Err(error)) => {
                    warn!(%error, "cannot renew the leader's Lease");
                    LOOK
                }
                Err(_) => LOOK,
            };
            sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// False when another has it.
    async fn renew(&mut self) -> kube::Result<bool> {
        let renewed = lease::renewed(&self.lease);
        let params = params();
        let renew = self.api.replace(LEADER_LEASE, &params, &renewed);
        match Effect::RenewLease.carry_out(renew).await {
            Ok(lease) => self.lease = lease,
            // Our own earlier renewal may have arrived without its answer.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let Some(current) = self.api.get_opt(LEADER_LEASE).await? else {
                    return Ok(false);
                };
                let transitions = self.leadership.transitions;
                if !lease::ours(&current, &self.election.identity, transitions) {
                    return Ok(false);
                }
                let renewed = lease::renewed(&current);
                self.lease = self.api.replace(LEADER_LEASE, &params, &renewed).await?;
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Gives the Lease up, so that a standby takes it at once. From then on nothing is written.
    pub async fn release(mut self) {
        *self.leadership.valid_until.lock() = Instant::now();
        let released = lease::released(&self.lease);
        let params = params();
        let release = self.api.replace(LEADER_LEASE, &params, &released);
        match timeout(self.election.renew, release).await {
            Ok(Ok(lease)) => self.lease = lease,
            Ok(Err(error)) => warn!(%error, "cannot release the leader's Lease"),
            Err(_) => warn!("the leader's Lease was not released: the API server does not answer"),
        }
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(CONTROLLERS_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
