pub mod authority;
pub mod client;
pub mod cluster;
pub mod holds;
pub mod proxy;
pub mod tokens;
pub mod wait;
