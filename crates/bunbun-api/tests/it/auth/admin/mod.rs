//! `/api/auth/admin`

mod users;
