//! The upstream side: pools, timeouts, balancing, failures, names, HTTP/2 and TLS.

mod balance;
mod deaths;
mod http2;
mod malformed;
mod names;
mod pool;
mod retries;
