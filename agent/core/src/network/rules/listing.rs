//! What `nft -j list ruleset` says, reduced to what tells whether our rules are as we put them in.
//!
//! nft shows a rule in its own words, not in ours. So what is compared is not the text: after rules
//! were put in, what nft shows of them is kept beside their text; they are unchanged as long as it
//! shows the same.

use super::port::CHAIN_PREFIX;
use super::{INGRESS, PORTS, TABLE, digest};
use crate::network::{LinkName, RulesState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Why a listing cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MalformedListing {
    /// It is not JSON.
    #[error("nft's listing is not JSON")]
    Json(#[from] serde_json::Error),
    /// It has no list of objects.
    #[error("nft's listing has no objects")]
    NoObjects,
}

/// The objects of a listing.
pub(super) fn objects(listing: &str) -> Result<Vec<Value>, MalformedListing> {
    match serde_json::from_str::<Value>(listing)?["nftables"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Err(MalformedListing::NoObjects),
    }
}

/// Rules that were put in: their text, and what nft showed of them right after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The text that nft was given.
    pub text: String,
    /// The digest of what it listed after that.
    pub listed: String,
}

/// Digests of what is in a netns's tables of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Of everything but the ports' chains; absent when there is no table of ours.
    pub base: Option<String>,
    /// Of each port's chain and its place in the map.
    pub ports: BTreeMap<LinkName, String>,
}

impl Listing {
    /// Reads the listing of a Segment's netns, or of the node's.
    ///
    /// # Errors
    /// When the text is not what nft writes.
    pub fn parse(listing: &str) -> Result<Self, MalformedListing> {
        let mut base = Vec::new();
        let mut ports: BTreeMap<LinkName, Vec<String>> = BTreeMap::new();
        for object in objects(listing)? {
            for (kind, body) in object.as_object().into_iter().flatten() {
                sort(kind, body.clone(), &mut base, &mut ports);
            }
        }
        let whole = |parts: Vec<String>| digest(&parts.join("\n"));
        Ok(Self {
            base: (!base.is_empty()).then(|| whole(base)),
            ports: ports.into_iter().map(|(k, v)| (k, whole(v))).collect(),
        })
    }

    /// What the state of rules is, by their record and what is listed of them.
    #[must_use]
    pub fn state(record: Option<&Record>, listed: Option<&String>) -> RulesState {
        match (record, listed) {
            (_, None) => RulesState::Absent,
            (Some(record), Some(listed)) if record.listed == *listed => {
                RulesState::Applied(digest(&record.text))
            }
            (_, Some(_)) => RulesState::Changed,
        }
    }
}

/// Puts one object of the listing where it belongs.
fn sort(
    kind: &str,
    mut body: Value,
    base: &mut Vec<String>,
    ports: &mut BTreeMap<LinkName, Vec<String>>,
) {
    let named = if kind == "table" { "name" } else { "table" };
    if kind == "metainfo" || body[named] != TABLE {
        return;
    }
    if kind == "map" && body["name"] == PORTS {
        for element in elements(&mut body) {
            if let Some(tap) = element[0].as_str().and_then(|tap| LinkName::new(tap).ok()) {
                ports.entry(tap).or_default().push(element.to_string());
            }
        }
    }
    let chain = match kind {
        "chain" => body["name"].as_str(),
        "rule" => body["chain"].as_str(),
        _ => None,
    };
    let port = chain
        .filter(|chain| *chain != INGRESS)
        .and_then(|chain| chain.strip_prefix(CHAIN_PREFIX))
        .and_then(|tap| LinkName::new(tap).ok());
    strip(&mut body);
    let text = format!("{kind} {body}");
    match port {
        Some(tap) => ports.entry(tap).or_default().push(text),
        None => base.push(text),
    }
}

/// Takes the elements out of a map.
fn elements(map: &mut Value) -> Vec<Value> {
    match map.as_object_mut().and_then(|map| map.remove("elem")) {
        Some(Value::Array(elements)) => elements,
        _ => Vec::new(),
    }
}

/// Removes what changes without anyone changing a rule: handles, counts, and the order in which
/// the kernel walks a set.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["handle", "packets", "bytes"] {
                fields.remove(key);
            }
            if let Some(Value::Array(elements)) = fields.get_mut("elem") {
                elements.sort_by_cached_key(ToString::to_string);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
