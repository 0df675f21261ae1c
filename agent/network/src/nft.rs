//! Running `nft`. Each text is one transaction: all of it holds, or nothing.

use crate::command::{CommandError, run};
use kilonova_agent_core::network::Netns;
use kilonova_agent_core::network::rules::{ForwardChain, TABLE};

/// Puts a rule set's text in.
pub async fn apply(netns: Option<&Netns>, text: &str) -> Result<(), CommandError> {
    run(netns, "nft", &["-f", "-"], text).await.map(drop)
}

/// Asks the kernel whether it would take a rule set's text, in this thread's netns; nothing changes.
pub async fn check(text: &str) -> Result<(), CommandError> {
    run(None, "nft", &["--check", "-f", "-"], text)
        .await
        .map(drop)
}

/// Carries out commands in nft's JSON, in this process's netns.
pub async fn apply_json(commands: &str) -> Result<(), CommandError> {
    run(None, "nft", &["-j", "-f", "-"], commands)
        .await
        .map(drop)
}

/// Everything in a Segment's netns, in JSON.
pub async fn ruleset(netns: &Netns) -> Result<String, CommandError> {
    run(Some(netns), "nft", &["-j", "list", "ruleset"], "").await
}

/// Every chain of this process's netns, without its rules, in JSON.
pub async fn chains() -> Result<String, CommandError> {
    run(None, "nft", &["-j", "list", "chains"], "").await
}

/// Our table in this process's netns, in JSON.
pub async fn own_table() -> Result<String, CommandError> {
    run(None, "nft", &["-j", "list", "table", "inet", TABLE], "").await
}

/// One chain of this process's netns with its rules, in JSON.
pub async fn chain(chain: &ForwardChain) -> Result<String, CommandError> {
    let args = [
        "-j",
        "list",
        "chain",
        &chain.family,
        &chain.table,
        &chain.name,
    ];
    run(None, "nft", &args, "").await
}
