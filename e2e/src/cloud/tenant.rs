//! A tenant: a namespace, and what its Instances need.

use k8s_openapi::api::core::v1::Namespace;
use kilonova_crds::v1alpha1::Instance;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use super::{Cloud, InstanceHandle};
use crate::{Error, Result};

/// Every tenant's Network.
pub const NETWORK: &str = "blue";
/// Every tenant's `KeyPair`.
pub const KEY_PAIR: &str = "ops";

/// A namespace with a Network and a `KeyPair`.
#[derive(Clone, Debug)]
pub struct Tenant<'a> {
    cloud: &'a Cloud,
    namespace: String,
}

impl<'a> Tenant<'a> {
    pub(super) async fn make(cloud: &'a Cloud, namespace: &str) -> Result<Self> {
        let failed = || Error::api(format!("create the namespace {namespace}"));
        let object = parse(json!({"metadata": {"name": namespace}}), "a Namespace")?;
        Api::<Namespace>::all(cloud.client())
            .create(&PostParams::default(), &object)
            .await
            .map_err(failed())?;
        let tenant = Self {
            cloud,
            namespace: namespace.to_owned(),
        };
        let network = json!({"class": "local", "subnets": [{"cidr": "10.0.0.0/24"}]});
        let key_pair = json!({"publicKey": cloud.key().public});
        cloud
            .apply(&[
                tenant.object("Network", NETWORK, &network),
                tenant.object("KeyPair", KEY_PAIR, &key_pair),
            ])
            .await?;
        Ok(tenant)
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// An object of ours in its namespace, to be applied.
    #[must_use]
    pub fn object(&self, kind: &str, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        })
    }

    /// Creates an Instance: a `tiny` one of the image `guest`, with `eth0` in `blue` and the key `ops`. What `spec`
    /// has takes the place of that, member by member.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(&self, name: &str, spec: Value) -> Result<InstanceHandle<'a>> {
        self.create_labelled(name, &json!({}), spec).await
    }

    /// As [`Self::create`], with labels.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create_labelled(
        &self,
        name: &str,
        labels: &Value,
        spec: Value,
    ) -> Result<InstanceHandle<'a>> {
        let mut whole = json!({
            "flavor": "tiny",
            "image": {"kind": "ClusterImage", "name": "guest"},
            "interfaces": [{"name": "eth0", "network": NETWORK}],
            "keyPairs": [KEY_PAIR],
        });
        if let (Value::Object(whole), Value::Object(spec)) = (&mut whole, spec) {
            whole.extend(spec);
        }
        let mut object = self.object("Instance", name, &whole);
        object["metadata"]["labels"] = labels.clone();
        let object = parse(object, "an Instance")?;
        Api::<Instance>::namespaced(self.cloud.client(), &self.namespace)
            .create(&PostParams::default(), &object)
            .await
            .map_err(Error::api(format!("create the Instance {name}")))?;
        Ok(self.instance(name))
    }

    /// Deletes the namespace with all that is in it, and does not wait: makes room for the tests that come.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn close(self) -> Result<()> {
        let failed = Error::api(format!("delete the namespace {}", self.namespace));
        Api::<Namespace>::all(self.cloud.client())
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .map(drop)
            .map_err(failed)
    }

    /// The handle of an Instance, whether it is there or not.
    #[must_use]
    pub fn instance(&self, name: &str) -> InstanceHandle<'a> {
        InstanceHandle::new(self.cloud, &self.namespace, name)
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: Value, what: &str) -> Result<T> {
    serde_json::from_value(value).map_err(|source| Error::Json {
        what: what.to_owned(),
        source,
    })
}
