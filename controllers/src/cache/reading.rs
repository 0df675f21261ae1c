//! Objects as far as this version understands them. The CRDs may be newer than the controllers: a
//! field that they do not know is passed over, and a value that they do not know, in an object or
//! two, is no reason to see none of the others.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What is done about an object that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leniency {
    /// Nothing is decided without it: the kind cannot be listed.
    Required,
    /// It is taken in without what is not understood, and is not acted upon.
    Partial,
    /// It is as if it were not there: what needs it waits.
    Dispensable,
}

/// An object as the API server gave it.
#[derive(Clone, Debug)]
pub enum Given<K> {
    /// One that is understood.
    Whole(K),
    /// One that is not, and why.
    Strange(Value, String),
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Given<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(match K::deserialize(&value) {
            Ok(object) => Self::Whole(object),
            Err(error) => Self::Strange(value, error.to_string()),
        })
    }
}

/// The object without what is not understood of its spec and status; `None` where too little is
/// left.
pub fn without_strange<K: DeserializeOwned>(mut value: Value) -> Option<K> {
    loop {
        let error = match K::deserialize(&value) {
            Ok(object) => return Some(object),
            Err(error) => error.to_string(),
        };
        let mut places = Vec::new();
        for part in ["/spec", "/status"] {
            if let Some(inner) = value.pointer(part) {
                list_places(part, inner, &mut places);
            }
        }
        // Whatever is wrong next is not what was wrong before.
        let better = |place: &String| {
            let mut less = value.clone();
            remove(&mut less, place);
            let other = K::deserialize(&less).err().map(|error| error.to_string());
            let helps = other.is_none_or(|e| e != error && !e.starts_with("missing field"));
            helps.then_some(less)
        };
        value = places.iter().find_map(better)?;
    }
}

/// The places within a value, what is inside before what it is in.
fn list_places(at: &str, value: &Value, places: &mut Vec<String>) {
    let mut inside = |key: &str, inner: &Value| {
        let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        list_places(&place, inner, places);
        places.push(place);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, inner)| inside(key, inner)),
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                inside(&index.to_string(), inner);
            }
        }
        _ => {}
    }
}

fn remove(value: &mut Value, place: &str) {
    let Some((parent, key)) = place.rsplit_once('/') else {
        return;
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&key);
        }
        Some(Value::Array(items)) => {
            if let Ok(index) = key.parse::<usize>()
                && index < items.len()
            {
                items.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use kilonova_crds::{Hypervisor, Instance, NetworkClass};
    use serde_json::json;

    fn instance() -> Value {
        json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Instance",
            "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
            "spec": {
                "flavor": "small", "image": {"kind": "Image", "name": "disk"}, "power": "On",
                "fromTomorrow": {"a": 1},
            },
            "status": {"observedGeneration": 1, "uuid": "u", "nodeName": "node-1"},
        })
    }

    #[test]
    fn fields_that_are_not_known_are_passed_over() {
        let given: Given<Instance> = serde_json::from_value(instance()).unwrap();
        assert!(matches!(given, Given::Whole(_)));
    }

    #[test]
    fn what_is_not_understood_is_left_out_and_nothing_else() {
        let mut strange = instance();
        strange["spec"]["power"] = "Dreaming".into();
        strange["spec"]["restartPolicy"] = "Tomorrow".into();
        strange["spec"]["tolerations"] =
            json!([{"key": "a"}, {"key": "b", "operator": "Resembles"}, {"key": "c"}]);
        strange["status"]["powerState"] = "Dreams".into();
        let given: Given<Instance> = serde_json::from_value(strange).unwrap();
        let Given::Strange(value, why) = given else {
            unreachable!("it is strange")
        };
        assert!(why.contains("unknown variant"), "{why}");
        let read: Instance = without_strange(value).unwrap();
        assert_eq!(read.spec.flavor, "small");
        assert_eq!(read.spec.tolerations.unwrap().len(), 3);
        assert_eq!(read.status.unwrap().node_name.as_deref(), Some("node-1"));
        let node = json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor",
            "metadata": {"name": "n"}, "spec": {},
            "status": {"virtualizationTypes": ["xen", "qemu", "bhyve"]},
        });
        let read: Hypervisor = without_strange(node).unwrap();
        assert_eq!(read.status.unwrap().virtualization_types.len(), 1);
    }

    #[test]
    fn an_object_without_what_it_must_have_is_none() {
        let class = json!({
            "apiVersion": "kilonova.dev/v1alpha1", "kind": "NetworkClass",
            "metadata": {"name": "c"}, "spec": {"type": "quantum"},
        });
        assert!(without_strange::<NetworkClass>(class).is_none());
    }
}
