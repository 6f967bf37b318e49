//! Adapters of the ports to databases and networks.

pub mod http_evidence_transport;
mod kept_connections;
