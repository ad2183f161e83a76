//! The embedded auth service: what Supabase Auth (GoTrue) does, on the wire indistinguishable from
//! it for the official clients, in this process and on the project's own database.
//!
//! [`AuthService`] fills the slot `auth`; `docs/auth.md` says what is compatible and what differs.

mod accounts;
mod email_address;
mod error;
mod external;
mod glob;
mod grant;
mod hooks;
mod letters;
pub mod mail;
mod migrations;
mod oauth;
mod password;
mod rate_limit;
mod redirect;
mod request;
mod routes;
mod service;
mod store;
mod timestamp;
mod token;
mod totp;
mod unconfirmed;

pub use migrations::migrate;
pub use service::{AuthParts, AuthService};
pub use token::signer::{KeySetError, Signer};
