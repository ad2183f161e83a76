//! `/api/auth/admin`: what only the project's owner may do with users.

pub mod users;
