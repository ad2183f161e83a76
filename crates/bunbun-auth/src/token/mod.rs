//! Tokens and codes: signed access tokens, refresh tokens, codes of mails, PKCE.

pub(crate) mod otp;
pub(crate) mod pkce;
pub(crate) mod refresh;
pub(crate) mod signer;
