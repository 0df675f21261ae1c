//! What the controllers write for a node: its namespace with the account of its agent, user data
//! in it, and two conditions of its Hypervisor.

use super::{WriteError, Writer, body, post};
use crate::effect::Effect;
use crate::world::NamespaceMeta;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kilonova_crds::names::{
    self, CLUSTER_ID_ANNOTATION, CONTROLLERS_MANAGER, LEADER_ANNOTATION, NODE_ANNOTATION,
    NODE_NAMESPACE_LABEL, NODE_SERVICE_ACCOUNT, USER_DATA_KEY,
};
use kilonova_crds::{Condition, Hypervisor};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::PartialObjectMetaExt;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// The `ClusterRole` that says what an agent may do in its node namespace; the chart's.
const NODE_ROLE: &str = "kilonova-node";

impl Writer {
    /// Makes the namespace of a node, or marks it as it must be; then the account in it that the
    /// agent asks a token of, and what that account may do.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn node_namespace(
        &self,
        node: &str,
        cluster_id: &str,
    ) -> Result<NamespaceMeta, WriteError> {
        let name = names::node_namespace(node);
        let marks = [(NODE_ANNOTATION, node), (CLUSTER_ID_ANNOTATION, cluster_id)];
        let namespace = Namespace {
            metadata: ObjectMeta {
                annotations: Some(marks.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                ..owned(&name, None)
            },
            ..Namespace::default()
        };
        let made = self
            .apply(Api::all(self.client.clone()), &namespace)
            .await?;
        // The account last: who has a token of it can use it.
        self.apply(Api::namespaced(self.client.clone(), &name), &binding(&name))
            .await?;
        let account = ServiceAccount {
            metadata: owned(NODE_SERVICE_ACCOUNT, Some(&name)),
            ..ServiceAccount::default()
        };
        self.apply(Api::namespaced(self.client.clone(), &name), &account)
            .await?;
        Ok(made.metadata.into_response_partial())
    }

    /// Puts user data into a node namespace, for the Domain of that name; what is there stays.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn put_user_data(
        &self,
        node: &str,
        name: &str,
        data: Vec<u8>,
    ) -> Result<(), WriteError> {
        let namespace = names::node_namespace(node);
        let mut metadata = owned(name, Some(&namespace));
        body::annotate(&mut metadata, LEADER_ANNOTATION, self.fence());
        let secret = Secret {
            metadata,
            data: Some([(USER_DATA_KEY.to_owned(), ByteString(data))].into()),
            immutable: Some(true),
            ..Secret::default()
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        let params = post();
        let write = api.create(&params, &secret);
        match self
            .send::<Secret, _>(Effect::PutUserData, "create", write)
            .await
        {
            Ok(_) | Err(WriteError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the user data of the Domain of that name out of a node namespace.
    ///
    /// # Errors
    /// Any [`WriteError`] but that it is gone.
    pub async fn delete_user_data(&self, node: &str, name: &str) -> Result<(), WriteError> {
        let namespace = names::node_namespace(node);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        let params = DeleteParams::default();
        let write = api.delete(name, &params);
        match self
            .send::<Secret, _>(Effect::DeleteUserData, "delete", write)
            .await
        {
            Ok(_) | Err(WriteError::Gone(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes the controllers' conditions of a Hypervisor, and leaves the others alone.
    ///
    /// # Errors
    /// Any [`WriteError`].
    pub async fn hypervisor_conditions(
        &self,
        hypervisor: &Hypervisor,
        conditions: &[Condition],
    ) -> Result<Hypervisor, WriteError> {
        let api: Api<Hypervisor> = Api::all(self.client.clone());
        let name = hypervisor.name_any();
        let body = Patch::Apply(json!({
            "apiVersion": Hypervisor::api_version(&()),
            "kind": Hypervisor::kind(&()),
            "metadata": {
                "name": name,
                "uid": hypervisor.uid(),
                "resourceVersion": hypervisor.resource_version(),
            },
            "status": {"conditions": conditions},
        }));
        let params = apply_params();
        let write = api.patch_status(&name, &params, &body);
        self.send::<Hypervisor, _>(Effect::ReportHypervisor, "status", write)
            .await
    }

    async fn apply<K>(&self, api: Api<K>, object: &K) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let (name, params) = (object.name_any(), apply_params());
        let patch = Patch::Apply(object);
        let write = api.patch(&name, &params, &patch);
        self.send::<K, _>(Effect::MakeNodeNamespace, "apply", write)
            .await
    }
}

fn binding(namespace: &str) -> RoleBinding {
    RoleBinding {
        metadata: owned(NODE_SERVICE_ACCOUNT, Some(namespace)),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: NODE_ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: NODE_SERVICE_ACCOUNT.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        }]),
    }
}

fn owned(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some([(NODE_NAMESPACE_LABEL.to_owned(), String::new())].into()),
        ..ObjectMeta::default()
    }
}

fn apply_params() -> PatchParams {
    PatchParams::apply(CONTROLLERS_MANAGER).force()
}
