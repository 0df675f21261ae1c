//! A lab whose programs die and are started again, with a neighbour that must not notice.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use kilonova_e2e::{
    build,
    cloud::{Cloud, InstanceHandle, Tenant, inventory, lawful},
    lab::{Failpoints, LabOptions, NodeOptions},
    process::Service,
    wait::{GENEROUS, wait_for},
};
use serde_json::{Value, json};

/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A lab with failpoints: `node-1`, which everything is on; and `node-2`, which is cordoned and whose agent runs when a
/// test starts it.
pub struct Stage {
    pub cloud: Cloud,
    /// Programs that are started again when they end.
    kept: AtomicBool,
    numbers: AtomicU32,
}

impl Stage {
    pub async fn start(name: &str) -> Self {
        let idle = NodeOptions {
            agent: false,
            ..NodeOptions::new("node-2")
        };
        let mut options = LabOptions::new(name).nodes(1).node(idle).failpoints();
        // Its Lease is its own after a restart, too: with another name it would wait for its end.
        let identity = ("KILONOVA_IDENTITY".to_owned(), "the-only-one".to_owned());
        options.controllers_env.push(identity);
        let cloud = Cloud::start(options.without_mutating_policies())
            .await
            .unwrap();
        let cordon = cloud.lab().kubectl(["cordon", "node-2"]).await.unwrap();
        cordon.checked().unwrap();
        Self {
            cloud,
            kept: AtomicBool::new(true),
            numbers: AtomicU32::new(0),
        }
    }

    /// Runs `story` while programs that end are started again.
    pub async fn play<T>(&self, story: impl Future<Output = T>) -> T {
        let keep = async {
            loop {
                if self.kept.load(Ordering::Relaxed) {
                    self.start_again();
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            told = story => told,
            () = keep => unreachable!("it never ends"),
        }
    }

    fn start_again(&self) {
        let lab = self.cloud.lab();
        for service in lab.controllers().iter().chain([lab.agent(0)]) {
            if !service.is_running() {
                service.start().unwrap();
            }
        }
    }

    /// From now on programs that end stay so, until the answer is dropped.
    pub fn leave_dead(&self) -> Dead<'_> {
        self.kept.store(false, Ordering::Relaxed);
        Dead(self)
    }

    /// A name that was not given yet.
    pub fn name(&self, of: &str) -> String {
        format!("{of}-{}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// An image of its own, of a disk that boots nothing: a `ClusterImage` that no node has in its cache.
    pub async fn image(&self) -> String {
        let name = self.name("blank");
        self.cloud.apply(&[self.image_object(&name)]).await.unwrap();
        name
    }

    /// Makes the file of such an image, and gives the object.
    pub fn image_object(&self, name: &str) -> Value {
        let path = self.cloud.images().dir().join(name);
        let lines = (0..4096).flat_map(|n: u32| [name.to_owned(), format!(" {n}\n")]);
        let text: String = lines.collect();
        let mut bytes = text.into_bytes();
        bytes.resize(4 << 20, 0);
        fs::write(&path, bytes).unwrap();
        let sum = build::sha256(&path).unwrap();
        let http =
            json!({"url": self.cloud.images().url(name), "checksum": format!("sha256:{sum}")});
        json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "ClusterImage", "metadata": {"name": name},
            "spec": {"source": {"http": http}, "format": "raw"},
        })
    }

    /// Waits until a program has killed itself at all points that were armed.
    pub async fn fired(&self, failpoints: &Failpoints, what: &str) {
        let what = format!("{what}: the program to die");
        wait_for(what, GENEROUS, || async {
            let left = failpoints.left().map_err(|e| e.to_string())?;
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.join(", "))
            }
        })
        .await
        .unwrap();
    }

    /// The QEMU processes of `node-1`.
    pub async fn qemus(&self) -> BTreeSet<String> {
        let listed = self
            .cloud
            .lab()
            .node(0)
            .sh("pgrep -f ^[^ ]*qemu-system || true")
            .await;
        listed.unwrap().lines().map(str::to_owned).collect()
    }

    /// That the law holds, and that on `node-1` there is what there was.
    pub async fn as_before(&self, before: &BTreeSet<String>, what: &str) {
        lawful(&self.cloud)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let node = self.cloud.lab().node(0);
        let same = wait_for("the node to be as before", GENEROUS, || async {
            let after = inventory(node).await.map_err(|e| e.to_string())?;
            if after == *before {
                return Ok(());
            }
            let line = |sign: &str, line: &String| format!("{sign} {line}\n");
            let lost = before.difference(&after).map(|l| line("-", l));
            let more = after.difference(before).map(|l| line("+", l));
            Err(lost.chain(more).collect::<String>())
        });
        same.await.unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

/// Programs that stay dead; dropped, they are started again.
pub struct Dead<'a>(&'a Stage);

impl Drop for Dead<'_> {
    fn drop(&mut self) {
        self.0.kept.store(true, Ordering::Relaxed);
    }
}

/// Which effects are played, with commas between: those whose name contains one of them. Absent: all.
const EFFECT_VARIABLE: &str = "KILONOVA_EFFECT";

/// Whether an effect is to be played.
pub fn asked_for(effect: &str) -> bool {
    let asked = std::env::var(EFFECT_VARIABLE);
    asked.map_or(true, |asked| {
        asked.split(',').any(|part| effect.contains(part))
    })
}

/// Waits until a program has ended.
pub async fn ended(service: &Service) {
    let what = format!("{} to end", service.name());
    wait_for(what, GENEROUS, || async {
        if service.is_running() {
            Err("it runs")
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
}

/// Instances of one tenant that boot nothing: with `eth0` in a Network of their own, `eth1` in one that the neighbour
/// is in, and user data from a Secret.
pub struct Troupe<'a> {
    pub shop: Tenant<'a>,
    image: String,
}

/// The Network that the instances have for themselves.
pub const OWN: &str = "own";

impl<'a> Troupe<'a> {
    /// The tenant, with a neighbour that runs.
    pub async fn make(stage: &'a Stage, namespace: &str) -> Self {
        let cloud = &stage.cloud;
        let shop = cloud.tenant(namespace).await.unwrap();
        let subnets = json!({"class": "local", "subnets": [{"cidr": "10.1.0.0/24"}]});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "stringData": {"boot": "#!/bin/sh\n"},
            "metadata": {"name": "first-boot", "namespace": namespace},
        });
        let own = shop.object("Network", OWN, &subnets);
        cloud.apply(&[own, secret]).await.unwrap();
        let troupe = Self {
            shop,
            image: stage.image().await,
        };
        let eth0 = json!([{"name": "eth0", "network": "blue"}]);
        let neighbour = troupe
            .create("neighbour", json!({"interfaces": eth0}))
            .await;
        neighbour.ready("Running").await.unwrap();
        troupe
    }

    /// Creates one; what `spec` has takes the place of the usual.
    pub async fn create(&self, name: &str, spec: Value) -> InstanceHandle<'a> {
        let mut whole = json!({
            "image": {"kind": "ClusterImage", "name": self.image},
            "interfaces": [{"name": "eth0", "network": OWN}, {"name": "eth1", "network": "blue"}],
            "userDataFrom": {"secretKeyRef": {"name": "first-boot", "key": "boot"}},
            "terminationGracePeriodSeconds": 0,
        });
        if let (Value::Object(whole), Value::Object(spec)) = (&mut whole, spec) {
            whole.extend(spec);
        }
        self.shop.create(name, whole).await.unwrap()
    }
}

/// Says how long each way took, for who looks at the output.
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn say(&mut self, what: &str) {
        eprintln!("{:6.2} s  {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}
