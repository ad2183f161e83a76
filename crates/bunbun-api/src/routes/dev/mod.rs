//! `/api/dev/*`: what only `bunbun dev` has.

pub mod mailbox;
