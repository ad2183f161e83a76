//! `/api/auth`

mod admin;
mod refresh;
mod signin;
mod signout;
mod signup;
mod user;
