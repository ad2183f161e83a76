//! The service in process, on a real PostgreSQL; each test has a database of its own. The tree
//! mirrors the URLs.

mod admin;
mod app;
mod authorize;
mod bans;
mod errors;
mod factors;
mod hooks;
mod identities;
mod mails;
mod original;
mod otp;
mod provider;
mod reauthenticate;
mod recover;
mod redirects;
mod resend;
mod rls;
mod settings;
mod signup;
mod smtp;
mod storm;
mod strangers;
mod token;
mod user;
mod verify;
