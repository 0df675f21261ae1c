//! What a test of the whole product starts from: a lab with an operator's offer in it, tenants, and handles of their
//! Instances that look from outside (API objects, `virsh`, ssh, files), never at our own counters.
//!
//! ```no_run
//! use kilonova_e2e::{cloud::Cloud, lab::LabOptions};
//! use serde_json::json;
//! # async fn run() -> Result<(), kilonova_e2e::Error> {
//! let cloud = Cloud::start(LabOptions::new("one").nodes(1)).await?;
//! let shop = cloud.tenant("shop").await?;
//! let web = shop.create("web-1", json!({"flavor": "duo"})).await?;
//! web.ready("Running").await?;
//! assert_eq!(web.sh("nproc").await?, "2");
//! web.power("Off").await?;
//! web.ready("Stopped").await?;
//! assert_eq!(web.domain_state().await?, "shut off");
//! web.delete().await?;
//! web.gone().await?;
//! # Ok(())
//! # }
//! ```

mod flow;
mod guest;
mod instance;
mod inventory;
mod law;
mod offer;
mod said;
mod tenant;

use std::{collections::BTreeSet, fmt, fs, sync::Arc};

use k8s_openapi::api::core::v1::Namespace;
use kilonova_crds::{
    condition,
    node::{Domain, Segment},
    v1alpha1::Hypervisor,
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::Value;
use tokio::sync::OnceCell;

pub use self::{
    flow::Flow,
    instance::{InstanceHandle, summary},
    inventory::{empty_inventory, inventory},
    law::{against_the_law, lawful},
    offer::GUEST_IMAGE,
    said::Said,
    tenant::{KEY_PAIR, NETWORK, Tenant},
};
use crate::{
    Error, Result,
    build::GuestImage,
    cluster::Cluster,
    lab::{self, ImageServer, Lab, LabOptions, Machine, SshKey, network},
    wait::{GENEROUS, wait_for},
};

/// A lab with an offer: the Flavors `tiny` (1 vCPU) and `duo` (2), the `NetworkClass` `local`, the `ClusterImage`
/// `guest`, and a server for more images; as one test sees it, with a client for its runtime.
pub struct Cloud {
    parts: Arc<Parts>,
    client: Client,
}

/// What does not depend on a test's runtime.
#[derive(Debug)]
struct Parts {
    world: World,
    images: ImageServer,
    key: SshKey,
}

/// Where the nodes are.
#[derive(Debug)]
enum World {
    /// In namespaces of this machine.
    Lab(Lab),
    /// Machines of their own.
    Cluster(Cluster),
}

impl World {
    fn lab(&self) -> &Lab {
        match self {
            Self::Lab(lab) => lab,
            Self::Cluster(cluster) => cluster.lab(),
        }
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cloud").field(&self.parts).finish()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // Where this is the lab's last owner, it keeps its logs itself.
        if std::thread::panicking() && Arc::strong_count(&self.parts) > 1 {
            let kept = lab::keep_logs(self.lab().dir());
            eprintln!("the lab's logs are kept in {}", kept.display());
        }
    }
}

impl Cloud {
    /// Starts a lab of its own, makes the offer, and waits until every node with an agent is a Ready Hypervisor.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn start(options: LabOptions) -> Result<Self> {
        let lab = Lab::start(options).await?;
        let cloud = Self::over(World::Lab(lab)).await?;
        cloud.make_offer().await?;
        Ok(cloud)
    }

    /// Takes a cluster in which Kilonova's CRDs have been installed, and makes the offer. See
    /// [`Self::hypervisors_ready`] for the rest.
    ///
    /// # Errors
    /// When the offer is refused.
    pub async fn on(cluster: Cluster) -> Result<Self> {
        let cloud = Self::over(World::Cluster(cluster)).await?;
        cloud.apply_offer().await?;
        Ok(cloud)
    }

    /// The same for the runtime of another test.
    ///
    /// # Errors
    /// When no client can be made.
    pub async fn again(&self) -> Result<Self> {
        Ok(Self {
            parts: Arc::clone(&self.parts),
            client: self.lab().client().await?,
        })
    }

    async fn over(world: World) -> Result<Self> {
        let parts = Parts::new(world).await?;
        let client = parts.world.lab().client().await?;
        Ok(Self {
            parts: Arc::new(parts),
            client,
        })
    }

    /// The one lab that the tests of this program share, started by the first of them with its options. Each takes
    /// tenants of its own there. It ends with the program.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn shared(options: LabOptions) -> Result<Self> {
        static SHARED: OnceCell<Arc<Parts>> = OnceCell::const_new();
        let start = || async {
            let cloud = Self::start(options).await?;
            Ok::<_, Error>(Arc::clone(&cloud.parts))
        };
        let parts = Arc::clone(SHARED.get_or_try_init(start).await?);
        let client = parts.world.lab().client().await?;
        Ok(Self { parts, client })
    }

    async fn make_offer(&self) -> Result<()> {
        self.apply_offer().await?;
        self.hypervisors_ready().await
    }

    async fn apply_offer(&self) -> Result<()> {
        let url = self.images().url(GUEST_IMAGE);
        let guest = GuestImage::find()?;
        self.apply(&offer::objects(&url, &guest.checksum())).await
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        self.parts.world.lab()
    }

    /// The cluster, where there is one.
    ///
    /// # Errors
    /// When this is a lab without.
    pub fn cluster(&self) -> Result<&Cluster> {
        match &self.parts.world {
            World::Cluster(cluster) => Ok(cluster),
            World::Lab(_) => Err(Error::Missing {
                what: "a cluster".to_owned(),
                remedy: "start the cloud on one".to_owned(),
            }),
        }
    }

    /// A machine by the name of its node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        match &self.parts.world {
            World::Lab(lab) => lab.node_named(name).map(|node| &**node),
            World::Cluster(cluster) => cluster.node_named(name).map(|node| &**node),
        }
    }

    /// The names of the nodes that have an agent.
    fn hypervisor_names(&self) -> Vec<&str> {
        match &self.parts.world {
            World::Lab(lab) => {
                let nodes = lab.nodes().iter().filter(|node| node.options().agent);
                nodes.map(|node| node.name()).collect()
            }
            World::Cluster(cluster) => cluster.nodes().iter().map(|node| node.name()).collect(),
        }
    }

    /// A client with the admin's credentials.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The server of images; its directory holds [`GUEST_IMAGE`], and what a test puts there.
    #[must_use]
    pub fn images(&self) -> &ImageServer {
        &self.parts.images
    }

    /// The key whose public half is every tenant's `KeyPair` `ops`.
    #[must_use]
    pub fn key(&self) -> &SshKey {
        &self.parts.key
    }

    /// `kubectl apply` of some objects.
    ///
    /// # Errors
    /// When one is refused, with what kubectl said.
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        let manifest: Vec<_> = objects.iter().map(ToString::to_string).collect();
        self.lab()
            .apply(&manifest.join("\n---\n"))
            .await?
            .checked()
            .map(drop)
    }

    /// Makes a tenant: a namespace with the Network `blue` (10.0.0.0/24) and the `KeyPair` `ops`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn tenant(&self, namespace: &str) -> Result<Tenant<'_>> {
        Tenant::make(self, namespace).await
    }

    /// Waits until no tenant is going any more (see [`Tenant::close`]) and no node holds a Domain or Segment of one that
    /// is gone: from then on, what is seen to change is the caller's own doing.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn settled(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let domains: Api<Domain> = Api::all(self.client.clone());
        let segments: Api<Segment> = Api::all(self.client.clone());
        let all = ListParams::default();
        wait_for("closed tenants to be gone", GENEROUS, || async {
            let failed = |error: kube::Error| error.to_string();
            let (mut there, mut going) = (BTreeSet::new(), Vec::new());
            for namespace in namespaces.list(&all).await.map_err(failed)? {
                if namespace.metadata.deletion_timestamp.is_some() {
                    going.push(namespace.name_any());
                }
                there.insert(namespace.name_any());
            }
            let domains = domains.list(&all).await.map_err(failed)?;
            let of_domains = domains.iter().map(|d| &d.spec.instance.namespace);
            let segments = segments.list(&all).await.map_err(failed)?;
            let of_segments = segments.iter().map(|s| &s.spec.network.namespace);
            let of_nodes = of_domains.chain(of_segments);
            going.extend(of_nodes.filter(|name| !there.contains(*name)).cloned());
            if going.is_empty() {
                Ok(())
            } else {
                Err(going.join(", "))
            }
        })
        .await
    }

    /// The handle of an Instance in any namespace, whether it is there or not.
    #[must_use]
    pub fn instance(&self, namespace: &str, name: &str) -> InstanceHandle<'_> {
        InstanceHandle::new(self, namespace, name)
    }

    /// Waits until every node with an agent is a Ready Hypervisor.
    ///
    /// # Errors
    /// When one does not become so.
    pub async fn hypervisors_ready(&self) -> Result<()> {
        for name in self.hypervisor_names() {
            self.hypervisor(name, "Ready=True", |hypervisor| {
                let status = hypervisor.status.as_ref();
                status.is_some_and(|s| condition::is_true(&s.conditions, condition::types::READY))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until a Hypervisor is as `holds` says.
    ///
    /// # Errors
    /// When it does not become so in [`GENEROUS`] time; the error shows its status.
    pub async fn hypervisor(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Hypervisor) -> bool,
    ) -> Result<Hypervisor> {
        let api: Api<Hypervisor> = Api::all(self.client.clone());
        wait_for(format!("Hypervisor {name}: {what}"), GENEROUS, || async {
            let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
            match found {
                Some(hypervisor) if holds(&hypervisor) => Ok(hypervisor),
                Some(hypervisor) => Err(format!("{:?}", hypervisor.status)),
                None => Err("there is none".to_owned()),
            }
        })
        .await
    }
}

impl Parts {
    async fn new(world: World) -> Result<Self> {
        let guest = GuestImage::find()?;
        let lab = world.lab();
        let dir = lab.dir().join("images");
        fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let served = dir.join(GUEST_IMAGE);
        fs::copy(&guest.path, &served).map_err(Error::file("write", &served))?;
        Ok(Self {
            images: lab.serve_images(&dir, network::IMAGE_PORT)?,
            key: SshKey::at(&lab.dir().join("id_guest")).await?,
            world,
        })
    }
}
