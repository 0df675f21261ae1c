//! Objects of any kind, applied many at once: kubectl would take seconds, most of them asking what the server serves.

use futures::future::try_join_all;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::Value;

use crate::{Error, Result};

/// Who applies, for the objects' managed fields.
const MANAGER: &str = "kilonova-lab";

/// An object from its JSON, or what is wrong with it.
pub(super) fn object(value: Value) -> Result<DynamicObject> {
    serde_json::from_value(value).map_err(|source| Error::Json {
        what: "an object of the lab".to_owned(),
        source,
    })
}

/// Applies objects that do not need each other to be there.
pub(super) async fn apply_all(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    let params = PatchParams::apply(MANAGER).force();
    let apply = |object: &DynamicObject| {
        let (api, name) = (api(client, object), object.name_any());
        let (params, patch) = (params.clone(), Patch::Apply(object.clone()));
        let failed = Error::api(format!("apply {} {name}", kind(object)));
        async move { api.patch(&name, &params, &patch).await.map_err(failed) }
    };
    try_join_all(objects.iter().map(apply)).await.map(drop)
}

/// Deletes objects that are there, and does not wait until they are gone.
pub(super) async fn delete_all(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    let delete = |object: &DynamicObject| {
        let (api, name) = (api(client, object), object.name_any());
        let failed = Error::api(format!("delete {} {name}", kind(object)));
        async move {
            match api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                deleted => deleted.map(drop).map_err(failed),
            }
        }
    };
    try_join_all(objects.iter().map(delete)).await.map(drop)
}

/// What the server would make of an object, were it created.
pub(super) async fn try_create(
    client: &Client,
    object: &DynamicObject,
) -> kube::Result<DynamicObject> {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api(client, object).create(&dry, object).await
}

/// The plural is guessed from the kind, which is right for every kind in the charts.
fn api(client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn kind(object: &DynamicObject) -> &str {
    object
        .types
        .as_ref()
        .map_or("an object", |types| types.kind.as_str())
}
