//! BunBun's data plane. A request goes through six phases, in this order:
//!
//! 1. *accept* ([`accept`]): limits, the head check, TLS; then hyper parses the request;
//! 2. *normalise* ([`path`]): the one path that is matched, authorised and forwarded;
//! 3. *identify* (`identify`): project and application key;
//! 4. *admit* (`admit`, [`cors`], [`rate_limit`]): may this caller use this route now;
//! 5. *dispatch* (`dispatch`, [`upstream`], `tunnel`, `cache`): embedded service or upstream;
//! 6. *finish* (`finish`, [`access_log`], [`metrics`]): headers, counters, one log line.
//!
//! [`edge`] reads as that list. The crate knows neither SQL nor axum: services in this process
//! come as [`bunbun_http::body::Embedded`], routes as immutable snapshots.

pub mod accept;
pub mod access_log;
mod admit;
mod basic;
pub mod body;
mod cache;
mod chunked;
pub mod cors;
pub mod dialect;
mod dispatch;
pub mod edge;
pub mod explain;
mod finish;
pub mod headers;
mod identify;
pub mod import;
pub mod metrics;
pub mod path;
pub mod rate_limit;
pub mod refusal;
pub mod route;
pub mod server;
pub mod slot;
mod tunnel;
pub mod upstream;

pub use basic::BasicCredentials;
pub use edge::{Edge, EdgeConfig, Snapshot};
pub use server::{Server, ServerOptions};
