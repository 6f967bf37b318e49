//! What the gateway's tests share: certificates, a raw client, a running server, scripted backends.
#![allow(dead_code, reason = "every test binary uses another part")]

pub mod backends;
pub mod certificates;
pub mod client;
pub mod running;
pub mod sessions;
