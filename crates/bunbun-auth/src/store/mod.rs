//! The tables of schema `auth`, one file each. A function takes the session first, and whoever
//! calls it decides about the transaction; the moment is always a parameter, so that tests move it.

pub(crate) mod audit;
pub(crate) mod challenges;
pub(crate) mod factors;
pub(crate) mod flow_states;
pub(crate) mod identities;
pub(crate) mod one_time_tokens;
pub(crate) mod sessions;
pub(crate) mod users;

/// What the original writes into `instance_id` and its indexes begin with.
pub(crate) const INSTANCE: uuid::Uuid = uuid::Uuid::nil();

/// A JSON object.
pub(crate) type Object = serde_json::Map<String, serde_json::Value>;
