//! Chains of others on the node that drop what is forwarded, and our accept in them.
//!
//! Kubernetes' nodes often have a FORWARD chain whose policy is DROP. An accept in a chain of ours
//! does not help there: each base chain decides for itself. So the accept goes into that chain. It
//! names links only: what iptables-nft can show of a rule that it did not write, and can save and
//! restore. Chains of iptables-legacy are not nftables', and not seen.

use super::TABLE;
use super::listing::{MalformedListing, objects};
use crate::network::TRANSIT_PREFIX;
use serde_json::{Value, json};

/// What our rules in others' chains say of themselves, to people: where iptables saved and restored
/// them, nft does not show it any more.
const COMMENT: &str = "kilonova";

/// A base chain of another's at the hook `forward`, for IPv4.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardChain {
    /// `ip` or `inet`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether its policy is to drop.
    pub policy_drop: bool,
}

/// The base chains at the hook `forward` that are not ours, from `nft -j list chains`.
///
/// # Errors
/// When the text is not what nft writes.
pub fn forward_chains(listing: &str) -> Result<Vec<ForwardChain>, MalformedListing> {
    let chains = objects(listing)?;
    let text = |chain: &Value, key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    Ok(chains
        .iter()
        .filter_map(|object| object.get("chain"))
        .filter(|chain| chain["hook"] == "forward" && chain["table"] != TABLE)
        .filter(|chain| chain["family"] == "ip" || chain["family"] == "inet")
        .map(|chain| ForwardChain {
            family: text(chain, "family"),
            table: text(chain, "table"),
            name: text(chain, "name"),
            policy_drop: chain["policy"] == "drop",
        })
        .collect())
}

impl ForwardChain {
    /// Whether what no rule of it decides is dropped, by its policy or by its last rule.
    ///
    /// # Errors
    /// When the listing, from `nft -j list chain`, is not what nft writes.
    pub fn drops(&self, listing: &str) -> Result<bool, MalformedListing> {
        if self.policy_drop {
            return Ok(true);
        }
        let rules = objects(listing)?;
        let last = rules.iter().rev().find_map(|object| object.get("rule"));
        Ok(last.is_some_and(drops_all))
    }

    /// The handles of our rules in it.
    ///
    /// # Errors
    /// When the listing, from `nft -j list chain`, is not what nft writes.
    pub fn ours(&self, listing: &str) -> Result<Vec<u64>, MalformedListing> {
        Ok(objects(listing)?
            .iter()
            .filter_map(|object| object.get("rule"))
            .filter(|rule| accepts_ours(rule))
            .filter_map(|rule| rule["handle"].as_u64())
            .collect())
    }
}

/// Whether a rule drops or refuses whatever comes to it.
fn drops_all(rule: &Value) -> bool {
    let Some(statements) = rule["expr"].as_array() else {
        return false;
    };
    let has = |key: &str| {
        statements
            .iter()
            .any(|statement| statement.get(key).is_some())
    };
    (has("drop") || has("reject"))
        && statements.iter().all(|statement| {
            ["drop", "reject", "counter", "log"]
                .iter()
                .any(|key| statement.get(key).is_some())
        })
}

/// The links out of Segments, as nft writes a pattern.
fn transit_links() -> String {
    format!("{TRANSIT_PREFIX}*")
}

/// Whether a rule accepts by one of our links.
fn accepts_ours(rule: &Value) -> bool {
    let Some(statements) = rule["expr"].as_array() else {
        return false;
    };
    let ours = |statement: &Value| {
        let matched = &statement["match"];
        let key = &matched["left"]["meta"]["key"];
        (key == "iifname" || key == "oifname")
            && matched["op"] == "=="
            && matched["right"] == transit_links()
    };
    statements.iter().any(ours) && statements.iter().any(|s| s.get("accept").is_some())
}

/// How many rules of ours a chain gets: one for each direction.
pub const ACCEPTS: usize = 2;

/// Puts our accepts at the head of a chain, in the JSON that `nft -j -f -` reads; rules of ours
/// that are there already go, by their handles.
#[must_use]
pub fn accept_forward(chain: &ForwardChain, stale: &[u64]) -> String {
    let accept = |key: &str| {
        json!({"insert": {"rule": {
            "family": chain.family, "table": chain.table, "chain": chain.name, "comment": COMMENT,
            "expr": [
                {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": transit_links()}},
                {"counter": {"packets": 0, "bytes": 0}},
                {"accept": null},
            ],
        }}})
    };
    let mut commands = deletions(chain, stale);
    commands.push(accept("oifname"));
    commands.push(accept("iifname"));
    json!({"nftables": commands}).to_string()
}

/// Takes rules of ours out of a chain, by their handles, in the JSON that `nft -j -f -` reads.
#[must_use]
pub fn withdraw_forward(chain: &ForwardChain, handles: &[u64]) -> String {
    json!({"nftables": deletions(chain, handles)}).to_string()
}

fn deletions(chain: &ForwardChain, handles: &[u64]) -> Vec<Value> {
    let delete = |handle: &u64| {
        json!({"delete": {"rule": {
            "family": chain.family, "table": chain.table, "chain": chain.name, "handle": handle,
        }}})
    };
    handles.iter().map(delete).collect()
}
