//! Networks between nodes, over the trunk. Its tests share two tenants with their guests, and each leaves them whole.

mod frames;
mod meet;
mod nics;
mod outside;
mod restarts;
mod world;
