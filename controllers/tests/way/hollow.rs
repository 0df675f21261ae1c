//! A hollow agent: it registers, renews its Lease and answers Domains with its node's own tokens, as
//! the real one does, and has no libvirt behind it.

use crate::lab::lab;
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kilonova_crds::node::{Disposition, DomainStatus, Outcome};
use kilonova_crds::v1alpha1::{Orphan, Power, PowerState};
use kilonova_crds::{Domain, Hypervisor, names};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the Lease is renewed: often, so that no test waits for it.
const RENEW: Duration = Duration::from_secs(1);

/// A node with a hollow agent; the agent ends when this is dropped.
pub struct Hollow {
    /// The node's name.
    pub name: String,
    /// Its node namespace.
    pub namespace: String,
    reporter: Client,
    refuses: Arc<AtomicBool>,
    client: Client,
    tasks: Vec<JoinHandle<()>>,
}

impl Hollow {
    /// A new node, labelled with its pool, whose agent has registered.
    pub async fn start(name: &str, pool: &str) -> Self {
        let admin = lab().client().await.unwrap();
        make_node(&admin, name, pool).await;
        let token = lab().token("kilonova-agent", Some(name)).await.unwrap();
        let reporter = lab().client_with_token(&token).await.unwrap();
        let namespace = names::node_namespace(name);
        register(&reporter, name, &[]).await;
        let token = wait_for("the node namespace's token", GENEROUS, || {
            node_token(&reporter, &namespace)
        });
        let client = lab().client_with_token(&token.await.unwrap()).await;
        let mut hollow = Self {
            name: name.to_owned(),
            namespace,
            reporter,
            refuses: Arc::default(),
            client: client.unwrap(),
            tasks: Vec::new(),
        };
        hollow.wake();
        hollow
    }

    /// What its Domains get: a refusal, or what they ask for.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Its agent is there (again).
    pub fn wake(&mut self) {
        let lease = renew(self.client.clone(), self.namespace.clone());
        let refuses = self.refuses.clone();
        let answers = answer(self.client.clone(), self.namespace.clone(), refuses);
        self.tasks = vec![tokio::spawn(lease), tokio::spawn(answers)];
    }

    /// Its agent is not heard of any more.
    pub fn silence(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }

    /// Reports domains that no Domain names.
    pub async fn report(&self, orphans: &[Orphan]) {
        register(&self.reporter, &self.name, orphans).await;
    }

    /// The Domains in its namespace.
    pub async fn domains(&self) -> Vec<Domain> {
        let api: Api<Domain> = Api::namespaced(self.client.clone(), &self.namespace);
        api.list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
    }
}

impl Drop for Hollow {
    fn drop(&mut self) {
        self.silence();
    }
}

async fn make_node(admin: &Client, name: &str, pool: &str) {
    let api: Api<Node> = Api::all(admin.clone());
    let labels = BTreeMap::from([("pool".to_owned(), pool.to_owned())]);
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..Node::default()
    };
    api.create(&PostParams::default(), &node).await.unwrap();
    set_taints(admin, name, &json!(null)).await;
}

/// Replaces the taints of a Node.
pub async fn set_taints(admin: &Client, name: &str, taints: &Value) {
    let api: Api<Node> = Api::all(admin.clone());
    let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Reports the Hypervisor as an agent does: by apply, without reading it.
async fn register(client: &Client, name: &str, orphans: &[Orphan]) {
    let api: Api<Hypervisor> = Api::all(client.clone());
    let params = PatchParams::apply(names::AGENT_MANAGER).force();
    let mut object = json!({
        "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor",
        "metadata": {"name": name}, "spec": {},
    });
    api.patch(name, &params, &Patch::Apply(&object))
        .await
        .unwrap();
    object["status"] = json!({
        "observedGeneration": 1,
        "capacity": {"vcpus": 4, "memory": "4Gi", "disk": "100Gi"},
        "architecture": "x86_64", "virtualizationTypes": ["qemu"], "machineTypes": ["q35"],
        // Each has a NIC in a physical network of its own.
        "physicalNetworks": [name],
        "nics": [{"physicalNetwork": name, "name": "eth1", "mtu": 1500}],
        "orphans": orphans,
    });
    object.as_object_mut().unwrap().remove("spec");
    api.patch_status(name, &params, &Patch::Apply(&object))
        .await
        .unwrap();
}

async fn node_token(client: &Client, namespace: &str) -> Result<String, kube::Error> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let account = names::NODE_SERVICE_ACCOUNT;
    let params = PostParams::default();
    let answer = api.create_token_request(account, &params, &request).await?;
    Ok(answer.status.and_then(|status| status.token).unwrap())
}

async fn renew(client: Client, namespace: String) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let labels = BTreeMap::from([(names::NODE_NAMESPACE_LABEL.to_owned(), String::new())]);
    let mut lease = Lease {
        metadata: ObjectMeta {
            name: Some(names::AGENT_LEASE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: None,
    };
    // The authorizer may learn of the account's rights a moment after the account is there.
    let existing = wait_for("the right to a Lease", GENEROUS, || {
        api.get_opt(names::AGENT_LEASE)
    });
    lease = existing.await.unwrap().unwrap_or(lease);
    loop {
        lease.spec = Some(LeaseSpec {
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        });
        let params = PostParams::default();
        lease = match lease.metadata.resource_version {
            None => api.create(&params, &lease).await.unwrap(),
            Some(_) => api
                .replace(names::AGENT_LEASE, &params, &lease)
                .await
                .unwrap(),
        };
        tokio::time::sleep(RENEW).await;
    }
}

async fn answer(client: Client, namespace: String, refuses: Arc<AtomicBool>) {
    let api: Api<Domain> = Api::namespaced(client, &namespace);
    let changes = watcher(api.clone(), watcher::Config::default()).applied_objects();
    let mut changes = changes.default_backoff().boxed();
    while let Some(change) = changes.next().await {
        let Ok(mut domain) = change else {
            continue;
        };
        let status = domain.status.as_ref();
        let generation = domain.metadata.generation.unwrap();
        if status.is_some_and(|s| s.observed_generation == generation) {
            continue;
        }
        domain.status = Some(status_of(&domain, refuses.load(Ordering::SeqCst)));
        let (name, params) = (domain.name_any(), PostParams::default());
        // Where it changed meanwhile, the watch has the next state.
        let _ = api.replace_status(&name, &params, &domain).await;
    }
}

fn status_of(domain: &Domain, refuses: bool) -> DomainStatus {
    let power = match domain.spec.power {
        Power::On => PowerState::Running,
        Power::Off => PowerState::Shutoff,
        Power::Paused => PowerState::Paused,
        Power::Suspended => PowerState::Suspended,
    };
    let disk = domain.status.as_ref().is_some_and(|s| s.disk_created);
    let (outcome, reason, power, disk_created) = match domain.spec.disposition {
        Disposition::Purge => (Outcome::Purged, "Purged", None, false),
        Disposition::Release => (Outcome::Released, "Released", None, true),
        Disposition::Run if refuses && !disk => (Outcome::Refused, "Refused", None, false),
        Disposition::Run => (Outcome::Running, "Running", Some(power), true),
    };
    DomainStatus {
        observed_generation: domain.metadata.generation.unwrap(),
        outcome: Some(outcome),
        reason: Some(reason.to_owned()),
        power_state: power,
        disk_created,
        ..DomainStatus::default()
    }
}
