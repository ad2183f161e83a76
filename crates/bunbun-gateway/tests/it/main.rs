//! Integration tests: one binary, one module per subject.

mod bodies;
mod body_limits;
mod cache;
mod cors;
mod dialects;
mod embedded_upgrades;
mod heads;
mod http2;
mod import_kong;
mod keys;
mod limits;
mod own_routes;
mod paths;
mod resilience;
mod routes;
mod slots;
mod smuggling;
mod support;
mod tls;
mod tokens;
mod tunnels;
mod upstreams;
