//! What the API holds, in memory: a list and a watch for each kind, kept in stores that our own
//! writes feed too.

pub mod reading;
pub mod reflect;
pub mod store;
