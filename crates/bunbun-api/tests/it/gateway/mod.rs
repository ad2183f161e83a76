//! `/api/gateway`

mod explain;
