//! The first phase: sockets, TLS, and the check of each request's head before hyper parses it.

pub mod head;
pub mod io;
pub mod tls;
