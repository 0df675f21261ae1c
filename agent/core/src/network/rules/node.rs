//! The rules of the node's own netns: what comes out of Segments, and what goes in.

use super::{Reach, TABLE, prefix_set};
use crate::network::TRANSIT_PREFIX;
use std::fmt::Write;

/// The rules of the node's netns, the same whatever Segments there are.
///
/// What comes from a Segment reaches none of the node's own addresses, nor what hides behind them:
/// this is decided before any other rule may translate the destination (node ports). It goes on
/// with the node's address as its sender. From one Segment to another there is no way, and into one
/// only answers come.
#[must_use]
pub fn node_rules(reach: &Reach) -> String {
    let from = format!("iifname \"{TRANSIT_PREFIX}*\"");
    let to = format!("oifname \"{TRANSIT_PREFIX}*\"");
    let mut text = format!(
        "add table inet {TABLE}\n\
         delete table inet {TABLE}\n\
         table inet {TABLE} {{\n"
    );
    prefix_set(&mut text, "allowed", &reach.allowed);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\tchain prerouting {{\n\
         \t\ttype filter hook prerouting priority mangle; policy accept;\n\
         \t\t{from} meta nfproto ipv6 counter drop\n\
         \t\t{from} fib daddr type {{ local, broadcast, anycast, multicast }} ip daddr != @allowed counter drop\n\
         \t}}\n\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         \t\t{from} {to} counter drop\n\
         \t\t{to} ct state established,related accept\n\
         \t\t{to} counter drop\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\t{from} oifname != \"{TRANSIT_PREFIX}*\" masquerade\n\
         \t}}\n\
         }}\n"
    );
    text
}

/// Takes the node's rules out, where there are any.
#[must_use]
pub fn withdraw_node_rules() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}
