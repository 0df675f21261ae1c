//! The control plane that the tests share, with two replicas of the controllers, and a tenant's
//! world in it for each test.

use kilonova_crds::condition::{find, types};
use kilonova_crds::v1alpha1::InstanceStatus;
use kilonova_crds::{Instance, Network};
use kilonova_e2e::lab::{ImageServer, Lab, LabOptions, network};
use kilonova_e2e::wait::{GENEROUS, wait_for};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::{fs, thread};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How long an agent may be silent here, and how long abandoned disks are kept, in seconds.
const ARGS: [&str; 4] = [
    "--hypervisor-stale-seconds=6",
    "--abandoned-retention-seconds=4",
    "--lease-duration-seconds=5",
    "--lease-renew-seconds=1",
];

/// Tests that kill the controllers are alone with them.
static CONTROLLERS: RwLock<()> = RwLock::const_new(());

/// To be held by a test that needs the controllers as they are.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    CONTROLLERS.read().await
}

/// To be held by a test that kills controllers.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    CONTROLLERS.write().await
}

struct Shared {
    lab: Lab,
    images: ImageServer,
}

fn all() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| thread::spawn(start).join().unwrap())
}

/// The lab. It ends with the program.
pub fn lab() -> &'static Lab {
    &all().lab
}

/// The server of images.
pub fn images() -> &'static ImageServer {
    &all().images
}

fn start() -> Shared {
    let mut options = LabOptions::new("way").controllers(2);
    options.controllers_args = ARGS.map(str::to_owned).to_vec();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let lab = Lab::start(options).await.unwrap();
        let dir = lab.dir().join("images");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("disk.raw"), [0; 4096]).unwrap();
        let images = lab.serve_images(&dir, network::IMAGE_PORT).unwrap();
        Shared { lab, images }
    })
}

/// A tenant's namespace, whose Instances go to the nodes of the pool of the same name only.
pub struct Tenant {
    /// The admin.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Tenant {
    /// A namespace with a Flavor, an image, a Network and all that they need.
    pub async fn new(namespace: &str) -> Self {
        let client = lab().client().await.unwrap();
        let tenant = Self {
            client,
            namespace: namespace.to_owned(),
        };
        let named = json!({"metadata": {"name": namespace}});
        tenant.apply("v1", "Namespace", &named).await;
        tenant.flavor().await;
        tenant.image().await;
        tenant.network().await;
        tenant
    }

    async fn apply(&self, version: &str, kind: &str, object: &Value) {
        let mut object = object.clone();
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        let applied = lab().apply(&object.to_string()).await.unwrap();
        applied.checked().unwrap();
    }

    /// An object of the tenant's.
    pub async fn ours(&self, kind: &str, name: &str, spec: Value) {
        let metadata = json!({"name": name, "namespace": self.namespace});
        let object = json!({"metadata": metadata, "spec": spec});
        self.apply("kilonova.dev/v1alpha1", kind, &object).await;
    }

    /// The Flavor `<namespace>`: a quarter of a node.
    pub async fn flavor(&self) {
        let spec = json!({"vcpus": 1, "memory": "512Mi", "disk": "1Gi"});
        let object = json!({"metadata": {"name": self.namespace}, "spec": spec});
        self.apply("kilonova.dev/v1alpha1", "Flavor", &object).await;
    }

    /// The Image `disk`.
    pub async fn image(&self) {
        self.image_at("disk", "raw", &images().url("disk.raw"))
            .await;
    }

    /// An Image of this name and format, there.
    pub async fn image_at(&self, name: &str, format: &str, url: &str) {
        self.ours("Image", name, image_spec(format, url)).await;
    }

    /// A `ClusterImage` of this name and format, there.
    pub async fn cluster_image_at(&self, name: &str, format: &str, url: &str) {
        let object = json!({"metadata": {"name": name}, "spec": image_spec(format, url)});
        self.apply("kilonova.dev/v1alpha1", "ClusterImage", &object)
            .await;
    }

    /// A class of networks.
    pub async fn class(&self, name: &str, spec: Value) {
        let class = json!({"metadata": {"name": name}, "spec": spec});
        self.apply("kilonova.dev/v1alpha1", "NetworkClass", &class)
            .await;
    }

    /// The Network `blue`, and its class.
    pub async fn network(&self) {
        static LOCAL: OnceCell<()> = OnceCell::const_new();
        // All tenants' class: of two that apply it at once, one would be told that it is there already.
        let made = LOCAL.get_or_init(|| self.class("local", json!({"type": "local"})));
        made.await;
        let spec = json!({"class": "local", "subnets": [{"cidr": "10.0.0.0/24"}]});
        self.ours("Network", "blue", spec).await;
    }

    /// An Instance; `change` is merged into its spec.
    pub async fn instance(&self, name: &str, change: &Value) {
        let mut spec = json!({
            "flavor": self.namespace, "image": {"kind": "Image", "name": "disk"},
            "interfaces": [{"name": "eth0", "network": "blue"}],
            "nodeSelector": {"pool": self.namespace},
        });
        for (key, value) in change.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.ours("Instance", name, spec).await;
    }

    /// The API of its Instances.
    pub fn instances(&self) -> Api<Instance> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The API of its Networks.
    pub fn networks(&self) -> Api<Network> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Merges a patch into an Instance.
    pub async fn patch(&self, name: &str, patch: &Value) {
        let params = PatchParams::default();
        let patch = Patch::Merge(patch);
        self.instances().patch(name, &params, &patch).await.unwrap();
    }

    /// Asks for the end of an Instance.
    pub async fn delete(&self, name: &str) {
        let params = DeleteParams::default();
        self.instances().delete(name, &params).await.unwrap();
    }

    /// Waits until an Instance's condition Ready has that reason, and gives the status.
    pub async fn until(&self, name: &str, reason: &str) -> InstanceStatus {
        let api = self.instances();
        let what = format!("{}/{name} to be {reason}", self.namespace);
        let look = || async {
            let status = api.get(name).await.unwrap().status.unwrap_or_default();
            let ready = find(&status.conditions, types::READY).cloned();
            match ready {
                Some(ready) if ready.reason == reason => Ok(status),
                Some(ready) => Err(format!("{}: {}", ready.reason, ready.message)),
                None => Err("no condition".to_owned()),
            }
        };
        wait_for(what, GENEROUS, look).await.unwrap()
    }

    /// Waits until an Instance is gone.
    pub async fn until_gone(&self, name: &str) {
        let api = self.instances();
        let look = || async {
            match api.get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(instance) => Err(format!("{:?}", instance.status)),
            }
        };
        let what = format!("{}/{name} to be gone", self.namespace);
        wait_for(what, GENEROUS, look).await.unwrap();
    }

    /// The uid of an Instance.
    pub async fn uid(&self, name: &str) -> String {
        self.instances().get(name).await.unwrap().uid().unwrap()
    }
}

fn image_spec(format: &str, url: &str) -> Value {
    let checksum = format!("sha256:{}", "0".repeat(64));
    json!({"format": format, "source": {"http": {"url": url, "checksum": checksum}}})
}

/// The message of the condition Ready.
pub fn ready_message(status: &InstanceStatus) -> String {
    find(&status.conditions, types::READY)
        .unwrap()
        .message
        .clone()
}
