//! Pauses that differ from agent to agent and from one to the next: ten thousand agents that lost
//! the API server together do not come back in step.

use kilonova_agent_core::backoff::jittered;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The pauses of one loop of one agent.
#[derive(Clone, Debug)]
pub struct Jitter {
    node: String,
    turn: u64,
}

impl Jitter {
    /// Those of this node's agent.
    pub fn of(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            turn: 0,
        }
    }

    /// The next pause: three quarters of this one to the whole of it.
    pub fn next(&mut self, pause: Duration) -> Duration {
        self.turn = self.turn.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        (&self.node, self.turn).hash(&mut hasher);
        jittered(pause, hasher.finish())
    }
}
